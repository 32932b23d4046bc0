//! One connection: its socket, what was read of it and not used yet, and a timer.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::HeaderValue;
use socket2::SockRef;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_util::io::poll_read_buf;

use crate::timer::LazyTimer;

/// Bytes that are read at once, of an answer that is not known to be long.
const READ: usize = 4096;
/// The same, of one that is.
const READ_MUCH: usize = 64 * 1024;

/// A socket to an upstream.
pub(crate) enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Where a connection leads, for as long as it lasts.
pub(crate) struct Origin {
    /// `scheme://host[:port]`.
    pub(crate) name: Arc<str>,
    /// The same as `Host` says it.
    pub(crate) host: HeaderValue,
}

/// An open connection to an upstream.
pub(crate) struct Connection {
    pub(crate) origin: Origin,
    io: Io,
    pub(super) read: BytesMut,
    /// Whether the last reading filled the buffer: more is about to come.
    is_flowing: bool,
    timer: LazyTimer,
}

impl Connection {
    pub(crate) fn new(origin: Origin, io: Io) -> Self {
        Self { origin, io, read: BytesMut::new(), is_flowing: false, timer: LazyTimer::default() }
    }

    /// Whether a request may be written. Nothing may be readable before one is: not an end, not a late 408. The system is asked,
    /// for the runtime only knows what its last poll told it, and a connection closed since then would swallow a request that
    /// must not be sent twice.
    pub(crate) fn is_usable(&self) -> bool {
        let quiet = SockRef::from(self.io.tcp()).peek(&mut [MaybeUninit::uninit()]);
        self.read.is_empty() && matches!(quiet, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads more; the number of bytes, 0 at the connection's end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() == 0 {
            // A quiet stream holds no buffer.
            if let Io::Tcp(tcp) = &self.io {
                ready!(tcp.poll_read_ready(cx))?;
            }
        }
        // An empty buffer begins at its beginning again, which costs nothing, and not where the last answer ended.
        if self.read.is_empty() && self.read.capacity() < READ {
            self.read.reserve(if self.is_flowing { READ_MUCH } else { READ });
        } else if self.read.capacity() == self.read.len() {
            self.read.reserve(READ_MUCH);
        }
        let read = match &mut self.io {
            Io::Tcp(tcp) => poll_read_buf(Pin::new(tcp), cx, &mut self.read),
            Io::Tls(tls) => poll_read_buf(Pin::new(tls), cx, &mut self.read),
        };
        self.is_flowing = read.is_ready() && self.read.capacity() == self.read.len();
        read
    }

    /// Gives the buffer back while nothing is to be read.
    pub(super) fn rest(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
    }

    /// Gives it back if it is large.
    pub(super) fn rest_from_much(&mut self) {
        if self.read.capacity() > READ {
            self.rest();
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, parts),
            Io::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, parts),
        }
    }

    /// TLS may keep what was written until it is flushed.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(_) => Poll::Ready(Ok(())),
            Io::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Done at `deadline`.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.timer.poll_deadline(cx, deadline)
    }
}

impl Io {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}
