//! The binary as operators run it: a configuration in a folder of its own, its output kept, ended by its own id.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a process may take to listen, or to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder and two ports that one gateway has to itself.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) port: u16,
    /// For port-80 redirects, or a second gateway.
    pub(crate) second: u16,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), port: free_port(), second: free_port() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The gateway's address: `127.0.0.1` and the port.
    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Writes a configuration in which `{folder}`, `{port}` and `{second}` stand for this place's.
    pub(crate) fn write(&self, name: &str, yaml: &str) -> PathBuf {
        let yaml = yaml
            .replace("{folder}", self.folder().to_str().unwrap())
            .replace("{port}", &self.port.to_string())
            .replace("{second}", &self.second.to_string());
        let file = self.folder().join(name);
        std::fs::write(&file, yaml).unwrap();
        file
    }

    /// A gateway that says it listens, which it does when its sockets are bound and its store is open.
    pub(crate) fn start(&self, yaml: &str) -> Process {
        self.start_in(yaml, &[])
    }

    /// The same with further variables in its environment.
    pub(crate) fn start_in(&self, yaml: &str, environment: &[(&str, &str)]) -> Process {
        Process::spawn("serve", &self.write("serve.yaml", yaml), environment).listening()
    }

    /// A gateway that may not have come as far as listening.
    pub(crate) fn launch(&self, yaml: &str) -> Process {
        Process::spawn("serve", &self.write("serve.yaml", yaml), &[])
    }

    /// Runs a command that ends by itself; its exit status and all it said.
    pub(crate) fn run(&self, command: &str, yaml: &str) -> (i32, String) {
        Process::spawn(command, &self.write("run.yaml", yaml), &[]).outcome()
    }
}

/// A configuration for [`Place::write`]: plain HTTP, the `dev` identity and one service `echo` at `/mcp`; `more` is further
/// lines of YAML.
pub(crate) fn plain(upstream: SocketAddr, more: &str) -> String {
    format!(
        "issuer: http://localhost:{{port}}
secret_key: {key}
store: file:{{folder}}/portcullis.db
listen: {{ http: \"127.0.0.1:{{port}}\" }}
tls: off
identity: {{ dev: {{}} }}
access: {{ users: [\"*\"] }}
workers: 1
{more}
services:
  echo: {{ url: \"http://localhost:{{port}}/mcp\", upstream: \"http://{upstream}/mcp\" }}
",
        key = "5a".repeat(32)
    )
}

/// The same with TLS by a local CA in the folder `ca`, the issuer and `echo` on localhost, `other` on another host, and a redirect
/// listener on the second port.
pub(crate) fn secure(upstream: SocketAddr) -> String {
    plain(upstream, "")
        .replace("http://localhost", "https://localhost")
        .replace(
            "{ http: \"127.0.0.1:{port}\" }",
            "{ https: \"127.0.0.1:{port}\", http: \"127.0.0.1:{second}\" }",
        )
        .replace("tls: off", "tls: { local_ca: \"{folder}/ca\" }")
        + &format!(
            "  other: {{ url: \"https://other.example:{{port}}/mcp\", upstream: \"http://{upstream}/mcp\" }}\n"
        )
}

/// A running gateway, killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// One that is just starting.
    pub(crate) fn begin(file: &Path) -> Self {
        Self::spawn("serve", file, &[])
    }

    fn spawn(command: &str, file: &Path, environment: &[(&str, &str)]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        Self::of(program.arg(command).arg(file).envs(environment.iter().copied()))
    }

    /// One that `program` becomes.
    pub(crate) fn of(program: &mut Command) -> Self {
        let mut child = program
            .env_remove("PORTCULLIS_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            keep(child.stdout.take().unwrap(), Arc::clone(&log)),
            keep(child.stderr.take().unwrap(), Arc::clone(&log)),
        ];
        Self { child, log, readers }
    }

    /// The same once it says that it listens.
    pub(crate) fn listening(mut self) -> Self {
        let started = Instant::now();
        while !self.log().contains("listening") {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "{ended:?}: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
        self
    }

    /// The exit status of one that ends by itself, and all it said.
    pub(crate) fn outcome(mut self) -> (i32, String) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code().unwrap(), self.whole_log());
            }
            assert!(started.elapsed() < PATIENCE, "it does not end: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }

    /// The first JSON line that is `wanted`, once it is written.
    pub(crate) async fn line(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let started = Instant::now();
        loop {
            let log = self.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
            if let Some(line) = lines.into_iter().find(|line| wanted(line)) {
                return line;
            }
            assert!(started.elapsed() < Duration::from_secs(5), "no such line: {log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the log says so.
    pub(crate) async fn says(&self, wanted: &str) {
        let started = Instant::now();
        while !self.log().contains(wanted) {
            assert!(started.elapsed() < PATIENCE, "{wanted:?} is not in the log: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal such as `TERM` to this process alone.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; the exit status, -1 after a signal, and all it said.
    pub(crate) async fn ended(&mut self) -> (i32, String) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code().unwrap_or(-1), self.whole_log());
            }
            assert!(started.elapsed() < PATIENCE, "it does not end: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn whole_log(&mut self) -> String {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.log()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn keep(mut output: impl Read + Send + 'static, log: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = output.read(&mut buffer) {
            log.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    })
}

/// A port that nobody else in this process gets, below those that the system gives to connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 400).unwrap() * 50;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
