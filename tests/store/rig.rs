//! A backend to run the contract over, with whatever it stands on.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::clock::StoppedClock;
use portcullis::secret::Secret;
use portcullis::store::backend::Backend;
use portcullis::store::{Settings, Store, open_backend};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::fixtures::{NOW, sealer};

pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<StoppedClock>,
    pub(crate) server: Option<Server>,
    folder: Option<TempDir>,
}

impl Rig {
    pub(crate) async fn embedded() -> Self {
        let folder = TempDir::new().unwrap();
        let settings = Settings::Embedded { path: folder.path().join("store.db") };
        Self::over(settings, None, Some(folder)).await
    }

    pub(crate) async fn redis() -> Self {
        let server = Server::start(&[]);
        Self::over(server.settings("redis://"), Some(server), None).await
    }

    async fn over(settings: Settings, server: Option<Server>, folder: Option<TempDir>) -> Self {
        let clock = Arc::new(StoppedClock::at(NOW));
        let backend = open_backend(&settings, &Handle::current(), clock.clone()).await.unwrap();
        let store = Store::with_backend(backend.clone(), sealer()).await.unwrap();
        Self { store, backend, settings, clock, server, folder }
    }

    /// Another process's handle, as far as the backend allows one.
    pub(crate) async fn another(&self) -> Store {
        match &self.settings {
            Settings::Embedded { .. } => self.store.clone(),
            Settings::Redis { .. } => {
                Store::open(&self.settings, sealer(), &Handle::current(), self.clock.clone()).await.unwrap()
            }
        }
    }

    /// Lets the store's own time pass.
    pub(crate) async fn pass(&self, duration: Duration) {
        match &self.settings {
            Settings::Embedded { .. } => self.clock.advance(duration),
            Settings::Redis { .. } => tokio::time::sleep(duration).await,
        }
    }

    /// Every byte that is stored.
    pub(crate) async fn dump(&self) -> Vec<u8> {
        match (&self.server, &self.settings) {
            (Some(server), _) => server.dump().await,
            (None, Settings::Embedded { path }) => {
                assert!(self.folder.is_some());
                std::fs::read(path).unwrap()
            }
            (None, Settings::Redis { .. }) => unreachable!("Redis has a server"),
        }
    }
}

/// A redis-server of our own, on a loopback port; killed when dropped.
pub(crate) struct Server {
    child: Child,
    port_option: &'static str,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_on("--port", arguments)
    }

    /// A server that speaks TLS only.
    pub(crate) fn start_tls(arguments: &[&str]) -> Self {
        Self::start_on("--tls-port", &[&["--port", "0"], arguments].concat())
    }

    fn start_on(port_option: &'static str, arguments: &[&str]) -> Self {
        // Another process may take the port between our look and redis-server's: then it ends, and we look again.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = TempDir::new().unwrap();
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            if let Some(child) = spawn(port_option, port, &folder, &arguments) {
                return Self { child, port_option, port, folder, arguments };
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn settings(&self, scheme: &str) -> Settings {
        let url = Secret::new(format!("{scheme}127.0.0.1:{}/0", self.port));
        Settings::Redis { url, prefix: "pc:".to_owned() }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port_option, self.port, &self.folder, &self.arguments)
            .expect("its port is still free");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/0", self.port)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    async fn dump(&self) -> Vec<u8> {
        let mut connection = self.connection().await;
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
        let mut dump = Vec::new();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.unwrap();
            dump.extend_from_slice(&key);
            let values: Vec<Vec<u8>> = if kind == "zset" {
                redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).query_async(&mut connection).await.unwrap()
            } else {
                vec![redis::cmd("GET").arg(&key).query_async(&mut connection).await.unwrap()]
            };
            dump.extend(values.concat());
        }
        dump
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts the server and waits until it listens; `None` if it ends instead.
fn spawn(port_option: &str, port: u16, folder: &TempDir, arguments: &[String]) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", port_option, &port.to_string()])
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is missing: apt-get install redis-server");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(child.kill());
    drop(child.wait());
    panic!("redis-server does not listen");
}
