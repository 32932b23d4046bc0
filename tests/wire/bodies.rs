//! Whoever goes away in the middle, the other end learns of it; and what a client is told of a server that is not there.

use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, SignedIn, call, http1_on, http2_on, piece, raw, read_raw, tls};
use crate::process::{Place, Process, plain, secure};
use crate::recorder::{RESULT, Recorder};

async fn start() -> (Place, Recorder, Process, Client, SignedIn) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&plain(upstream.address, "log: { format: json }"));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    (place, upstream, process, client, signed_in)
}

#[tokio::test]
async fn a_client_that_waits_for_an_answer_and_goes_ends_the_request_to_the_server() {
    // P6
    let (_place, upstream, process, client, signed_in) = start().await;
    let open = tokio::spawn({
        let (client, request) = (client.clone(), call("POST", "/mcp/mute", &signed_in));
        async move { client.open(request).await }
    });
    upstream.asked(1).await;
    let gone = Instant::now();
    open.abort();
    upstream.closed(1).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    let line = process.line(|line| line["path"] == "/mcp/mute").await;
    assert_eq!((&line["reason"], &line["status"]), (&"client-gone".into(), &499.into()));
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_ends_the_request_to_the_server() {
    // P6
    let (_place, upstream, process, client, signed_in) = start().await;
    let mut stream = client.open(call("GET", "/mcp/stream", &signed_in)).await;
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    let gone = Instant::now();
    drop(stream);
    upstream.closed(1).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    let line = process.line(|line| line["path"] == "/mcp/stream").await;
    assert_eq!((&line["reason"], &line["bytes"]), (&"cut_short".into(), &12.into()));
}

#[tokio::test]
async fn an_http2_stream_that_is_reset_ends_the_request_to_the_server() {
    // P6
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let client = Client::secure(&place);
    let signed_in = client.sign_in("alice").await;
    let mut http2 = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
    let mut asked = call("GET", "/mcp/stream", &signed_in);
    *asked.uri_mut() = format!("{}/mcp/stream", client.issuer).parse().unwrap();
    let mut stream = http2.send_request(asked.map(Into::into)).await.unwrap();
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    let gone = Instant::now();
    drop(stream);
    upstream.closed(1).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    assert!(http2.is_ready(), "the connection goes on");
}

/// How often a client goes for one figure.
const GOINGS: usize = 10;

/// How long it takes until the server learns of it, the fastest first, when a client goes that waits for an answer (`mute`) or reads
/// a stream.
async fn goings(is_http2: bool, path: &str) -> Vec<Duration> {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let client = Client::secure(&place);
    let signed_in = client.sign_in("alice").await;
    let mut all = Vec::new();
    for number in 1..=GOINGS {
        let protocol: &[u8] = if is_http2 { b"h2" } else { b"http/1.1" };
        let io = tls(&place, "localhost", &[protocol]).await.unwrap();
        let mut asked = client.addressed(call("GET", path, &signed_in));
        let answer = if is_http2 {
            asked.headers_mut().remove("host");
            *asked.uri_mut() = format!("{}{path}", client.issuer).parse().unwrap();
            let mut sender = http2_on(io).await;
            tokio::spawn(async move { (sender.send_request(asked).await.unwrap(), sender.is_closed()) })
        } else {
            let mut sender = http1_on(io).await;
            tokio::spawn(async move { (sender.send_request(asked).await.unwrap(), sender.is_closed()) })
        };
        upstream.asked(number).await;
        let gone;
        if path.ends_with("mute") {
            gone = Instant::now();
            answer.abort();
        } else {
            let (mut stream, _) = answer.await.unwrap();
            assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
            gone = Instant::now();
            drop(stream);
        }
        upstream.closed(number).await;
        all.push(gone.elapsed());
    }
    all.sort_unstable();
    all
}

#[tokio::test]
async fn a_server_learns_within_a_tenth_of_a_second_that_a_client_has_gone() {
    // P6: of the fastest, since a busy machine may be late, and a timer would always be.
    for (is_http2, path) in
        [(false, "/mcp/mute"), (false, "/mcp/stream"), (true, "/mcp/mute"), (true, "/mcp/stream")]
    {
        let all = goings(is_http2, path).await;
        let (median, longest) = (all[GOINGS / 2], all[GOINGS - 1]);
        println!("HTTP/2: {is_http2}, {path}: median {median:?}, longest {longest:?}");
        assert!(all[0] < Duration::from_millis(100), "HTTP/2: {is_http2}, {path}: {all:?}");
    }
}

#[tokio::test]
async fn a_body_that_the_server_breaks_off_does_not_look_whole_to_the_client() {
    // P5
    let (_place, _upstream, _process, client, signed_in) = start().await;
    for (path, length) in
        [("/mcp/half", "content-length: 100"), ("/mcp/half-chunked", "transfer-encoding: chunked")]
    {
        let asked = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n\r\n",
            client.host(),
            signed_in.bearer()
        );
        let answer = raw(client.address, &asked).await;
        assert!(answer.text.starts_with("HTTP/1.1 200 OK\r\n") && answer.text.contains(length), "{answer:?}");
        assert!(answer.text.contains("first"), "{answer:?}");
        assert!(answer.closed && !answer.text.ends_with("0\r\n\r\n"), "{answer:?}");
        let mut answer = client.open(call("GET", path, &signed_in)).await;
        assert!(piece(&mut answer).await.unwrap().is_ok());
        assert!(piece(&mut answer).await.unwrap().is_err(), "{path}");
    }
}

#[tokio::test]
async fn an_http2_body_that_the_server_breaks_off_is_reset() {
    // P5
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let client = Client::secure(&place);
    let signed_in = client.sign_in("alice").await;
    let mut http2 = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
    for path in ["/mcp/half", "/mcp/half-chunked"] {
        let mut asked = call("GET", path, &signed_in);
        *asked.uri_mut() = format!("{}{path}", client.issuer).parse().unwrap();
        let mut answer = http2.send_request(asked.map(Into::into)).await.unwrap();
        assert!(piece(&mut answer).await.unwrap().is_ok(), "{path}");
        assert!(piece(&mut answer).await.unwrap().is_err(), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_the_client_breaks_off_does_not_look_whole_to_the_server() {
    let (_place, upstream, _process, client, signed_in) = start().await;
    let (host, bearer) = (client.host(), signed_in.bearer());
    for (number, body) in
        ["Content-Length: 100\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
            .into_iter()
            .enumerate()
    {
        let mut stream = TcpStream::connect(client.address).await.unwrap();
        let asked = format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\n{body}");
        stream.write_all(asked.as_bytes()).await.unwrap();
        timeout(Duration::from_secs(5), async {
            while upstream.raw().matches("hello").count() <= number {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        drop(stream);
        upstream.closed(number + 1).await;
    }
    assert!(!upstream.raw().contains("0\r\n\r\n"), "{}", upstream.raw());
}

#[tokio::test]
async fn a_client_that_waits_before_its_body_is_told_to_go_on_and_the_server_is_not_asked_to() {
    let (_place, upstream, _process, client, signed_in) = start().await;
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    let (host, bearer) = (client.host(), signed_in.bearer());
    let head = "Expect: 100-continue\r\nContent-Length: 5";
    let asked = format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\n{head}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    assert_eq!(read_raw(&mut stream).await.text, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_raw(&mut stream).await.statuses(), [200]);
    let [seen] = &upstream.requests()[..] else { panic!("{}", upstream.raw()) };
    assert_eq!((seen.body.as_str(), seen.all("expect")), ("hello", vec![]));
}

#[tokio::test]
async fn an_answer_too_many_reaches_nobody() {
    // P14: the next request on that connection may be another user's.
    let (_place, upstream, _process, client, alice) = start().await;
    let bob = client.sign_in("bob").await;
    for path in ["/mcp/twice", "/mcp/too-long"] {
        for _ in 0..20 {
            let first = client.send(call("POST", path, &alice)).await;
            assert_eq!((first.status.as_u16(), first.body.as_str()), (200, RESULT), "{path}");
            let next = client.send(call("POST", "/mcp", &bob)).await;
            assert_eq!((next.status.as_u16(), next.body.as_str()), (200, RESULT), "{path}");
        }
    }
    assert_eq!(upstream.answered(), 80, "and nothing was asked twice (P7)");
}

fn told(answer: &crate::support::rig::Answer, message: &str, finding: &str) {
    let mut answered = answer.json();
    let help = answered["error"]["data"]["help"].take();
    assert!(help.as_str().unwrap().ends_with(&format!("/help/{finding}")), "{help}");
    let expected = serde_json::json!({
        "jsonrpc": "2.0", "id": null,
        "error": { "code": -32603, "message": message, "data": {
            "finding": finding, "trouble": finding, "help": null, "request_id": answer.header("x-request-id"),
        } },
    });
    assert_eq!(answered, expected);
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_server_that_is_down_or_breaks_off_is_502_with_its_name_and_not_its_address() {
    // P9
    let (_place, upstream, _process, client, signed_in) = start().await;
    let answer = client.send(call("POST", "/mcp/break", &signed_in)).await;
    assert_eq!(answer.status, 502);
    told(&answer, "echo: the upstream broke off (finding upstream-down)", "upstream-down");
    assert_eq!(upstream.requests().len(), 1, "and is not asked twice (P7)");

    let place = Place::new();
    let nobody = ([127, 0, 0, 1], place.second).into();
    let process = place.start(&plain(nobody, "log: { format: json }"));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let answer = client.send(call("POST", "/mcp", &signed_in)).await;
    assert_eq!(answer.status, 502);
    told(&answer, "echo: the upstream cannot be reached (finding upstream-down)", "upstream-down");
    let line = process.line(|line| line["target"] == "access" && line["status"] == 502).await;
    assert_eq!((&line["reason"], &line["service"]), (&"upstream-down".into(), &"echo".into()));
    assert_eq!(line["trouble"], "upstream-down");
    let error = process.line(|line| line["level"] == "ERROR").await;
    assert_eq!((&error["trouble"], &error["request_id"]), (&"upstream-down".into(), &line["request_id"]));
}

/// A listener whose queue is full: the kernel does not answer whoever else connects.
fn full() -> (Socket, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let waiting = (0..3).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // In progress: it never gets further once the queue is full.
        drop(socket.connect(&listener.local_addr().unwrap()));
        socket
    });
    let waiting = waiting.collect();
    (listener, waiting)
}

#[tokio::test]
async fn a_server_that_accepts_no_connection_in_time_is_504() {
    // P9
    let (listener, _waiting) = full();
    let place = Place::new();
    let upstream = listener.local_addr().unwrap().as_socket().unwrap();
    let yaml = plain(upstream, "").replace("/mcp\" }", "/mcp\", connect_timeout: 1s }");
    let _process = place.start(&yaml);
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let asked = Instant::now();
    let answer = client.send(call("POST", "/mcp", &signed_in)).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    let message = "echo: the upstream did not accept a connection in time (finding upstream-slow)";
    told(&answer, message, "upstream-slow");
    let took = asked.elapsed();
    assert!(Duration::from_millis(900) < took && took < Duration::from_secs(3), "{took:?}");
}
