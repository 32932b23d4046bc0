//! An answer by itself, without a connection: what the fuzz targets read.

use std::io;

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};

use super::framing::{Found, Framing};
use super::head::Head;

/// Reads the answer to a request by `method` that comes in these pieces, after which the connection ends; `None` if it ends too
/// early.
///
/// # Errors
/// `InvalidData`: what comes is not HTTP.
pub fn read_answer(
    method: &Method,
    pieces: &[&[u8]],
) -> io::Result<Option<(StatusCode, HeaderMap, Vec<u8>)>> {
    let (mut pieces, mut buffer, mut body) = (pieces.iter(), BytesMut::new(), Vec::new());
    let mut head = loop {
        match (Head::take(&mut buffer, method)?, pieces.as_slice().is_empty()) {
            (Some(head), _) => break head,
            (None, true) => return Ok(None),
            (None, false) => buffer.extend_from_slice(pieces.next().copied().unwrap_or_default()),
        }
    };
    loop {
        match (head.framing.find(&mut buffer)?, pieces.next()) {
            (Found::Data(length), piece) => {
                body.extend_from_slice(&buffer.split_to(length));
                buffer.extend_from_slice(piece.copied().unwrap_or_default());
            }
            (Found::More, Some(piece)) => buffer.extend_from_slice(piece),
            (Found::More, None) if head.framing != Framing::UntilClose => return Ok(None),
            (Found::More | Found::End, _) => {
                return Ok(Some((head.response.status(), std::mem::take(head.response.headers_mut()), body)));
            }
        }
    }
}
