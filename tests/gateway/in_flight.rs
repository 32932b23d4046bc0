//! What may be sent to a service, be open at it, and how long it may take: the answers beyond it, to the byte.

use std::net::SocketAddr;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::rig::{Answer, Rig, dev_yaml, request};

/// A server that answers `…/stream` with an endless event stream, `…/mute` never, and everything else with `{}`. What it is
/// sent comes out of the channel, connection by connection, once that has ended or a request is whole.
async fn server() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let (mut read, mut buffer) = (String::new(), vec![0; 65_536]);
                loop {
                    let count = tcp.read(&mut buffer).await.unwrap_or(0);
                    read.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    if count == 0 {
                        drop(seen.send(read));
                        return;
                    }
                    let Some((head, body)) = read.split_once("\r\n\r\n") else { continue };
                    let chunked = head.contains("transfer-encoding");
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    let length: usize = length.map_or(0, |length| length.parse().unwrap());
                    if if chunked { !body.ends_with("0\r\n\r\n") } else { body.len() < length } {
                        continue;
                    }
                    let answer = if head.contains("/stream ") {
                        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                         c\r\ndata: open\n\n\r\n"
                    } else if head.contains("/mute ") {
                        ""
                    } else {
                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
                    };
                    drop(seen.send(std::mem::take(&mut read)));
                    tcp.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, requests)
}

/// The demo's configuration with these keys at its service, and a token of alice.
async fn limited(upstream: SocketAddr, keys: &str) -> (Rig, String) {
    let yaml = dev_yaml(upstream).replace("/mcp\" }", &format!("/mcp\", {keys} }}"));
    let rig = Rig::with(&yaml).await;
    let token = token(&rig, "alice").await;
    (rig, token)
}

async fn token(rig: &Rig, name: &str) -> String {
    let client = rig.register().await;
    rig.tokens(&client, name).await["access_token"].as_str().unwrap().to_owned()
}

async fn open(rig: &Rig, method: &str, path: &str, token: &str, body: &str) -> Response<Incoming> {
    let bearer = format!("Bearer {token}");
    rig.open(request(method, path, &[("authorization", &bearer)], body.to_owned())).await
}

async fn ask(rig: &Rig, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let (parts, body) = open(rig, method, path, token, body).await.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

fn told(answer: &Answer, code: i32, message: &str, finding: &str, trouble: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": null,
        "error": { "code": code, "message": format!("echo: {message} (finding {finding})"), "data": {
            "finding": finding,
            "trouble": trouble,
            "help": format!("http://localhost:8080/help/{trouble}"),
            "request_id": answer.header("x-request-id"),
        } },
    })
}

fn refused(rig: &Rig, reason: &str) -> u64 {
    let counts = rig.shared.refusals.requests();
    counts.into_iter().find(|(name, _)| *name == reason).unwrap().1
}

fn is_busy(rig: &Rig, answer: &Answer, what: &str, finding: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "1"), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let key = match finding {
        "user-requests" => "max_requests_per_user",
        "user-streams" => "max_streams_per_user",
        "service-streams" => "max_streams",
        "service-requests" => "max_requests",
        other => panic!("{other}"),
    };
    let message = format!("{what} are open already; more are not let in at once ({key})");
    assert_eq!(answer.json(), told(answer, -32000, &message, finding, "rate-limited"));
    assert!(refused(rig, finding) > 0);
}

#[tokio::test]
async fn a_body_whose_length_says_that_it_is_too_large_is_413_and_nothing_is_sent() {
    // P9
    let (upstream, mut seen) = server().await;
    let (rig, token) = limited(upstream, "max_body_bytes: 1000").await;
    let answer = ask(&rig, "POST", "/mcp", &token, &"x".repeat(1001)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.header("content-type"), "application/json");
    let message = "the request body is larger than 1000 bytes";
    assert_eq!(answer.json(), told(&answer, -32000, message, "body-too-large", "request-body"));
    assert_eq!(refused(&rig, "body-too-large"), 1);
    let answer = ask(&rig, "POST", "/mcp", &token, &"x".repeat(1000)).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "{}"), "to the byte");
    let whole = seen.recv().await.unwrap();
    assert!(whole.ends_with(&"x".repeat(1000)) && seen.try_recv().is_err());
}

#[tokio::test]
async fn ten_megabytes_are_taken_unless_it_is_said_otherwise() {
    let (upstream, mut seen) = server().await;
    let rig = Rig::with(&dev_yaml(upstream)).await;
    let token = token(&rig, "alice").await;
    assert_eq!(ask(&rig, "POST", "/mcp", &token, &"x".repeat(10_000_001)).await.status, 413);
    assert_eq!(ask(&rig, "POST", "/mcp", &token, &"x".repeat(5_000_000)).await.status, 200);
    assert!(seen.recv().await.unwrap().len() > 5_000_000);
}

#[tokio::test]
async fn a_user_with_too_much_open_is_429_and_others_are_answered() {
    // P9
    let (upstream, mut seen) = server().await;
    let (rig, alice) = limited(upstream, "max_requests_per_user: 2, max_streams_per_user: 1").await;
    let bob = token(&rig, "bob").await;
    let rig = std::sync::Arc::new(rig);
    let mute = |token: &str| {
        let (rig, token) = (std::sync::Arc::clone(&rig), token.to_owned());
        tokio::spawn(async move { open(&rig, "POST", "/mcp/mute", &token, "{}").await })
    };
    let waiting = [mute(&alice), mute(&alice)];
    for _ in 0..2 {
        seen.recv().await.unwrap();
    }
    let busy = ask(&rig, "POST", "/mcp", &alice, "{}").await;
    is_busy(&rig, &busy, "2 requests of this user", "user-requests");
    assert_eq!(ask(&rig, "POST", "/mcp", &bob, "{}").await.status, 200);
    // Another token of the same person opens no more.
    let again = token(&rig, "alice").await;
    assert_eq!(ask(&rig, "POST", "/mcp", &again, "{}").await.status, 429);
    // Streams are counted apart: a stream and requests leave each other alone.
    let mut stream = open(&rig, "GET", "/mcp/stream", &alice, "").await;
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "data: open\n\n");
    let busy = ask(&rig, "GET", "/mcp/stream", &alice, "").await;
    is_busy(&rig, &busy, "1 streams of this user", "user-streams");
    // What has ended makes room: here by its client, which goes.
    for open in waiting {
        open.abort();
    }
    until(async || ask(&rig, "POST", "/mcp", &alice, "{}").await.status == 200).await;
    drop(stream);
    until(async || open(&rig, "GET", "/mcp/stream", &alice, "").await.status() == 200).await;
}

#[tokio::test]
async fn a_service_with_too_much_open_is_429_for_everybody() {
    let (upstream, _seen) = server().await;
    let (rig, alice) = limited(upstream, "max_streams: 1, max_requests: 1").await;
    let bob = token(&rig, "bob").await;
    let stream = open(&rig, "GET", "/mcp/stream", &alice, "").await;
    assert_eq!(stream.status(), 200);
    let busy = ask(&rig, "GET", "/mcp/stream", &bob, "").await;
    is_busy(&rig, &busy, "1 streams", "service-streams");
    // An answer that is a stream is a request that is open: it has an end.
    let running = open(&rig, "POST", "/mcp/stream", &alice, "{}").await;
    assert_eq!(running.status(), 200);
    let busy = ask(&rig, "POST", "/mcp", &bob, "{}").await;
    is_busy(&rig, &busy, "1 requests", "service-requests");
    drop(running);
    until(async || ask(&rig, "POST", "/mcp", &bob, "{}").await.status == 200).await;
}

#[tokio::test]
async fn what_is_open_is_counted_through_a_reload() {
    let (upstream, _seen) = server().await;
    let (rig, alice) = limited(upstream, "max_streams_per_user: 2").await;
    let _stream = open(&rig, "GET", "/mcp/stream", &alice, "").await;
    rig.reload(|yaml| yaml.replace("max_streams_per_user: 2", "max_streams_per_user: 1"));
    let busy = ask(&rig, "GET", "/mcp/stream", &alice, "").await;
    is_busy(&rig, &busy, "1 streams of this user", "user-streams");
}

#[tokio::test]
async fn where_nobody_signs_in_an_address_is_a_user() {
    let (upstream, _seen) = server().await;
    let yaml = dev_yaml(upstream).replace("access: { users: [\"*\"] }\n", "");
    let keys = "/mcp\", public: true, max_streams_per_user: 1 }";
    let rig = Rig::with(&yaml.replace("/mcp\" }", keys)).await;
    let stream = rig.open(request("GET", "/mcp/stream", &[], String::new())).await;
    assert_eq!(stream.status(), 200);
    let busy = rig.send(request("GET", "/mcp/stream", &[], String::new())).await;
    is_busy(&rig, &busy, "1 streams of this user", "user-streams");
}

#[tokio::test]
async fn a_server_that_does_not_begin_its_answer_is_504_and_is_not_asked_twice() {
    // P7, P9
    let (upstream, mut seen) = server().await;
    let (rig, token) = limited(upstream, "first_byte_timeout: 1s").await;
    for method in ["POST", "GET"] {
        let answer = ask(&rig, method, "/mcp/mute", &token, "").await;
        assert_eq!(answer.status, 504, "{method}");
        assert_eq!(
            answer.json(),
            told(&answer, -32603, "the upstream did not answer in time", "upstream-slow", "upstream-slow"),
            "{method}"
        );
    }
    assert_eq!(refused(&rig, "upstream-slow"), 2);
    let mut asked = Vec::new();
    while asked.len() < 4 {
        asked.push(seen.recv().await.unwrap());
    }
    let requests = asked.iter().filter(|request| request.contains("/mute "));
    assert_eq!(requests.count(), 2, "each once, and the connection is closed: {asked:?}");
    // A stream that has begun is left alone.
    let mut stream = open(&rig, "GET", "/mcp/stream", &token, "").await;
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "data: open\n\n");
    let quiet = tokio::time::timeout(Duration::from_millis(1500), stream.frame()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

/// Waits until it is so: an end is noticed in a moment.
async fn until(is_so: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen");
}
