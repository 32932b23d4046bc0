//! Event streams over HTTP/1.1 that hyper does not hold (src/serve/held.rs): what a client sends before a stream, in its middle
//! and after it reaches the server as it was framed, once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::client::{Client, SignedIn};
use crate::process::{Place, Process, plain};

/// A server that begins a stream as soon as it has seen a head that asks for one, and ends it at the word `over`.
struct Server {
    received: Arc<Mutex<Vec<u8>>>,
    over: tokio::sync::watch::Sender<usize>,
}

const BEGIN: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n8\r\ndata: a\n\r\n";

impl Server {
    async fn start() -> (Self, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { received: Arc::default(), over: tokio::sync::watch::Sender::new(0) };
        let (received, over) = (Arc::clone(&server.received), server.over.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&received), over.subscribe()));
            }
        });
        (server, address)
    }

    fn text(&self) -> String {
        String::from_utf8(self.received.lock().unwrap().clone()).unwrap()
    }
}

async fn converse(
    mut stream: TcpStream,
    received: Arc<Mutex<Vec<u8>>>,
    mut over: tokio::sync::watch::Receiver<usize>,
) {
    let (mut seen, mut begun, mut buffer) = (Vec::new(), 0, [0; 4096]);
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => {
                let read = read.unwrap_or(0);
                if read == 0 {
                    return;
                }
                seen.extend_from_slice(&buffer[..read]);
                received.lock().unwrap().extend_from_slice(&buffer[..read]);
                let asked = String::from_utf8_lossy(&seen).matches("x-stream: yes\r\n").count();
                if asked > begun {
                    begun = asked;
                    stream.write_all(BEGIN.as_bytes()).await.unwrap();
                }
            }
            _ = over.changed() => stream.write_all(b"0\r\n\r\n").await.unwrap(),
        }
    }
}

async fn start() -> (Place, Server, Process, Client, SignedIn) {
    let (server, address) = Server::start().await;
    let place = Place::new();
    let process = place.start(&plain(address, ""));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    (place, server, process, client, signed_in)
}

fn head(client: &Client, signed_in: &SignedIn, framing: &str) -> String {
    let (host, bearer) = (client.host(), signed_in.bearer());
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\nx-stream: yes\r\n{framing}\r\n\r\n"
    )
}

/// Reads until the text has come.
async fn hears(stream: &mut TcpStream, wanted: &str) -> String {
    let mut heard = String::new();
    while !heard.ends_with(wanted) {
        let byte = timeout(Duration::from_secs(5), stream.read_u8()).await;
        heard.push(byte.unwrap_or_else(|_| panic!("heard only {heard:?}")).unwrap().into());
    }
    heard
}

/// What looks like a request, and is a body.
const INNER: &str = "POST /mcp HTTP/1.1\r\nHost: smuggled\r\nContent-Length: 0\r\n\r\n";
const FIRST_EVENT: &str = "8\r\ndata: a\n\r\n";

// P14, R11
#[tokio::test]
async fn the_rest_of_a_body_is_no_request_when_the_stream_begins_before_it() {
    let (place, server, _process, client, signed_in) = start().await;
    let chunked = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let ways = [
        (format!("Content-Length: {}", 5 + INNER.len()), "first".to_owned(), INNER.to_owned()),
        ("Transfer-Encoding: chunked".to_owned(), chunked("first"), format!("{}0\r\n\r\n", chunked(INNER))),
        // The data is there; the end of it is not.
        ("Transfer-Encoding: chunked".to_owned(), chunked("first") + &chunked(INNER), "0\r\n\r\n".to_owned()),
    ];
    for (framing, first, rest) in ways {
        server.received.lock().unwrap().clear();
        let mut stream = TcpStream::connect(place.address()).await.unwrap();
        stream.write_all((head(&client, &signed_in, &framing) + &first).as_bytes()).await.unwrap();
        hears(&mut stream, FIRST_EVENT).await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.over.send_modify(|count| *count += 1);
        hears(&mut stream, "0\r\n\r\n").await;
        let text = server.text();
        assert_eq!(text.matches("first").count(), 1, "{framing}: {text}");
        assert_eq!(text.matches("Host: smuggled").count(), 1, "{framing}: as it was sent: {text}");
        assert_eq!(text.matches("x-stream").count(), 1, "{framing}: one request");
        // And the connection goes on with the next one.
        stream
            .write_all(format!("GET /jwks HTTP/1.1\r\nHost: {}\r\n\r\n", client.host()).as_bytes())
            .await
            .unwrap();
        let next = hears(&mut stream, "\r\n\r\n").await;
        assert!(next.starts_with("HTTP/1.1 200 OK\r\n"), "{framing}: {next}");
    }
}

#[tokio::test]
async fn a_connection_carries_stream_after_stream() {
    let (place, server, _process, client, signed_in) = start().await;
    let mut stream = TcpStream::connect(place.address()).await.unwrap();
    for number in 1..=5 {
        let body = format!("body {number}");
        let asked = head(&client, &signed_in, &format!("Content-Length: {}", body.len())) + &body;
        // The second half of the next request may come while the stream is open.
        let (early, late) = asked.split_at(if number == 3 { 20 } else { 0 });
        stream.write_all(early.as_bytes()).await.unwrap();
        stream.write_all(late.as_bytes()).await.unwrap();
        let begun = hears(&mut stream, FIRST_EVENT).await;
        assert!(begun.starts_with("HTTP/1.1 200 OK\r\n"), "{begun}");
        assert_eq!(begun.matches("transfer-encoding: chunked").count(), 1, "{begun}");
        assert_eq!(begun.matches("\r\ndate: ").count(), 1, "{begun}");
        assert!(begun.contains("\r\nx-request-id: "), "{begun}");
        server.over.send_modify(|count| *count += 1);
        assert_eq!(hears(&mut stream, "0\r\n\r\n").await, "0\r\n\r\n");
    }
    assert_eq!(server.text().matches("body ").count(), 5);
}

#[tokio::test]
async fn requests_that_come_too_early_are_answered_in_their_order() {
    let (place, server, _process, client, signed_in) = start().await;
    let mut stream = TcpStream::connect(place.address()).await.unwrap();
    let asked = head(&client, &signed_in, "Content-Length: 2") + "{}";
    let page = format!("GET /jwks HTTP/1.1\r\nHost: {}\r\n\r\n", client.host());
    stream.write_all(format!("{page}{asked}{page}{asked}").as_bytes()).await.unwrap();
    let heard = hears(&mut stream, FIRST_EVENT).await;
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 2);
    server.over.send_modify(|count| *count += 1);
    hears(&mut stream, "0\r\n\r\n").await;
    let heard = hears(&mut stream, FIRST_EVENT).await;
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(server.text().matches("x-stream").count(), 2);
}
