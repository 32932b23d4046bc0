//! One HTTP/1.1 request on a connection of its own, and nothing that could try it again.

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    /// When the gateway says it was, by its own clock.
    pub(crate) date: String,
    pub(crate) body: String,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// Sends a request and reads its answer; an error if the connection breaks on the way.
pub(crate) async fn send(address: SocketAddr, request: &str) -> io::Result<Heard> {
    let (mut stream, mut bytes) = (write(address, request).await?, Vec::new());
    timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await??;
    read(&bytes).ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))
}

/// Sends a request and goes away.
pub(crate) async fn send_and_go(address: SocketAddr, request: &str) -> io::Result<()> {
    write(address, request).await.map(drop)
}

async fn write(address: SocketAddr, request: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

fn read(bytes: &[u8]) -> Option<Heard> {
    let (head, body) = std::str::from_utf8(bytes).ok()?.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| {
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| *value)
    };
    let whole = header("content-length").parse() == Ok(body.len());
    whole.then(|| Heard { status, date: header("date").to_owned(), body: body.to_owned() })
}

/// A form, posted.
pub(crate) fn post(host: &str, target: &str, form: &[(&str, &str)]) -> String {
    let body = crate::support::rig::encode(form);
    request(host, ("POST", target), "content-type: application/x-www-form-urlencoded\r\n", &body)
}

/// A call of the service with an access token.
pub(crate) fn call(host: &str, access: &str) -> String {
    let headers = format!("authorization: Bearer {access}\r\ncontent-type: application/json\r\n");
    request(host, ("POST", "/mcp"), &headers, crate::client::CALL)
}

pub(crate) fn request(host: &str, (method, target): (&str, &str), headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}
