//! Who is slow waits alone: what is not sent is given up, and what is not read is not kept.
//!
//! A head that does not come is closed after thirty seconds; `src/serve/tests.rs` proves that with a shorter limit.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client::{Client, call, piece, raw, read_raw};
use crate::process::{Place, plain, secure};
use crate::recorder::Recorder;

/// Sends `head` and then nothing; what is answered at the end, after how long.
async fn stall(stream: &mut TcpStream, head: &str) -> (Vec<u16>, Duration) {
    let started = Instant::now();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.readable().await.unwrap();
    let answer = read_raw(stream).await;
    assert!(answer.closed, "{answer:?}");
    (answer.statuses(), started.elapsed())
}

fn about_ten_seconds(took: Duration) {
    assert!(Duration::from_millis(9_900) < took && took < Duration::from_secs(13), "{took:?}");
}

#[tokio::test]
async fn a_body_or_a_handshake_that_does_not_come_is_given_up() {
    let (place, there, upstream) = (Place::new(), Place::new(), Recorder::start().await);
    let _plain = place.start(&plain(upstream.address, ""));
    let _secure = there.start(&secure(upstream.address));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let head =
        format!("POST /token HTTP/1.1\r\nHost: localhost:{}\r\n{form}Content-Length: 9\r\n\r\na", place.port);
    let mut slow = TcpStream::connect(place.address()).await.unwrap();
    let mut silent = TcpStream::connect(there.address()).await.unwrap();
    let (body, handshake) = tokio::join!(stall(&mut slow, &head), stall(&mut silent, "\x16\x03\x01"));
    assert_eq!((body.0, handshake.0), (vec![408], vec![]));
    about_ten_seconds(body.1);
    about_ten_seconds(handshake.1);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_and_a_head_that_is_431() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let host = format!("Host: localhost:{}\r\n", place.port);
    let json = "Content-Type: application/json\r\n";
    let large =
        format!("POST /register HTTP/1.1\r\n{host}{json}Content-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
    assert_eq!(raw(place.address(), &large).await.statuses(), [413]);
    let chunk = format!("{:x}\r\n{}\r\n", 70_000, "x".repeat(70_000));
    let chunked = format!("POST /register HTTP/1.1\r\n{host}{json}Transfer-Encoding: chunked\r\n\r\n{chunk}");
    assert_eq!(raw(place.address(), &chunked).await.statuses(), [413]);
    let head = format!("GET / HTTP/1.1\r\n{host}Cookie: {}\r\n\r\n", "x".repeat(70_000));
    assert_eq!(raw(place.address(), &head).await.statuses(), [431]);
}

#[tokio::test]
async fn an_answer_that_the_client_does_not_read_waits_at_the_server() {
    // P5
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let mut answer = client.open(call("GET", "/mcp/flood", &signed_in)).await;
    let mut before = 0;
    while upstream.flooded() == 0 || upstream.flooded() > before {
        before = upstream.flooded();
        // Beyond the sockets' own buffers on two hops.
        assert!(before < 64 << 20, "the gateway keeps what nobody reads");
        sleep(Duration::from_millis(200)).await;
    }
    let mut read = 0;
    while read < 32 << 20 {
        read += piece(&mut answer).await.unwrap().unwrap().len();
    }
    assert!(upstream.flooded() > before, "it goes on as soon as somebody reads");
}
