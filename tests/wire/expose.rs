//! `portcullis expose`: one server, without any file.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::{Client, call};
use crate::process::{Place, Process, free_port};
use crate::support::rig::request;

/// The command, in an environment without anything of the developer's.
fn expose(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("expose").args(arguments).stdin(Stdio::null());
    for name in ["PORTCULLIS_CONFIG", "XDG_STATE_HOME", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"] {
        command.env_remove(name);
    }
    command
}

/// What it says when it does nothing, and its exit status.
fn refused(command: &mut Command) -> (String, i32) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!(text(output.stdout), "");
    (text(output.stderr), output.status.code().unwrap())
}

async fn server(port: u16) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let server = Process::of(command.args(["echo-server", "--port", &port.to_string()]));
    server.says(&port.to_string()).await;
    server
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A request that the diagnostic server answers.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"w","version":"1"}}}"#;

#[cfg(feature = "echo")]
#[tokio::test]
async fn a_server_on_any_port_is_served_and_a_restart_signs_nobody_out() {
    let (place, port) = (Place::new(), free_port());
    let _server = server(port).await;
    let state = place.folder().join("state");
    let url = format!("http://localhost:{}/mcp", place.port);
    let upstream = format!("http://127.0.0.1:{port}");
    let arguments = [upstream.as_str(), "--url", &url, "--dev"];
    let start = || Process::of(expose(&arguments).env("XDG_STATE_HOME", &state));
    let mut gateway = start();
    gateway.says("Ctrl-C stops.").await;
    let folder = state.join(format!("portcullis/localhost-{}", place.port));
    assert_eq!(
        gateway.log(),
        format!(
            "State        {} (store, secret key, and what was asked for; for you only)
Server       {upstream}/ (listens)
Sign-in      any name, without a password: this machine only
Listening    port {}
Paste        {url}
             Claude Code: claude mcp add --transport http mcp {url}
             Ctrl-C stops.
",
            folder.display(),
            place.port
        )
    );
    assert_eq!((mode(&folder), mode(&state.join("portcullis"))), (0o700, 0o700));
    for file in ["secret_key", "portcullis.db"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let headers = [
        ("authorization", signed_in.bearer()),
        ("content-type", "application/json".into()),
        ("accept", "application/json, text/event-stream".into()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let ask = || request("POST", "/mcp", &headers, INITIALIZE.to_owned());
    let answer = client.send(ask()).await;
    assert!(answer.status == 200 && answer.body.contains("serverInfo"), "{answer:?}");
    assert_eq!(client.send(request("POST", "/mcp", &headers[1..], INITIALIZE.to_owned())).await.status, 401);

    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.0, 0);
    let again = start();
    again.says("Ctrl-C stops.").await;
    let answer = client.send(ask()).await;
    assert_eq!(answer.status, 200, "the token still works: {answer:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_told_and_served_all_the_same() {
    let (place, nobody) = (Place::new(), free_port());
    let url = format!("http://localhost:{}/mcp", place.port);
    let data = place.folder().join("data");
    let gateway = Process::of(
        expose(&[
            &format!("http://127.0.0.1:{nobody}"),
            "--url",
            &url,
            "--dev",
            "--path",
            "/other",
            "--data",
            data.to_str().unwrap(),
        ])
        .env("PATH", "/usr/bin:/bin"),
    );
    gateway.says("Ctrl-C stops.").await;
    let told = format!(
        "Server       http://127.0.0.1:{nobody}/other (does not listen: Connection refused (os error 111); start it, until then \
         clients get 502)\n"
    );
    assert!(gateway.log().contains(&told), "{}", gateway.log());
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    assert_eq!(client.send(call("POST", "/mcp", &signed_in)).await.status, 502);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let missing = "portcullis: expose also needs UPSTREAM, where the MCP server listens, such as http://localhost:3002; --url URL; \
                   --allow USER or --allow-org ORGANISATION (nobody can be asked here)\n";
    assert_eq!(refused(&mut expose(&[])), (missing.to_owned(), 2));
    let public = ["http://h:1", "--url", "https://mcp.example.com/mcp", "--data", data];
    let missing = "portcullis: expose also needs --allow USER or --allow-org ORGANISATION; --acme-email EMAIL; --github-client-id \
                   ID, or GITHUB_CLIENT_ID in the environment; GITHUB_CLIENT_SECRET in the environment, or \
                   --github-client-secret-file FILE (nobody can be asked here)\n";
    assert_eq!(refused(&mut expose(&public)), (missing.to_owned(), 2));
    for (arguments, told) in [
        (
            &["h:1", "--url", "x", "--allow", "@a", "--dev"][..],
            "UPSTREAM: `h:1` has no protocol; write http://h:1\nportcullis: --url: `x` has no protocol; write https://x\n\
             portcullis: --allow: `@a` is no login; write a without the @",
        ),
        (
            &["http://h:1/a", "--path", "/b", "--url", "https://mcp.example.com/mcp", "--dev"],
            "--path: the upstream has the path /a already; write it there or here, not twice\nportcullis: --url: with --dev anybody \
             comes in under any name, so `https://mcp.example.com/mcp` must be on this machine; write http://localhost:8080/mcp, or \
             leave --dev out",
        ),
        (
            &["http://h:1", "--url", "https://localhost:1/mcp", "--dev"],
            "--url: --dev speaks plain http; write http://localhost:1/mcp, or try portcullis demo --https",
        ),
        (
            &["http://h:1", "--url", "http://localhost:1/mcp", "--allow", "a"],
            "--url: `http://localhost:1/mcp` is on this machine; add --dev, or write the https URL under which the internet knows it",
        ),
        (
            &["http://h:1", "--url", "http://mcp.example.com/mcp", "--allow", "a"],
            "--url: http is for localhost only; write https://mcp.example.com/mcp",
        ),
        (
            &["http://h:1", "--url", "https://mcp.example.com", "--allow", "a"],
            "--url: a path is needed; write https://mcp.example.com/mcp",
        ),
        (
            &["http://h:1", "--url", "http://localhost:1/mcp", "--dev", "--store", "redis://:hunter2@h/0"],
            "--store: there is a password in it, which everybody on this machine sees; write ${REDIS_PASSWORD} in its place, in \
             single quotes, and set REDIS_PASSWORD",
        ),
        (
            &["http://h:1", "--url", "http://localhost:1/mcp", "--dev", "--", "uvx", "mcp-server-time"],
            "what follows `--` would be a server on stdio, which Portcullis cannot start yet; let the server listen on a port and \
             give its URL, such as http://localhost:3002",
        ),
        (
            &["http://h:1", "--url", "http://localhost:1/token", "--dev", "--data", data],
            "http://localhost:1/token claims endpoints of Portcullis itself: /token; write another path, such as /mcp/mcp",
        ),
    ] {
        let (errors, code) = refused(&mut expose(arguments));
        assert_eq!((errors.as_str(), code), (format!("portcullis: {told}\n").as_str(), 2));
    }
}

#[test]
fn a_state_directory_that_others_can_look_into_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().to_str().unwrap();
    let told = format!(
        "portcullis: others can look into {data} (its mode is 755), where secrets are to be kept; choose a folder of its own by \
         --data, or, if nobody else uses it, chmod 700 {data}\n"
    );
    let arguments = ["http://h:1", "--url", "http://localhost:1/mcp", "--dev", "--data", data];
    assert_eq!(refused(&mut expose(&arguments)), (told, 1));
}

#[test]
fn a_taken_port_is_told_with_its_owner_before_anything_else() {
    let place = Place::new();
    let _taken = TcpListener::bind(place.address()).unwrap();
    let url = format!("http://localhost:{}/mcp", place.port);
    let data = place.folder().join("data");
    let (errors, code) =
        refused(&mut expose(&["http://h:1", "--url", &url, "--dev", "--data", data.to_str().unwrap()]));
    let end = format!(
        " (process {}); stop that, or write another port in --url (and --https-only leaves port 80 alone): cannot listen on {}: \
         Address already in use (os error 98)\nmore: portcullis doctor --explain port-in-use\n",
        std::process::id(),
        place.address()
    );
    assert!(
        errors.starts_with(&format!("portcullis: port {} is taken by ", place.port))
            && errors.ends_with(&end),
        "{errors}"
    );
    assert_eq!(code, 1);
}
