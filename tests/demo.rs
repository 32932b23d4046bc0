//! `portcullis demo` and the command line's first answers, with the real binary.

#![cfg(feature = "echo")]
#![cfg_attr(feature = "echo", expect(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// The binary, in an environment without anything of the developer's.
fn portcullis(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).env_remove("PORTCULLIS_CONFIG").env("NO_COLOR", "1");
    command
}

/// A demo that is up.
struct Demo {
    child: Child,
    out: BufReader<ChildStdout>,
    errors: BufReader<ChildStderr>,
    told: String,
}

impl Demo {
    /// Starts a demo and reads what it prints until it is up.
    fn start(data: &Path, more: &[&str]) -> Self {
        let mut command = portcullis(&["demo", "--data", data.to_str().unwrap()]);
        let mut child =
            command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built");
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains("Ctrl-C stops.") {
            if out.read_line(&mut told).unwrap() == 0 {
                let mut why = String::new();
                errors.read_to_string(&mut why).unwrap();
                panic!("it ended after {told:?}: {why}");
            }
        }
        Self { child, out, errors, told }
    }

    /// The port in the URL that it prints.
    fn port(&self) -> u16 {
        let (_, rest) = self.told.split_once("http://localhost:").unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }

    /// Asks it to stop; what it said on standard error, and how it ended.
    fn stop(mut self) -> (String, Option<i32>) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let (mut rest, mut errors) = (String::new(), String::new());
        self.out.read_to_string(&mut rest).unwrap();
        self.errors.read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        (errors, status.code())
    }
}

impl Drop for Demo {
    /// A failed test leaves no process behind.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A demo that does not come up.
fn refused(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = portcullis(arguments).output().unwrap();
    assert_eq!(status.code(), Some(1), "{}", String::from_utf8_lossy(&stdout));
    String::from_utf8(stderr).unwrap()
}

/// A port on loopback that is held as long as the listener lives.
fn held() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// This process, as the message names it.
fn this_process() -> String {
    format!(" (process {})", std::process::id())
}

#[test]
fn what_it_prints_is_what_to_paste() {
    let data = TempDir::new().unwrap();
    let (listener, port) = held();
    drop(listener);
    let demo = Demo::start(data.path(), &["--port", &port.to_string()]);
    let url = format!("http://localhost:{port}/mcp");
    for line in [
        format!("\n    {url}\n"),
        format!("claude mcp add --transport http demo {url}\n"),
        format!("code --add-mcp '{{\"name\":\"demo\",\"type\":\"http\",\"url\":\"{url}\"}}'\n"),
        format!("{{\"mcpServers\":{{\"demo\":{{\"url\":\"{url}\"}}}}}}\n"),
        format!("(Streamable HTTP, {url})\n"),
        format!("Open http://localhost:{port} in a browser"),
        format!("Data: {}.", data.path().display()),
    ] {
        assert!(demo.told.contains(&line), "{line} is not in:\n{}", demo.told);
    }
    for address in ["127.0.0.1", "::1"] {
        TcpStream::connect((address, port)).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
}

#[test]
fn sigterm_ends_it_well_and_the_port_stays_with_the_data() {
    let data = TempDir::new().unwrap();
    let (listener, port) = held();
    drop(listener);
    let first = Demo::start(data.path(), &["--port", &port.to_string()]);
    let (errors, code) = first.stop();
    assert_eq!((code, errors.as_str()), (Some(0), ""));

    let second = Demo::start(data.path(), &[]);
    assert_eq!(second.port(), port, "clients keep their URL");
    assert_eq!(second.stop().1, Some(0));

    // Another port would be another issuer, and every client would have to be set up anew.
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let told = refused(&["demo", "--data", data.path().to_str().unwrap()]);
    assert!(told.contains(&format!("port {port} is taken by ")) && told.contains(&this_process()), "{told}");
}

#[test]
fn the_secret_key_is_made_once_and_for_its_owner_only() {
    let parent = TempDir::new().unwrap();
    let data = parent.path().join("state/demo");
    let file = data.join("secret_key");
    let (listener, port) = held();
    drop(listener);
    let arguments = ["--port", &port.to_string()];
    drop(Demo::start(&data, &arguments));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for secret in [&file, &data.join("portcullis.db")] {
        assert_eq!(mode(secret), 0o600, "{}", secret.display());
    }
    assert_eq!(mode(&data), 0o700);
    let key = std::fs::read_to_string(&file).unwrap();
    drop(Demo::start(&data, &arguments));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_is_told_with_its_owner() {
    let data = TempDir::new().unwrap();
    let (_listener, port) = held();
    let told = refused(&["demo", "--data", data.path().to_str().unwrap(), "--port", &port.to_string()]);
    assert!(told.starts_with(&format!("portcullis: port {port} is taken by ")), "{told}");
    let advice = format!("{}; stop that, or choose another with --port\n", this_process());
    let more = "more: portcullis doctor --explain port-in-use\n";
    assert!(told.ends_with(&format!("{advice}{more}")), "{told}");

    let told = refused(&["echo-server", "--port", &port.to_string()]);
    assert!(told.contains(&advice.replace('\n', ": cannot listen on")), "{told}");
    assert_eq!(told.matches("Address already in use").count(), 1, "{told}");
}

#[test]
fn a_usual_port_that_is_taken_is_told_and_the_next_one_is_used() {
    // Somebody else may hold it; then the answer is the same, with their name where it is known.
    let held = TcpListener::bind("127.0.0.1:8080");
    let data = TempDir::new().unwrap();
    let demo = Demo::start(data.path(), &[]);
    let port = demo.port();
    assert!((8081..8180).contains(&port), "{port}");
    let (errors, code) = demo.stop();
    assert_eq!(code, Some(0));
    let first = errors.lines().next().unwrap_or_default();
    assert!(first.starts_with("Port 8080 is taken") && first.ends_with("; trying the next."), "{errors}");
    if held.is_ok() {
        assert!(first.contains(" by ") && first.contains(&this_process()), "{errors}");
    }
}

#[test]
fn without_a_configuration_it_says_where_to_begin() {
    let folder = TempDir::new().unwrap();
    for command in ["check", "serve"] {
        let Output { status, stdout, stderr } =
            portcullis(&[command]).current_dir(folder.path()).output().unwrap();
        assert_eq!((status.code(), stdout.as_slice()), (Some(78), [].as_slice()));
        assert_eq!(
            String::from_utf8(stderr).unwrap(),
            "portcullis.yaml: no such file; name one: portcullis check FILE (config/examples has some), or try portcullis \
             demo\n"
        );
    }
}

#[test]
fn help_says_what_the_defaults_are_and_nothing_of_the_environment() {
    let help = |arguments: &[&str]| {
        let output = portcullis(arguments).env("PORTCULLIS_CONFIG", "planted.yaml").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let demo = help(&["demo", "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        demo.contains("without it `$XDG_STATE_HOME/portcullis/demo`, or `~/.local/state/portcullis/demo`"),
        "{demo}"
    );
    let check = help(&["check", "--help"]);
    assert!(check.contains("Usage: portcullis check [FILE]") && check.contains("once it is"), "{check}");
    assert!(check.contains("PORTCULLIS_CONFIG") && !check.contains("planted"), "{check}");
    let all = help(&["--help"]);
    assert!(all.contains("Say what is wrong with a configuration\n"), "{all}");
}

#[test]
fn a_demo_has_no_port_zero() {
    let output = portcullis(&["demo", "--port", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("0 is not in 1..=65535"));
}

/// Serves `more` beside a good configuration on loopback; what it says, above the line that leads to the trouble `id`.
fn served(folder: &Path, id: &str, more: &str) -> String {
    let file = folder.join("p.yaml");
    let text = format!(
        "issuer: http://localhost:1\nsecret_key: {}1\ntls: off\nidentity: {{ dev: {{}} }}\naccess: {{ users: '*' }}\n\
         services: {{ a: {{ url: http://localhost:1/mcp, upstream: http://127.0.0.1:3000 }} }}\nlog: {{ filter: error }}\n\
         {more}\n",
        "0".repeat(63)
    );
    std::fs::write(&file, text).unwrap();
    let told = refused(&["serve", file.to_str().unwrap()]);
    let mut lines = told.lines().rev();
    assert_eq!(lines.next(), Some(format!("more: portcullis doctor --explain {id}").as_str()), "{told}");
    lines.next().unwrap_or_default().to_owned()
}

// trouble: port-in-use
// trouble: store-file
// trouble: redis-down
// trouble: secret-key-changed
#[test]
fn what_keeps_it_from_starting_is_told_once_and_with_a_way_out() {
    let folder = TempDir::new().unwrap();
    let (_listener, port) = held();
    let (listener, free) = held();
    drop(listener);
    let told = served(
        folder.path(),
        "port-in-use",
        &format!("store: file:s.db\nlisten: {{ http: '127.0.0.1:{port}' }}"),
    );
    assert!(told.starts_with(&format!("portcullis: port {port} is taken by ")), "{told}");
    assert!(
        told.ends_with(&format!(
            "{}; stop that, or write another port under `listen`: cannot listen on 127.0.0.1:{port}: Address already in \
             use (os error 98)",
            this_process()
        )),
        "{told}"
    );

    let listen = format!("listen: {{ http: '127.0.0.1:{free}' }}");
    let missing = folder.path().join("nope/data");
    assert_eq!(
        served(folder.path(), "store-file", &format!("store: file:nope/data/s.db\n{listen}")),
        format!(
            "portcullis: the folder {} of the store does not exist; create it, owned by the user that runs portcullis",
            missing.display()
        )
    );
    let (nobody, redis) = held();
    drop(nobody);
    assert_eq!(
        served(folder.path(), "redis-down", &format!("store: redis://127.0.0.1:{redis}/0\n{listen}")),
        format!(
            "portcullis: the store is away: 127.0.0.1:{redis}: connection refused; Redis is not running, or has another \
             port: Connection refused (os error 111)"
        )
    );

    let taken = Demo::start(folder.path(), &["--port", &free.to_string()]);
    let (listener, other) = held();
    drop(listener);
    let listen = format!("listen: {{ http: '127.0.0.1:{other}' }}");
    let store = format!("store: file:portcullis.db\n{listen}");
    assert_eq!(
        served(folder.path(), "store-file", &store),
        "portcullis: another process has the store open; stop the other portcullis"
    );
    assert_eq!(taken.stop().1, Some(0));
    assert_eq!(
        served(folder.path(), "secret-key-changed", &store),
        "portcullis: secret_key is not the one this store was made with; restore the old key, or write it as secret_key_previous beside the new one, or start with an empty store"
    );
}
