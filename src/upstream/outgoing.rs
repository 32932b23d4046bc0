//! A request on its way to an upstream: the lines of its head, made of checked parts only.

use std::io::Write as _;
use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};

use super::RequestBody;

/// What is sent. `Host`, the body's framing and the connection's own headers are written by the connection.
pub struct Outgoing {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) lines: Vec<u8>,
    pub(super) body: RequestBody,
}

/// A value that cannot stand in a header: a user's name with control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot stand in a header")]
pub struct Unspeakable;

/// Room for the headers of most requests.
const ROOM: usize = 768;

impl Outgoing {
    /// A request without headers. Boxed: on its way it goes through several futures, each of which would have room for it.
    #[must_use]
    pub fn new(method: Method, target: PathAndQuery, body: RequestBody) -> Box<Self> {
        Box::new(Self { method, target, lines: Vec::with_capacity(ROOM), body })
    }

    /// Adds a header. What is the connection's own to say is left out, whoever asks for it.
    pub fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        let is_own = *name == HOST
            || *name == CONTENT_LENGTH
            || *name == TRANSFER_ENCODING
            || *name == CONNECTION
            || *name == TE
            || *name == TRAILER
            || *name == UPGRADE;
        if !is_own {
            write_line(&mut self.lines, name, value);
        }
    }

    /// Adds a header whose value is written by ourselves.
    ///
    /// # Errors
    /// [`Unspeakable`], and nothing is added.
    pub fn add_text(&mut self, name: &HeaderName, text: &str) -> Result<(), Unspeakable> {
        // RFC 9110 §5.5: names may be UTF-8, control characters not.
        if text.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            return Err(Unspeakable);
        }
        write_parts(&mut self.lines, name, text.as_bytes());
        Ok(())
    }

    /// Adds a header that names an address.
    pub fn add_address(&mut self, name: &HeaderName, address: IpAddr) {
        write_parts(&mut self.lines, name, b"");
        self.lines.truncate(self.lines.len() - 2);
        // Writing to memory does not fail.
        let _ = write!(self.lines, "{address}\r\n");
    }

    /// The request's line, and `Host`.
    pub(super) fn write_start(&self, host: &HeaderValue, head: &mut Vec<u8>) {
        for part in [self.method.as_str(), " ", self.target.as_str(), " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        write_line(head, &HOST, host);
    }
}

/// Neither type can hold what would end the line.
fn write_line(head: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    write_parts(head, name, value.as_bytes());
}

fn write_parts(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    head.reserve(name.len() + value.len() + 4);
    for part in [name, b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}
