//! Both ends of a pool: the body of a client's request, and an upstream that keeps what it reads, byte for byte.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::RequestBody;

/// `body` as a client sends it. Its connection stays open as long as the runtime.
pub(crate) async fn incoming(body: &str) -> RequestBody {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let (give, mut given) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let sent = give.send(request.into_body());
        async move {
            sent.unwrap();
            std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
        }
    });
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service));
    let head = format!("POST / HTTP/1.1\r\nHost: client\r\nContent-Length: {}\r\n\r\n", body.len());
    let sent = head + body;
    tokio::spawn(async move {
        client.write_all(sent.as_bytes()).await?;
        // A client that goes away would take its request with it.
        client.read(&mut [0]).await
    });
    given.recv().await.unwrap().into()
}

/// The next request with its body (by length or in chunks), as text; `None` if the connection ends first.
pub(crate) async fn read_request(tcp: &mut TcpStream) -> Option<String> {
    let mut read = String::new();
    while !is_whole(&read) {
        let mut some = [0; 1024];
        match tcp.read(&mut some).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.push_str(&String::from_utf8_lossy(&some[..count])),
        }
    }
    Some(read)
}

fn is_whole(read: &str) -> bool {
    let Some((head, body)) = read.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    if head.contains("transfer-encoding: chunked") {
        body.ends_with("0\r\n\r\n")
    } else {
        body.len() >= length.unwrap_or(0)
    }
}
