//! The head of an answer (RFC 9112 §4, §5), read by `httparse`.

use std::io;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response, StatusCode};

use super::framing::{Chunks, Framing, broken};

/// Headers of an answer.
const MOST_HEADERS: usize = 100;
/// Bytes of an answer's head.
const LONGEST_HEAD: usize = 64 * 1024;
/// Headers that the gateway adds to an answer, so that there is room for them.
const ROOM: usize = 8;

/// An answer without its body.
pub(super) struct Head {
    /// Status and headers, those of this hop too.
    pub(super) response: Response<()>,
    /// How its body ends.
    pub(super) framing: Framing,
    /// Whether the connection may be used again after it.
    pub(super) keeps: bool,
}

impl Head {
    /// Takes the head of the answer to a request by `method` out of what has come; `None` if it is not all there. Interim
    /// answers (RFC 9110 §15.2) are read over, but for a change of protocol.
    ///
    /// # Errors
    /// `InvalidData`.
    pub(super) fn take(buffer: &mut BytesMut, method: &Method) -> io::Result<Option<Self>> {
        loop {
            let Some((status, keeps, headers)) = parse(buffer)? else {
                let too_long = buffer.len() > LONGEST_HEAD;
                return if too_long { Err(broken("the head is too long")) } else { Ok(None) };
            };
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                continue;
            }
            return Self::of(status, keeps, headers, method).map(Some);
        }
    }

    fn of(status: StatusCode, keeps: bool, mut headers: HeaderMap, method: &Method) -> io::Result<Self> {
        let (framing, is_clear) = framing(&mut headers, status, method)?;
        let closes = headers.get_all(CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|it| it.trim_ascii().eq_ignore_ascii_case(b"close"))
        });
        let keeps = keeps && is_clear && !closes && status != StatusCode::SWITCHING_PROTOCOLS;
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(Self { response, framing, keeps })
    }
}

/// Takes one head: its status, whether its version keeps connections, its headers.
fn parse(buffer: &mut BytesMut) -> io::Result<Option<(StatusCode, bool, HeaderMap)>> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut lines = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, buffer, &mut lines) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(not_http)?;
    let keeps = parsed.version == Some(1);
    // A copy of the right size: the buffer stays the connection's.
    let bytes = Bytes::copy_from_slice(&buffer[..length]);
    let start = buffer.as_ptr().addr();
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + ROOM);
    for line in &*parsed.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| not_http())?;
        let at = line.value.as_ptr().addr().wrapping_sub(start);
        // An empty value may lie anywhere.
        let value = if line.value.is_empty() { Bytes::new() } else { bytes.slice(at..at + line.value.len()) };
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| not_http())?;
        headers.try_append(name, value).map_err(|_| not_http())?;
    }
    bytes::Buf::advance(buffer, length);
    Ok(Some((status, keeps, headers)))
}

fn not_http() -> io::Error {
    broken("the answer's head is not HTTP")
}

/// How the body ends (RFC 9112 §6.3), and whether there is no doubt about it.
fn framing(headers: &mut HeaderMap, status: StatusCode, method: &Method) -> io::Result<(Framing, bool)> {
    let is_chunked = chunked(headers)?;
    let length = length(headers)?;
    let is_empty = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match (is_empty, is_chunked, length) {
        (true, ..) => (Framing::Length(0), true),
        (false, true, None) => (Framing::Chunked(Chunks::default()), true),
        (false, true, Some(_)) => {
            // Who sends both may be about to smuggle (RFC 9112 §6.3): the length goes, and so does the connection.
            headers.remove(CONTENT_LENGTH);
            (Framing::Chunked(Chunks::default()), false)
        }
        (false, false, Some(length)) => (Framing::Length(length), true),
        (false, false, None) => (Framing::UntilClose, false),
    })
}

/// Whether it comes in chunks; other codings than that are none that a client of ours asked for.
fn chunked(headers: &HeaderMap) -> io::Result<bool> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(_), _) => Err(broken("the answer's transfer coding is not chunked")),
    }
}

/// The one length that all `Content-Length` headers name.
fn length(headers: &HeaderMap) -> io::Result<Option<u64>> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let one = str::from_utf8(digits).ok().filter(|_| plain).and_then(|digits| digits.parse().ok());
        match (one, length) {
            (Some(one), None) => length = Some(one),
            (Some(one), Some(before)) if one == before => {}
            (Some(_) | None, _) => return Err(broken("the answer's length is not one number")),
        }
    }
    Ok(length)
}
