//! How much of one connection is read before the others have their turn. An HTTP/2 connection's task reads frames for as long as
//! there are any, and frames that ask for nothing (`PING`, `SETTINGS`, `WINDOW_UPDATE`) are small: a peer that sends nothing else would
//! have its worker for tens of milliseconds at a time.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a turn: some thousand of the smallest frames, a millisecond.
const TURN: usize = 16 * 1024;

/// A socket whose reader pauses after each turn, until the runtime has looked at all other sockets and run every task that can.
pub(super) struct Turns<I> {
    io: I,
    read: usize,
}

impl<I> Turns<I> {
    pub(super) const fn new(io: I) -> Self {
        Self { io, read: 0 }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Turns<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= TURN {
            self.read = 0;
            // Unlike a waker's, this turn comes after a look at the sockets.
            let yielded = pin!(tokio::task::yield_now()).poll(cx);
            debug_assert!(yielded.is_pending());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.read = if polled.is_pending() { 0 } else { self.read + buffer.filled().len() - before };
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Turns<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt;

    use super::*;

    /// There is always more.
    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.put_slice(&vec![b'x'; buffer.remaining()]);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_peer_that_never_pauses_reads_a_turn_and_then_everybody_else_has_theirs() {
        let read = Arc::new(AtomicUsize::new(0));
        let reading = tokio::spawn({
            let read = Arc::clone(&read);
            async move {
                let (mut turns, mut space) = (Turns::new(Endless), [0; 1000]);
                loop {
                    read.fetch_add(turns.read(&mut space).await.unwrap(), Ordering::Relaxed);
                }
            }
        });
        for turn in 1..100 {
            tokio::task::yield_now().await;
            let read = read.load(Ordering::Relaxed);
            assert!(read > 0 && read <= turn * (TURN + 1000), "{read} bytes after {turn} turns");
        }
        reading.abort();
    }

    #[tokio::test]
    async fn nothing_is_lost_between_turns() {
        let (near, far) = tokio::io::duplex(1024);
        let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let writing = tokio::spawn({
            let sent = sent.clone();
            async move { tokio::io::AsyncWriteExt::write_all(&mut Turns::new(near), &sent).await }
        });
        let mut heard = Vec::new();
        Turns::new(far).read_to_end(&mut heard).await.unwrap();
        writing.await.unwrap().unwrap();
        assert!(heard == sent);
    }
}
