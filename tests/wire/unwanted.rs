//! A body that nobody has read: the answer came first, whoever gave it, and the connection goes on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::process::{Place, plain};
use crate::recorder::Recorder;
use crate::unauthenticated::one_answer;

/// What is refused without a look at its body: the request line, further headers, the status.
const REFUSED: [(&str, &str, u16); 15] = [
    ("POST /a/../b", "", 400),
    ("POST /a%2Fb", "", 400),
    ("POST /token", "Content-Type: text/plain\r\n", 400),
    ("PUT /token", "", 405),
    ("PUT /authorize", "", 405),
    ("POST /jwks", "", 405),
    ("POST /callback", "", 405),
    ("POST /.well-known/oauth-authorization-server", "", 405),
    ("POST /nothing", "", 404),
    ("POST /authorize", "Origin: https://evil.example\r\n", 403),
    ("POST /mcp", "Origin: https://evil.example\r\n", 403),
    ("POST /mcp", "X-Forwarded-For: 203.0.113.7\r\n", 403),
    ("POST /mcp", "", 401),
    ("OPTIONS /token", "", 204),
    ("POST /revoke", "", 429),
];

async fn start() -> (Place, Recorder, crate::process::Process, TcpStream, String) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&plain(upstream.address, "limits: { revoke: 1/h }"));
    let client = Client::plain(&place);
    let first = client.post("/revoke", &[], &[("client_id", "c_x")]).await;
    assert_eq!(first.status, 401, "the second one is too many");
    let stream = TcpStream::connect(place.address()).await.unwrap();
    let host = client.host().to_owned();
    (place, upstream, process, stream, host)
}

/// Asks for something else on the same connection.
async fn goes_on(stream: &mut TcpStream, host: &str, after: &str) {
    stream.write_all(format!("GET /jwks HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(one_answer(stream).await, 200, "after {after}");
}

#[tokio::test]
async fn a_refusal_before_the_body_leaves_the_connection_to_the_next_request() {
    let (_place, upstream, _process, mut stream, host) = start().await;
    let body = "x".repeat(100_000);
    for (line, headers, status) in REFUSED {
        let head =
            format!("{line} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(one_answer(&mut stream).await, status, "{line}, before the body");
        stream.write_all(body.as_bytes()).await.unwrap();
        goes_on(&mut stream, &host, line).await;
    }
    // A body without a length, of a request for a host that is none of ours.
    let head = "POST /mcp HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(one_answer(&mut stream).await, 421);
    for _ in 0..10 {
        stream.write_all(format!("400\r\n{}\r\n", "x".repeat(0x400)).as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    goes_on(&mut stream, &host, "421").await;
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_to_be_read_is_read_out_within_bounds() {
    let (_place, _upstream, _process, mut stream, host) = start().await;
    let head = |length: usize| {
        format!("POST /register HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n")
    };
    stream.write_all(head(500_000).as_bytes()).await.unwrap();
    stream.write_all("x".repeat(500_000).as_bytes()).await.unwrap();
    assert_eq!(one_answer(&mut stream).await, 413);
    goes_on(&mut stream, &host, "413").await;
    // Beyond a megabyte nobody reads on: the connection is closed, soon and not after the whole body.
    stream.write_all(head(1_000_000_000).as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let write = async {
        let (mut written, block) = (0, vec![b'x'; 65_536]);
        while writer.write_all(&block).await.is_ok() {
            written += 65_536;
            assert!(written < 100_000_000, "it reads and reads");
        }
    };
    let read = async {
        let mut answer = Vec::new();
        drop(reader.read_to_end(&mut answer).await);
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), async { tokio::join!(write, read) })
        .await
        .expect("the connection stays open");
}
