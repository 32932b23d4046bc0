//! HTTP/2 by the frame (RFC 9113), for what no client library sends.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::client::tls;
use crate::process::Place;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it goes over the wire.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals without indexing (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            integer(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn integer(bytes: &mut Vec<u8>, number: usize) {
    let Some(mut rest) = number.checked_sub(127) else { return bytes.push(u8::try_from(number).unwrap()) };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// What came from the other end.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error of a `RST_STREAM`, or of a GOAWAY.
    pub(crate) fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The next frame; `None` at the connection's end.
pub(crate) async fn next(io: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let read = async {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        io.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    };
    timeout(Duration::from_secs(10), read).await.expect("neither a frame nor an end")
}

/// The next frame of a kind; the connection must not end before.
pub(crate) async fn find(io: &mut (impl AsyncRead + Unpin), kind: u8) -> Frame {
    loop {
        let frame = next(io).await.unwrap_or_else(|| panic!("it ended without a frame of type {kind}"));
        if frame.kind == kind {
            return frame;
        }
    }
}

/// A connection on which both have said hello.
pub(crate) async fn connect(place: &Place) -> TlsStream<TcpStream> {
    let mut stream = tls(place, "localhost", &[b"h2"]).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// A setting that the other end has announced.
pub(crate) fn setting(settings: &Frame, wanted: u16) -> Option<u32> {
    let mut pairs = settings.payload.chunks(6);
    let pair = pairs.find(|pair| u16::from_be_bytes([pair[0], pair[1]]) == wanted)?;
    Some(u32::from_be_bytes(pair[2..].try_into().unwrap()))
}

/// What came of the request on stream 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer with this status and body.
    Answered(u16, String),
    /// `RST_STREAM` before an answer, with this code.
    Reset(u32),
    /// GOAWAY with this code, which is an error.
    Gone(u32),
    /// The connection's end.
    Closed,
}

/// Reads until it is known.
pub(crate) async fn outcome(io: &mut (impl AsyncRead + Unpin)) -> Outcome {
    let (mut answered, mut body) = (None, Vec::new());
    while let Some(frame) = next(io).await {
        match (frame.kind, frame.stream) {
            (HEADERS, 1) => answered = Some(status(&frame.payload)),
            (DATA, 1) => body.extend_from_slice(&frame.payload),
            (RST_STREAM, 1) if answered.is_none() => return Outcome::Reset(frame.error()),
            (GOAWAY, _) if frame.error() != 0 => return Outcome::Gone(frame.error()),
            _ => continue,
        }
        if let (Some(status), true) = (answered, frame.flags & END_STREAM != 0) {
            return Outcome::Answered(status, String::from_utf8(body).unwrap());
        }
    }
    Outcome::Closed
}

/// `:status`, which comes first, of a connection's first header block (RFC 7541: static index 8 to 14, or a literal of the name
/// at index 8).
fn status(block: &[u8]) -> u16 {
    // The table's size may be told before.
    let block = &block[usize::from(block[0] & 0xe0 == 0x20)..];
    if let Some(known) = block[0].checked_sub(0x88).and_then(|at| KNOWN.get(usize::from(at))) {
        return *known;
    }
    assert!(matches!(block[0], 0x08 | 0x18 | 0x48), "{block:?}");
    let length = usize::from(block[1] & 0x7f);
    let text = &block[2..2 + length];
    if block[1] & 0x80 == 0 {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    digits(text)
}

const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// Three digits in Huffman code: 0 to 2 have five bits, the others six (RFC 7541, appendix B).
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let (mut number, mut at) = (0, 0);
    for _ in 0..3 {
        let read = |count: usize| bits[at..at + count].iter().fold(0, |all, bit| all * 2 + bit);
        let (digit, length) = if read(5) < 3 { (read(5), 5) } else { (read(6) - 0b01_1001 + 3, 6) };
        (number, at) = (number * 10 + digit, at + length);
    }
    number
}
