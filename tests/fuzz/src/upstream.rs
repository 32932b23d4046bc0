//! What servers behind answer.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis::upstream::read_answer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

/// The first byte says to what, and in which pieces, the rest is the answer.
///
/// It does not matter how it comes; and what we and hyper's client both read as a whole answer, we read as the same one.
pub fn answer(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else { return };
    let method = if first & 1 == 1 { Method::HEAD } else { Method::GET };
    let pieces: Vec<_> = answer.chunks(usize::from(first >> 1) + 1).collect();
    let whole = read_answer(&method, &[answer]);
    let in_pieces = read_answer(&method, &pieces);
    assert_eq!(whole.as_ref().ok(), in_pieces.as_ref().ok(), "it matters how it comes");
    let Ok(Some((status, _, body))) = whole else { return };
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    if let Some(theirs) = RUNTIME.block_on(hyper_reads(method, answer)) {
        assert_eq!((status, body), theirs);
    }
}

/// The same by hyper; `None` if it is no whole answer to it.
async fn hyper_reads(method: Method, answer: &[u8]) -> Option<(StatusCode, Vec<u8>)> {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(ours)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri("/").header("host", "h").body(Empty::new()).ok()?;
    let asked = sender.send_request(request);
    let answering = async {
        let _ = theirs.read(&mut [0; 1024]).await;
        let _ = theirs.write_all(answer).await;
        drop(theirs);
    };
    let (answered, ()) = tokio::join!(asked, answering);
    let answered = answered.ok()?;
    let status = answered.status();
    let body = answered.into_body().collect().await.ok()?;
    Some((status, body.to_bytes().to_vec()))
}
