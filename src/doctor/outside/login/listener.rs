//! Where the browser comes back to: a listener on loopback, as clients on people's computers have one (RFC 8252 §7.3).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// Most bytes of a request's head.
const HEAD: usize = 16 * 1024;
/// How long one connection may take to ask: browsers open some that they never use.
const PATIENCE: Duration = Duration::from_secs(5);

/// The listener.
pub(super) struct Listener {
    listener: TcpListener,
    /// What is registered as redirect URI.
    pub(super) redirect: Url,
}

impl Listener {
    /// One on a free port.
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let redirect = format!("http://127.0.0.1:{}/callback", listener.local_addr()?.port());
        Ok(Self { listener, redirect: Url::parse(&redirect).map_err(io::Error::other)? })
    }

    /// The URL by which the browser comes back.
    pub(super) async fn wait(&self) -> Url {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else { continue };
            let heard = tokio::time::timeout(PATIENCE, hear(stream)).await;
            let Ok(Ok(Some(target))) = heard else { continue };
            if let Ok(url) = self.redirect.join(&target)
                && url.origin() == self.redirect.origin()
                && url.path() == self.redirect.path()
            {
                return url;
            }
        }
    }
}

const PAGE: &str = "<!doctype html><title>portcullis doctor</title><p>The sign-in came back to portcullis doctor. This page can be closed.";

/// The target of a GET, which is answered with a page.
async fn hear(mut stream: TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut piece = [0; 2048];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(None);
        }
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let target = line.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    let wanted = target.as_deref().is_some_and(|target| target.starts_with("/callback"));
    let (status, page) = if wanted { ("200 OK", PAGE) } else { ("404 Not Found", "") };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(listener: &Listener, target: &str) -> String {
        let port = listener.redirect.port().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn only_the_callback_is_what_was_waited_for() {
        let listener = Listener::bind().await.unwrap();
        let browser = async {
            let icon = get(&listener, "/favicon.ico").await;
            assert!(icon.starts_with("HTTP/1.1 404"), "{icon}");
            let page = get(&listener, "/callback?code=c&state=s").await;
            assert!(page.starts_with("HTTP/1.1 200") && page.contains("can be closed"), "{page}");
        };
        let (url, ()) = tokio::join!(listener.wait(), browser);
        assert_eq!(url.query(), Some("code=c&state=s"));
    }
}
