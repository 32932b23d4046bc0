//! Without a token nothing reaches the server behind: no request, no byte, no connection (R11).

use http::Request;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{CALL, Client, http1_on, http2_on, raw, tls};
use crate::process::{Place, plain, secure};
use crate::recorder::Recorder;
use crate::support::rig::request;

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "BREW"];
const PATHS: [&str; 5] = ["/mcp", "/mcp/", "/mcp/deeper", "/mcp?access_token=x", "/mcp;x=y/../mcp"];

/// What is refused for its method or path, and what by the guard.
fn expected(method: &str, path: &str) -> u16 {
    if method == "TRACE" {
        405
    } else if path.contains("..") {
        400
    } else if path.contains(';') {
        404
    } else {
        401
    }
}

#[tokio::test]
async fn no_method_or_path_reaches_the_server_without_a_token() {
    // R3, R11
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    for method in METHODS {
        for path in PATHS {
            let headers = [("x-user-id", "dev:alice"), ("mcp-session-id", "a"), ("cookie", "a=b")];
            let answer = client.send(request(method, path, &headers, CALL.into())).await;
            assert_eq!(answer.status.as_u16(), expected(method, path), "{method} {path}");
        }
    }
    for value in ["Bearer", "Bearer a.b.c", "Basic YTpi", "bearer  "] {
        let headers = [("authorization", value), ("proxy-authorization", value)];
        assert_eq!(client.send(request("POST", "/mcp", &headers, CALL.into())).await.status, 401, "{value}");
    }
    assert_eq!(client.send(request("OPTIONS", "/mcp", &[], CALL.into())).await.status, 204);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn no_upgrade_and_no_chunked_body_reaches_the_server_without_a_token() {
    // R11
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    let host = client.host();
    for more in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    ] {
        let answer = raw(client.address, &format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\n{more}")).await;
        assert_eq!(answer.statuses(), [401], "{more}: {answer:?}");
    }
    let answer = raw(client.address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(!answer.text.contains(" 200 "), "{answer:?}");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_body_is_refused_before_it_is_sent() {
    // R3, R11
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    let mut stream = tokio::net::TcpStream::connect(client.address).await.unwrap();
    let head = format!("POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n\r\n", client.host());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn no_http2_or_tls_request_reaches_the_server_without_a_token() {
    // R11
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let issuer = Client::secure(&place).issuer;
    let mut http2 = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
    for method in METHODS {
        for path in PATHS {
            let request = request(method, &format!("{issuer}{path}"), &[], CALL.to_owned());
            let answer = http2.send_request(request.map(Into::into)).await.unwrap();
            assert_eq!(answer.status().as_u16(), expected(method, path), "{method} {path}");
            drop(answer.into_body().collect().await);
        }
    }
    let connect = Request::connect(issuer.strip_prefix("https://").unwrap()).body(String::new()).unwrap();
    let refused = http2.send_request(connect.map(Into::into)).await;
    assert!(refused.is_err() || refused.unwrap().status() == 400);
    let mut http1 = http1_on(tls(&place, "localhost", &[b"http/1.1"]).await.unwrap()).await;
    let headers = [("host", issuer.strip_prefix("https://").unwrap())];
    let request = request("POST", "/mcp", &headers, CALL.to_owned()).map(Into::into);
    assert_eq!(http1.send_request(request).await.unwrap().status(), 401);
    assert_eq!(upstream.connections(), 0);
}

/// Reads one whole answer with a Content-Length, or 204; its status.
pub(crate) async fn one_answer(stream: &mut tokio::net::TcpStream) -> u16 {
    let mut read = Vec::new();
    let head_end = loop {
        let mut byte = [0];
        let got = stream.read(&mut byte).await.unwrap();
        assert_eq!(got, 1, "the connection was closed after {:?}", String::from_utf8_lossy(&read));
        read.push(byte[0]);
        if read.ends_with(b"\r\n\r\n") {
            break String::from_utf8(read.clone()).unwrap().to_ascii_lowercase();
        }
    };
    let length = head_end.lines().find_map(|line| line.strip_prefix("content-length: "));
    let status = head_end.split(' ').nth(1).unwrap().parse().unwrap();
    let length = if status == 204 { 0 } else { length.unwrap().parse().unwrap() };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    status
}

#[tokio::test]
async fn a_client_that_is_answered_before_it_has_sent_its_body_can_go_on_with_the_connection() {
    // R3: the answer comes first, and a connection that was closed for the unread body failed the client's next request.
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let mut stream = tokio::net::TcpStream::connect(place.address()).await.unwrap();
    let client = Client::plain(&place);
    let head = |target: &str, kind: &str| {
        let host = client.host();
        format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            CALL.len()
        )
    };
    for (target, kind, status) in [
        ("/mcp", "application/json", 401),
        ("/token", "application/json", 400),
        ("/mcp", "application/json", 401),
    ] {
        stream.write_all(head(target, kind).as_bytes()).await.unwrap();
        assert_eq!(one_answer(&mut stream).await, status, "{target}, before the body");
        stream.write_all(CALL.as_bytes()).await.unwrap();
    }
    let get = format!("GET /jwks HTTP/1.1\r\nHost: {}\r\n\r\n", client.host());
    stream.write_all(get.as_bytes()).await.unwrap();
    assert_eq!(one_answer(&mut stream).await, 200);
}
