//! The limits of connections and bodies at the socket, and what is counted of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::client::{CALL, Client, call, http1_on, http2_on, raw, read_raw, tls, whole};
use crate::http2::{self, END_HEADERS, END_STREAM, block, find, frame, next, setting};
use crate::process::{Place, Process, plain, secure};
use crate::recorder::{RESULT, Recorder};
use crate::support::rig::request;

/// [`plain`] with these limits, further keys at its service, and an internal listener on the second port.
fn limited(upstream: SocketAddr, limits: &str, service: &str) -> String {
    let public = "{ http: \"127.0.0.1:{port}\" }";
    plain(upstream, &format!("limits: {{ {limits} }}"))
        .replace(public, "{ http: \"127.0.0.1:{port}\", internal: \"127.0.0.1:{second}\" }")
        .replace("/mcp\" }", &format!("/mcp\"{service} }}"))
}

/// [`secure`] with these limits.
fn secure_limited(upstream: SocketAddr, limits: &str) -> String {
    secure(upstream).replace("workers: 1\n", &format!("workers: 1\nlimits: {{ {limits} }}\n"))
}

async fn start(limits: &str, service: &str) -> (Place, Recorder, Process) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&limited(upstream.address, limits, service));
    (place, upstream, process)
}

/// Waits until the metrics say so.
async fn counted(place: &Place, line: &str) {
    let started = Instant::now();
    loop {
        let mut sender =
            http1_on(TcpStream::connect((Ipv4Addr::LOCALHOST, place.second)).await.unwrap()).await;
        let asked = request("GET", "/metrics", &[("host", "localhost")], String::new());
        let metrics = whole(sender.send_request(asked.map(Into::into)).await.unwrap()).await.body;
        if metrics.lines().any(|found| found == line) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "no {line}: {metrics}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection from an address of this machine.
async fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the other end answers on a connection, rather than having closed it.
async fn answers(stream: &mut TcpStream, host: &str) -> bool {
    drop(stream.write_all(format!("GET /jwks HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await);
    let answer = read_raw(stream).await;
    assert!(answer.text.is_empty() || answer.statuses() == [200], "{answer:?}");
    !answer.text.is_empty()
}

#[tokio::test]
async fn one_address_has_no_more_connections_than_it_may_and_others_have_theirs() {
    let (place, _upstream, process) = start("connections_per_address: 3", "").await;
    let host = format!("localhost:{}", place.port);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from([127, 0, 0, 2], place.address()).await;
        assert!(answers(&mut stream, &host).await);
        held.push(stream);
    }
    for _ in 0..5 {
        let mut more = connect_from([127, 0, 0, 2], place.address()).await;
        assert!(!answers(&mut more, &host).await);
    }
    assert!(answers(&mut connect_from([127, 0, 0, 3], place.address()).await, &host).await);
    counted(&place, "portcullis_connections_refused_total{reason=\"per-address\"} 5").await;
    let told = "connections refused: limits.connections_per_address are open from there";
    process.says(told).await;
    assert_eq!(process.log().matches(told).count(), 1, "{}", process.log());
    drop(held.pop());
    let started = Instant::now();
    while !answers(&mut connect_from([127, 0, 0, 2], place.address()).await, &host).await {
        assert!(started.elapsed() < Duration::from_secs(5), "no room");
    }
}

#[tokio::test]
async fn there_are_no_more_connections_in_total_than_may_be() {
    let (place, _upstream, process) = start("connections: 3", "").await;
    let host = format!("localhost:{}", place.port);
    let mut held = Vec::new();
    for last in 2..5 {
        let mut stream = connect_from([127, 0, 0, last], place.address()).await;
        assert!(answers(&mut stream, &host).await);
        held.push(stream);
    }
    for last in 5..9 {
        assert!(!answers(&mut connect_from([127, 0, 0, last], place.address()).await, &host).await);
    }
    counted(&place, "portcullis_connections_refused_total{reason=\"total\"} 4").await;
    process.says("connections refused: limits.connections are open connections=3").await;
    assert_eq!(process.log().matches("connections refused").count(), 1, "{}", process.log());
    for stream in &mut held {
        assert!(answers(stream, &host).await, "who is there stays");
    }
}

#[tokio::test]
async fn a_reload_holds_for_the_connections_after_it() {
    let (place, upstream, process) = start("connections_per_address: 100", "").await;
    let host = format!("localhost:{}", place.port);
    let mut held = TcpStream::connect(place.address()).await.unwrap();
    assert!(answers(&mut held, &host).await);
    place.write("serve.yaml", &limited(upstream.address, "connections_per_address: 1", ""));
    process.signal("HUP");
    process.says("changed: limits").await;
    assert!(!answers(&mut TcpStream::connect(place.address()).await.unwrap(), &host).await);
    assert!(answers(&mut held, &host).await);
}

#[tokio::test]
async fn a_head_or_a_handshake_that_does_not_come_is_given_up_when_it_is_said() {
    let (place, _upstream, _process) = start("head: 1s", "").await;
    for head in ["", "GET / HTTP/1.1\r\nHost: loc"] {
        let mut slow = TcpStream::connect(place.address()).await.unwrap();
        let asked = Instant::now();
        slow.write_all(head.as_bytes()).await.unwrap();
        let answer = read_raw(&mut slow).await;
        assert!(answer.closed && !answer.text.contains(" 200 "), "{answer:?}");
        assert!((900..4000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
    }
    counted(&place, "portcullis_connections_refused_total{reason=\"slow-head\"} 2").await;
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure_limited(upstream.address, "handshake: 1s, head: 1s"));
    let mut silent = TcpStream::connect(place.address()).await.unwrap();
    silent.write_all(b"\x16\x03\x01").await.unwrap();
    assert!(read_raw(&mut silent).await.closed);
    // Over HTTP/2: a header block without an end.
    let mut stream = http2::connect(&place).await;
    stream.write_all(&frame(http2::HEADERS, END_STREAM, 1, &block(&[(":method", "GET")]))).await.unwrap();
    timeout(Duration::from_secs(8), async { while next(&mut stream).await.is_some() {} }).await.unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_408_and_the_server_is_left() {
    // P9
    let (place, upstream, process) = start("body_pause: 1s", "").await;
    let client = Client::plain(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let mut stream = TcpStream::connect(place.address()).await.unwrap();
    let host = client.host();
    let asked = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\nContent-Length: 100\r\n\r\nhello"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    stream.readable().await.unwrap();
    let answer = read_raw(&mut stream).await;
    assert_eq!(answer.statuses(), [408], "{answer:?}");
    let body = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"echo: the request body did not come in time \
                (finding body-too-slow)\",\"data\":{\"finding\":\"body-too-slow\",\"help\":\"http://";
    assert!(
        answer.text.contains(body) && answer.text.ends_with("\"trouble\":\"request-body\"}}}"),
        "{answer:?}"
    );
    upstream.closed(1).await;
    counted(&place, "portcullis_requests_refused_total{reason=\"body-too-slow\"} 1").await;
    process.says("reason=\"body-too-slow\"").await;
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_413_and_is_broken_off() {
    // P7, P9
    let (place, upstream, process) = start("body_pause: 30s", ", max_body_bytes: 1000").await;
    let client = Client::plain(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let mut stream = TcpStream::connect(place.address()).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nTransfer-Encoding: chunked\r\n\r\n",
        client.host()
    );
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    stream.write_all((head + &chunk).as_bytes()).await.unwrap();
    let began = async {
        while !upstream.raw().contains(&"x".repeat(600)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), began).await.expect("it is streamed");
    stream.write_all(chunk.as_bytes()).await.unwrap();
    let answer = read_raw(&mut stream).await;
    assert_eq!(answer.statuses(), [413], "{answer:?}");
    let body = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"echo: the request body is larger than 1000 \
                bytes (finding body-too-large)\",\"data\":{\"finding\":\"body-too-large\",\"help\":\"http://";
    assert!(
        answer.text.contains(body) && answer.text.ends_with("\"trouble\":\"request-body\"}}}"),
        "{answer:?}"
    );
    upstream.closed(1).await;
    assert!(!upstream.raw().contains("0\r\n\r\n"), "it does not look whole: {}", upstream.raw());
    assert_eq!(upstream.connections(), 1, "and is not sent again");
    counted(&place, "portcullis_requests_refused_total{reason=\"body-too-large\"} 1").await;
    process.says("reason=\"body-too-large\"").await;
}

/// A server that answers as soon as it has a head, and has more to say.
async fn hasty() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            drop(tcp.read(&mut buffer).await);
            let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            drop(tcp.write_all(answer.as_bytes()).await);
            tokio::spawn(async move { while let Ok(1..) = tcp.read(&mut buffer).await {} });
        }
    });
    address
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_after_the_answer_began_ends_the_connection() {
    let place = Place::new();
    let _process = place.start(&limited(hasty().await, "head: 30s", ", max_body_bytes: 1000"));
    let client = Client::plain(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let mut stream = TcpStream::connect(place.address()).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nTransfer-Encoding: chunked\r\n\r\n",
        client.host()
    );
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    stream.write_all((head + &chunk).as_bytes()).await.unwrap();
    let began = read_raw(&mut stream).await;
    assert!(began.text.contains("first") && !began.closed, "{began:?}");
    stream.write_all(chunk.as_bytes()).await.unwrap();
    let ended = read_raw(&mut stream).await;
    assert!(ended.closed && !ended.text.contains("0\r\n\r\n"), "{ended:?}");
}

#[tokio::test]
async fn a_head_with_too_many_lines_or_bytes_is_431_in_both_versions() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure_limited(upstream.address, "header_count: 32, header_bytes: 8192"));
    let issuer = Client::secure(&place).issuer;
    let names: Vec<_> = (0..40).map(|number| format!("x-{number}")).collect();
    let long = "x".repeat(9000);
    let few: Vec<_> = names[..20].iter().map(|name| (name.as_str(), "y")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).collect();
    for (headers, status) in [(few, 200), (many, 431), (vec![("x", long.as_str())], 431)] {
        let mut http1 = http1_on(tls(&place, "localhost", &[b"http/1.1"]).await.unwrap()).await;
        let host = [("host", &issuer["https://".len()..])];
        let all: Vec<_> = host.iter().chain(&headers).copied().collect();
        let asked = request("GET", "/jwks", &all, String::new()).map(Into::into);
        let answer = whole(http1.send_request(asked).await.unwrap()).await;
        assert_eq!(answer.status, status, "HTTP/1.1 {headers:?}");
        assert_eq!(answer.body.is_empty(), status == 431);
        let mut http2 = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
        let asked = request("GET", &format!("{issuer}/jwks"), &headers, String::new()).map(Into::into);
        let answer = whole(http2.send_request(asked).await.unwrap()).await;
        assert_eq!(answer.status, status, "HTTP/2 {headers:?}");
        assert_eq!(answer.body.is_empty(), status == 431);
        let asked = request("GET", &format!("{issuer}/jwks"), &[], String::new()).map(Into::into);
        assert_eq!(http2.send_request(asked).await.unwrap().status(), 200, "its connection goes on");
    }
}

#[tokio::test]
async fn what_hyper_refuses_is_counted() {
    let (place, _upstream, _process) = start("header_count: 32", "").await;
    let lines = "x: y\r\n".repeat(40);
    let head = format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\n{lines}\r\n", place.port);
    let answer = raw(place.address(), &head).await;
    assert!(answer.text.starts_with("HTTP/1.1 431 "), "{answer:?}");
    assert!(answer.text.contains("content-length: 0\r\n") && answer.closed, "{answer:?}");
    counted(&place, "portcullis_requests_refused_total{reason=\"head-too-large\"} 1").await;
}

/// The header block of a call of the service.
fn calling(client: &Client, path: &str, bearer: &str) -> Vec<u8> {
    block(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", client.host()),
        (":path", path),
        ("authorization", bearer),
    ])
}

async fn start_secure(limits: &str) -> (Place, Recorder, Process, Client, String) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&secure_limited(upstream.address, limits));
    let client = Client::secure(&place);
    let bearer = client.sign_in("alice").await.bearer();
    (place, upstream, process, client, bearer)
}

const WHOLE: u8 = END_STREAM | END_HEADERS;

#[tokio::test]
async fn one_http2_connection_has_no_more_requests_open_than_it_may() {
    let (place, upstream, _process, client, bearer) = start_secure("streams_per_connection: 2").await;
    let mut stream = http2::connect(&place).await;
    let settings = find(&mut stream, http2::SETTINGS).await;
    assert_eq!(setting(&settings, 3), Some(2), "{settings:?}");
    for id in [1, 3, 5] {
        let head = calling(&client, "/mcp/mute", &bearer);
        stream.write_all(&frame(http2::HEADERS, WHOLE, id, &head)).await.unwrap();
    }
    let refused = find(&mut stream, http2::RST_STREAM).await;
    assert_eq!((refused.stream, refused.error()), (5, http2::REFUSED_STREAM));
    upstream.asked(2).await;
    assert_eq!(upstream.answered(), 2);
}

#[tokio::test]
async fn streams_that_are_opened_to_be_reset_end_the_connection_and_reach_nobody() {
    // CVE-2023-44487
    let (place, upstream, _process, client, bearer) = start_secure("head: 30s").await;
    let stream = http2::connect(&place).await;
    let head = calling(&client, "/mcp/mute", &bearer);
    let mut attack = Vec::new();
    for number in 0..1000 {
        attack.extend(frame(http2::HEADERS, WHOLE, 2 * number + 1, &head));
        attack.extend(frame(http2::RST_STREAM, 0, 2 * number + 1, &http2::CANCEL.to_be_bytes()));
    }
    // The other end may be gone before all of it is written.
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = tokio::spawn(async move { writer.write_all(&attack).await });
    let ended = find(&mut reader, http2::GOAWAY).await;
    assert_eq!(ended.error(), http2::ENHANCE_YOUR_CALM);
    while next(&mut reader).await.is_some() {}
    drop(write.await.unwrap());
    assert!(upstream.connections() < 250, "{}", upstream.connections());
    let other = client.sign_in("bob").await;
    assert_eq!(client.send(call("POST", "/mcp", &other)).await.status, 200, "others are served");
}

#[tokio::test]
async fn a_header_block_without_end_ends_the_connection() {
    // CVE-2024-24549 and its kin
    let (place, _upstream, _process, client, bearer) = start_secure("head: 30s").await;
    for piece in [block(&[("x", &"y".repeat(1000))]), block(&[("x", "y")]), Vec::new()] {
        let stream = http2::connect(&place).await;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let head = calling(&client, "/mcp", &bearer);
        writer.write_all(&frame(http2::HEADERS, END_STREAM, 1, &head)).await.unwrap();
        let more = frame(http2::CONTINUATION, 0, 1, &piece);
        let flood = async {
            let mut written = 0;
            while writer.write_all(&more).await.is_ok() {
                written += more.len();
                assert!(written < 32 << 20, "it reads and reads");
            }
        };
        let read = async { while next(&mut reader).await.is_some() {} };
        timeout(Duration::from_secs(20), async { tokio::join!(flood, read) }).await.expect("it goes on");
    }
    let answer = client.send(request("GET", "/jwks", &[], String::new())).await;
    assert_eq!(answer.status, 200, "others are served");
}

#[tokio::test]
async fn normal_requests_go_on_while_five_hundred_slow_ones_hang() {
    let (place, upstream, _process) =
        start("head: 60s, body_pause: 60s", ", max_requests_per_user: 300").await;
    let client = Client::plain(&place);
    let (mallory, alice) = (client.sign_in("mallory").await, client.sign_in("alice").await);
    let (host, bearer) = (client.host(), mallory.bearer());
    let slow_head = format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthor");
    let slow_body = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\nContent-Length: 100\r\n\r\nhello"
    );
    let mut hanging = Vec::new();
    for number in 0..500 {
        let mut stream = TcpStream::connect(place.address()).await.unwrap();
        let slow = if number % 2 == 0 { &slow_head } else { &slow_body };
        stream.write_all(slow.as_bytes()).await.unwrap();
        hanging.push(stream);
    }
    for _ in 0..50 {
        let answer = client.send(call("POST", "/mcp", &alice)).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, RESULT));
    }
    assert_eq!(upstream.answered(), 50);
    // None of the slow ones was given up: each goes on as soon as its client does.
    let mut last = hanging.pop().unwrap();
    last.write_all(&[b'x'; 95]).await.unwrap();
    assert_eq!(read_raw(&mut last).await.statuses(), [200]);
    let mut head = hanging.pop().unwrap();
    let length = CALL.len();
    let more = format!("ization: {bearer}\r\nContent-Length: {length}\r\n\r\n{CALL}");
    head.write_all(more.as_bytes()).await.unwrap();
    assert_eq!(read_raw(&mut head).await.statuses(), [200]);
}
