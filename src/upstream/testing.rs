//! An upstream that keeps what it reads, byte for byte.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

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
