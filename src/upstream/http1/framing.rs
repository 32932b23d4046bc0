//! Where a message's body ends: by its length, in chunks, or with the connection (RFC 9112 §6, §7).

use std::io;

use bytes::{Buf, BytesMut};

/// How the rest of an answer's body is told from what comes after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes more.
    Length(u64),
    /// In chunks.
    Chunked(Chunks),
    /// Until the connection ends; only answers have it.
    UntilClose,
}

/// What of a buffer is data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So many bytes at its beginning, at least one.
    Data(usize),
    /// The body has ended; what is left in the buffer is not of it.
    End,
    /// Nothing yet.
    More,
}

impl Framing {
    /// Looks at what has come, and takes out of it what is no data. What it says to be data is the caller's to take.
    ///
    /// # Errors
    /// `InvalidData`: chunks that are none.
    pub(crate) fn find(&mut self, buffer: &mut BytesMut) -> io::Result<Found> {
        Ok(match self {
            Self::Length(0) => Found::End,
            Self::Length(_) | Self::UntilClose if buffer.is_empty() => Found::More,
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= length as u64;
                Found::Data(length)
            }
            Self::UntilClose => Found::Data(buffer.len()),
            Self::Chunked(chunks) => chunks.find(buffer)?,
        })
    }
}

/// A reader of `Transfer-Encoding: chunked` (RFC 9112 §7.1). Stricter than many: lines end with CRLF, and their length is
/// bounded. Trailers are read over, for they would be a way past the rules for headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    expected: Expected,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    /// `1a;extension CRLF`
    #[default]
    Size,
    /// So many bytes of a chunk, never 0.
    Data(u64),
    /// The CRLF after a chunk's data.
    DataEnd,
    /// A trailer, or the empty line that ends everything; so many bytes of them may still come.
    Trailer(usize),
    /// Nothing more.
    Nothing,
}

/// A size with its extensions is no longer.
const LONGEST_LINE: usize = 256;
/// All trailers together are no longer.
const LONGEST_TRAILERS: usize = 16 * 1024;

impl Chunks {
    fn find(&mut self, buffer: &mut BytesMut) -> io::Result<Found> {
        loop {
            match self.expected {
                Expected::Nothing => return Ok(Found::End),
                Expected::Data(_) if buffer.is_empty() => return Ok(Found::More),
                Expected::Data(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    self.expected = match left - length as u64 {
                        0 => Expected::DataEnd,
                        left => Expected::Data(left),
                    };
                    return Ok(Found::Data(length));
                }
                Expected::Size | Expected::DataEnd | Expected::Trailer(_) => {
                    let Some(line) = line(buffer, self.expected.longest_line())? else {
                        return Ok(Found::More);
                    };
                    self.expected = self.expected.after(&line)?;
                }
            }
        }
    }
}

impl Expected {
    const fn longest_line(self) -> usize {
        match self {
            Self::Size => LONGEST_LINE,
            Self::Trailer(left) => left,
            Self::Data(_) | Self::DataEnd | Self::Nothing => 0,
        }
    }

    /// What comes after a line.
    fn after(self, line: &[u8]) -> io::Result<Self> {
        Ok(match self {
            Self::Size => match size(line)? {
                0 => Self::Trailer(LONGEST_TRAILERS),
                size => Self::Data(size),
            },
            Self::Trailer(_) if line.is_empty() => Self::Nothing,
            Self::Trailer(left) => Self::Trailer(left.saturating_sub(line.len() + 2)),
            Self::DataEnd | Self::Data(_) | Self::Nothing => Self::Size,
        })
    }
}

/// Takes a line that ends with CRLF, without it; `None` if it has not come yet.
fn line(buffer: &mut BytesMut, longest: usize) -> io::Result<Option<BytesMut>> {
    let Some(end) = buffer.iter().take(longest + 2).position(|byte| *byte == b'\n') else {
        return if buffer.len() >= longest + 2 { Err(broken("a line is too long")) } else { Ok(None) };
    };
    let mut line = buffer.split_to(end + 1);
    line.truncate(end);
    match line.split_last() {
        Some((b'\r', rest)) if !rest.contains(&b'\r') => {
            line.truncate(end - 1);
            Ok(Some(line))
        }
        Some(_) | None => Err(broken("a line does not end with CRLF")),
    }
}

/// `1*HEXDIG [chunk-ext]`.
fn size(line: &[u8]) -> io::Result<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, mut rest) = line.split_at(digits);
    // RFC 9112 §7.1.1: bad whitespace before an extension is to be read over.
    while let [b' ' | b'\t', ..] = rest {
        rest.advance(1);
    }
    if !matches!(rest, [] | [b';', ..]) || !(1..=16).contains(&digits.len()) {
        return Err(broken("a chunk has no size"));
    }
    let digits = str::from_utf8(digits).map_err(|_| broken("a chunk has no size"))?;
    u64::from_str_radix(digits, 16).map_err(|_| broken("a chunk has no size"))
}

/// What an upstream says is not HTTP.
pub(super) fn broken(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
