//! HTTP/1.1 answers that stay open. hyper keeps 16 KB of buffers and the request's whole future for as long as an answer lasts,
//! which for a stream of events may be hours: such an answer is taken out of hyper's hands before a byte of it is written, and
//! written here, with no buffer while it is quiet. Afterwards hyper reads the next request.
//!
//! Only what hyper has read to its end is taken, so that hyper alone says where a request ends.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, DATE};
use http::response::Parts;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::activity::Open;
use super::connection::BoxError;
use crate::time::Timestamp;
use crate::timer::LazyTimer;

/// An answer on its way out of hyper's hands.
pub(super) struct Held<B> {
    pub(super) response: Response<B>,
    /// When it began.
    pub(super) since: Timestamp,
    pub(super) open: Option<Open>,
}

/// What a connection's driver, its answers and its socket tell each other.
pub(super) struct Handover<B> {
    held: Mutex<Option<Held<B>>>,
    /// Whether there is one: asked at every turn.
    is_full: AtomicBool,
    /// Whether hyper may have bytes left to write.
    is_behind: AtomicBool,
}

impl<B> Default for Handover<B> {
    fn default() -> Self {
        Self { held: Mutex::default(), is_full: AtomicBool::default(), is_behind: AtomicBool::default() }
    }
}

impl<B> Handover<B> {
    /// Puts an answer there; the future that had it is never done.
    pub(super) fn give(&self, held: Held<B>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        self.is_full.store(true, Ordering::Relaxed);
    }

    /// The answer, once all that came before it is written.
    pub(super) fn take(&self) -> Option<Held<B>> {
        if !self.is_full.load(Ordering::Relaxed) || self.is_behind.load(Ordering::Relaxed) {
            return None;
        }
        self.is_full.store(false, Ordering::Relaxed);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whether the answer to `request` could be taken: of HTTP/1.1, with a body, and with nothing said of the connection but that it
/// stays.
pub(super) fn may_be_held<B>(request: &Request<B>) -> bool {
    let stays = |headers: &HeaderMap| {
        let mut said = headers.get_all(CONNECTION).iter();
        said.all(|said| said.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
    };
    request.version() == Version::HTTP_11
        && matches!(*request.method(), Method::GET | Method::POST)
        && stays(request.headers())
}

/// A connection's socket, in front of it what was read too early.
pub(super) struct Channel<I, B> {
    early: Bytes,
    io: I,
    handover: Arc<Handover<B>>,
}

impl<I, B> Channel<I, B> {
    pub(super) fn new(io: I, handover: Arc<Handover<B>>) -> Self {
        Self { early: Bytes::new(), io, handover }
    }

    /// Puts what hyper has read, and not understood yet, in front of what comes: also of what was here before, of which hyper may
    /// have read a part only. Copied: it is a few bytes of a large buffer.
    pub(super) fn give_back(&mut self, unread: &Bytes) {
        self.early = [&unread[..], &self.early].concat().into();
    }

    fn noted<T>(&self, written: Poll<T>) -> Poll<T> {
        self.handover.is_behind.store(true, Ordering::Relaxed);
        written
    }
}

impl<I: AsyncRead + Unpin, B> AsyncRead for Channel<I, B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin, B> AsyncWrite for Channel<I, B> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, data);
        self.noted(written)
    }

    /// hyper flushes once it has written everything, and after every turn.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.handover.is_behind.store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Writes `held` to its end, in chunks.
///
/// # Errors
/// The client has gone, or the answer broke off: the connection is of no use any more.
pub(super) async fn write_out<I, B>(channel: &mut Channel<I, B>, held: Held<B>) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let Held { response, since, open: _open } = held;
    let (parts, body) = response.into_parts();
    let mut writing = Writing {
        waiting: head(&parts, since),
        body: Box::pin(body),
        is_whole: false,
        broken: None,
        timer: LazyTimer::default(),
        due: None,
    };
    drop(parts);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(gone) = channel.poll_gone(cx) {
            return Poll::Ready(Err(gone.into()));
        }
        writing.poll(cx, channel)
    })
    .await
}

/// A peer that says more before it was answered is read no further than this (RFC 9112 §9.3.2).
const EARLY: usize = 512;

impl<I: AsyncRead + Unpin, B> Channel<I, B> {
    /// Done when the client has gone. Its next request may come early; as with hyper, its going is not noticed behind that.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.early.is_empty() {
            return Poll::Pending;
        }
        let mut space = [0; EARLY];
        let mut buffer = ReadBuf::new(&mut space);
        match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
            Err(error) => Poll::Ready(error),
            Ok(()) if buffer.filled().is_empty() => Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            Ok(()) => {
                self.early = Bytes::copy_from_slice(buffer.filled());
                Poll::Pending
            }
        }
    }
}

/// What is not written yet of an answer.
struct Writing<B> {
    /// Room is taken only while it is needed.
    waiting: BytesMut,
    body: Pin<Box<B>>,
    is_whole: bool,
    /// Why there is no more; what came before it is the client's.
    broken: Option<BoxError>,
    timer: LazyTimer,
    /// When the client will have read nothing for too long.
    due: Option<Instant>,
}

/// How long a client may take nothing of what is there for it. While it does not read, nothing more is asked of the server, and so
/// a revocation is not noticed either.
const STALLED: Duration = Duration::from_mins(1);
/// What is gathered before it is written, unless the body pauses.
const GATHERED: usize = 16 * 1024;

impl<B> Writing<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    fn poll<I>(&mut self, cx: &mut Context<'_>, channel: &mut Channel<I, B>) -> Poll<Result<(), BoxError>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let gathered = self.poll_gather(cx);
            let written = self.poll_write(cx, channel)?;
            // What came before an error is the client's, as far as it takes it now: whoever reads nothing holds nothing open.
            if let Some(error) = self.broken.take() {
                return Poll::Ready(Err(error));
            }
            if written.is_pending() {
                let due = *self.due.get_or_insert_with(|| Instant::now() + STALLED);
                ready!(self.timer.poll_deadline(cx, due));
                return Poll::Ready(Err("the client does not read".into()));
            }
            ready!(gathered);
            if self.is_whole {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Fills `waiting`; pending if the body pauses.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_whole && self.broken.is_none() && self.waiting.len() < GATHERED {
            match ready!(self.body.as_mut().poll_frame(cx)) {
                // Trailers are not passed.
                Some(Ok(frame)) => add_chunk(&mut self.waiting, &frame.into_data().unwrap_or_default()),
                Some(Err(error)) => self.broken = Some(error.into()),
                None => {
                    self.waiting.extend_from_slice(b"0\r\n\r\n");
                    self.is_whole = true;
                }
            }
        }
        Poll::Ready(())
    }

    fn poll_write<I>(&mut self, cx: &mut Context<'_>, channel: &mut Channel<I, B>) -> Poll<io::Result<()>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut *channel).poll_write(cx, &self.waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => {
                    self.waiting.advance(written);
                    self.due = None;
                }
            }
        }
        self.waiting = BytesMut::new();
        Pin::new(channel).poll_flush(cx)
    }
}

/// The head of an answer in chunks (RFC 9112 §4, §6.1).
fn head(parts: &Parts, since: Timestamp) -> BytesMut {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut head = Vec::with_capacity(512);
    // Writing to memory does not fail.
    let _ = write!(head, "HTTP/1.1 {} {reason}\r\n", parts.status.as_str());
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if !parts.headers.contains_key(DATE) {
        let since = UNIX_EPOCH + Duration::from_secs(since.seconds());
        let _ = write!(head, "date: {}\r\n", httpdate::fmt_http_date(since));
    }
    head.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    BytesMut::from(&head[..])
}

/// An empty chunk would be the end.
fn add_chunk(to: &mut BytesMut, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    to.reserve(data.len() + 20);
    to.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    to.extend_from_slice(data);
    to.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
