use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::super::testing::read_request;
use super::super::{Probe, ReplicaFact, Settings};
use super::*;

/// A server that answers by `answers`, and what it was asked.
async fn server(
    answers: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/inner", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            while let Some(request) = read_request(&mut tcp).await {
                let answer = answers(&request);
                seen.lock().unwrap().push(request);
                tcp.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (url, asked)
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")
}

const SESSION: &str = "HTTP/1.1 200 OK\r\nMcp-Session-Id: s-1\r\nContent-Length: 0\r\n\r\n";

/// A server that knows sessions only, and answers DELETE with this.
fn legacy(delete: &'static str) -> impl Fn(&str) -> String {
    move |request| match request {
        discover if discover.contains("server/discover") => status("400 Bad Request"),
        initialize if initialize.contains("\"initialize\"") => SESSION.to_owned(),
        _ => status(delete),
    }
}

fn upstream(url: &str, kind: ProbeKind) -> Upstream {
    let settings = Settings {
        replicas: vec![url.parse().unwrap()],
        connect_timeout: Duration::from_secs(1),
        first_byte_timeout: None,
        probe: Probe { kind, every: Duration::from_secs(10) },
    };
    Upstream::new("todo", &settings, None)
}

/// Probes a server so many times; what was learned, and what is known of it.
async fn probed(url: &str, kind: ProbeKind, times: usize) -> (Learned, ReplicaFact) {
    let upstream = upstream(url, kind);
    let mut learned = Learned::default();
    for _ in 0..times {
        learned = Prober::default().probe(&upstream, &upstream.replicas()[0], learned).await;
    }
    (learned, upstream.facts().next().unwrap())
}

/// Methods and, of POST, the MCP method.
fn deeds(asked: &Mutex<Vec<String>>) -> Vec<&'static str> {
    let deed = |request: &String| match request.as_str() {
        request if request.contains("\"server/discover\"") => "discover",
        request if request.contains("\"initialize\"") => "initialize",
        request if request.starts_with("DELETE ") => "delete",
        _ => "something else",
    };
    asked.lock().unwrap().iter().map(deed).collect()
}

#[tokio::test]
async fn a_server_of_today_is_asked_what_it_can_do_in_nobody_s_name() {
    let (url, asked) = server(|_| status("200 OK")).await;
    let (learned, fact) = probed(&url, ProbeKind::Mcp, 2).await;
    assert_eq!(learned, Learned::default());
    assert_eq!((fact.ejected, fact.probe_failures), (None, 0));
    assert_eq!(deeds(&asked), ["discover", "discover"]);
    let request = asked.lock().unwrap()[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().collect();
    lines[1..].sort_unstable();
    let host = format!("host: {}", url.split('/').nth(2).unwrap());
    let length = format!("content-length: {}", DISCOVER.len());
    let agent = format!("user-agent: {AGENT}");
    assert_eq!(
        lines,
        [
            "POST /inner HTTP/1.1",
            "accept: application/json, text/event-stream",
            &length,
            "content-type: application/json",
            &host,
            "mcp-method: server/discover",
            "mcp-protocol-version: 2026-07-28",
            &agent,
        ]
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["method"], "server/discover");
    assert_eq!(body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], MODERN);
    let initialize: serde_json::Value = serde_json::from_str(INITIALIZE).unwrap();
    assert_eq!(initialize["params"]["protocolVersion"], "2025-11-25");
}

#[tokio::test]
async fn a_server_that_knows_sessions_only_gets_one_that_is_ended_at_once() {
    let (url, asked) = server(legacy("204 No Content")).await;
    let (learned, fact) = probed(&url, ProbeKind::Mcp, 2).await;
    assert_eq!((learned.manner, fact.ejected), (Manner::Initialize, None));
    assert_eq!(deeds(&asked), ["discover", "initialize", "delete", "initialize", "delete"]);
    assert!(asked.lock().unwrap()[2].contains("mcp-session-id: s-1\r\n"));
}

#[tokio::test]
async fn sessions_that_cannot_be_ended_are_not_piled_up() {
    let (url, asked) = server(legacy("405 Method Not Allowed")).await;
    let (learned, fact) = probed(&url, ProbeKind::Mcp, 3).await;
    assert_eq!((learned.manner, fact.ejected, fact.probe_failures), (Manner::Lenient, None, 0));
    assert_eq!(deeds(&asked), ["discover", "initialize", "delete", "discover", "discover"]);
}

#[tokio::test]
async fn whatever_is_no_fault_of_the_server_is_well() {
    for line in ["401 Unauthorized", "403 Forbidden", "404 Not Found", "429 Too Many Requests", "302 Found"] {
        let (url, _) = server(move |_| status(line)).await;
        let (learned, fact) = probed(&url, ProbeKind::Mcp, 2).await;
        assert_eq!((fact.ejected, fact.probe_failures), (None, 0), "{line}");
        assert_eq!(learned.wants_login, line.starts_with("401"));
    }
}

#[tokio::test]
async fn a_server_that_fails_at_what_it_does_not_know_is_asked_for_what_it_may_know() {
    let answers = |request: &str| match request {
        discover if discover.contains("server/discover") => status("500 Internal Server Error"),
        _ => status("200 OK"),
    };
    let (url, asked) = server(answers).await;
    let (_, fact) = probed(&url, ProbeKind::Mcp, 2).await;
    assert_eq!(fact.ejected, None);
    assert_eq!(deeds(&asked), ["discover", "initialize", "initialize"]);
}

#[tokio::test]
async fn a_server_that_says_it_is_not_well_is_believed_the_second_time() {
    for line in ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"] {
        let (url, _) = server(move |_| status(line)).await;
        let (learned, fact) = probed(&url, ProbeKind::Mcp, 1).await;
        assert_eq!((learned.failed, fact.ejected, fact.probe_failures), (true, None, 1), "{line}");
        let (_, fact) = probed(&url, ProbeKind::Mcp, 2).await;
        assert_eq!(fact.ejected, Some("it does not answer probes as it should"), "{line}");
        let (_, fact) = probed(&url, ProbeKind::Tcp, 2).await;
        assert_eq!((fact.ejected, fact.probe_failures), (None, 0), "{line}: it accepts connections");
    }
}

#[tokio::test]
async fn where_nobody_listens_one_probe_is_enough() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    for kind in [ProbeKind::Mcp, ProbeKind::Tcp] {
        let (_, fact) = probed(&url, kind, 1).await;
        assert_eq!((fact.ejected, fact.ejections), (Some("it cannot be reached"), 1));
    }
}

#[test]
fn who_was_not_well_is_asked_again_soon() {
    let probe = |every| Probe { kind: ProbeKind::Mcp, every: Duration::from_secs(every) };
    let (good, bad) = (Learned::default(), Learned { failed: true, ..Learned::default() });
    for (learned, ejected, every, pause) in
        [(good, false, 10, 10), (bad, false, 10, 2), (good, true, 10, 2), (bad, true, 1, 1)]
    {
        assert_eq!(learned.pause(probe(every), ejected).as_secs(), pause);
    }
    assert_eq!((hold(probe(10)).as_secs(), hold(probe(1)).as_secs()), (8, 7));
}
