//! Bodies to and from upstreams. Data only: trailers would be a way past the header rules, and MCP has none.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;

use super::pool::Lease;

/// Most bytes, and the longest time, that are spent on a body which nobody wants.
const UNWANTED: (usize, Duration) = (1024 * 1024, Duration::from_secs(5));

/// A request's body as it comes in from the client, on its way to an upstream or to an endpoint of ours.
///
/// Dropped before its end, it is read to its end in the background, within bounds: a client that got its answer before it had
/// sent its body sends the next request on the same connection, and hyper would have closed that.
pub struct RequestBody(Option<Incoming>);

impl From<Incoming> for RequestBody {
    fn from(incoming: Incoming) -> Self {
        Self(Some(incoming))
    }
}

impl RequestBody {
    /// Drops it without reading it out: nothing more is expected of this client (RFC 9110 §15.5.9), and its connection is
    /// closed.
    pub fn give_up(mut self) {
        self.0 = None;
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let unread = self.0.take().filter(|incoming| !incoming.is_end_stream());
        if let (Some(unread), Ok(runtime)) = (unread, Handle::try_current()) {
            runtime.spawn(async move { tokio::time::timeout(UNWANTED.1, read_out(unread)).await });
        }
    }
}

async fn read_out(mut unread: Incoming) {
    let mut left = UNWANTED.0;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut unread).poll_frame(cx)).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().0 {
            Some(incoming) => poll_data(incoming, cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// An upstream answer's body. Dropped before its end, it closes the connection; at its end the connection goes back to the pool.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    ended: bool,
}

impl ResponseBody {
    pub(super) const fn new(incoming: Incoming, lease: Lease) -> Self {
        Self { incoming, lease: Some(lease), ended: false }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(poll_data(&mut this.incoming, cx));
        this.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.is_end_stream()
        {
            lease.give_back();
        }
    }
}

/// The next frame of data.
fn poll_data(
    incoming: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    loop {
        match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) if !frame.is_data() => {}
            other => return Poll::Ready(other),
        }
    }
}
