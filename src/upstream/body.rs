//! Bodies to and from upstreams. Data only: trailers would be a way past the header rules, and MCP has none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::UpstreamError;
use super::http1::Reading;
use super::pool::Idle;
use super::standing::Open;
use crate::timer::LazyTimer;

/// Most bytes, and the longest time, that are spent on a body which nobody wants.
const UNWANTED: (usize, Duration) = (1024 * 1024, Duration::from_secs(5));

/// A request's body as it comes in from the client, on its way to an upstream or to an endpoint of ours.
///
/// Dropped before its end, it is read to its end in the background, within bounds: a client that got its answer before it had
/// sent its body sends the next request on the same connection, and hyper would have closed that.
#[derive(Default)]
pub struct RequestBody {
    /// Read already, and given back.
    front: Bytes,
    incoming: Option<Incoming>,
    bounds: Option<Bounds>,
}

/// What a client may send, and how slowly.
struct Bounds {
    most: u64,
    left: u64,
    pause: Duration,
    timer: LazyTimer,
    /// When the pause is over that the client makes now.
    due: Option<Instant>,
}

/// What is wrong with a client's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It has more bytes than this.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
    /// The client has paused for too long.
    #[error("the request body did not come in time")]
    TooSlow,
    /// It is not framed as it should be, or has no end.
    #[error("the request body cannot be read")]
    Unreadable,
}

/// Why a client's body has no end.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// It is given up.
    #[error(transparent)]
    Fault(BodyFault),
    /// The client broke off.
    #[error("the request body broke off")]
    BrokeOff(#[source] hyper::Error),
    /// It has more or fewer bytes than it said.
    #[error("the request body is not as long as it said")]
    Length,
}

impl From<RequestBodyError> for UpstreamError {
    fn from(error: RequestBodyError) -> Self {
        match error {
            RequestBodyError::Fault(fault) => Self::Body(fault),
            RequestBodyError::BrokeOff(_) | RequestBodyError::Length => Self::Body(BodyFault::Unreadable),
        }
    }
}

impl From<&'static str> for RequestBody {
    fn from(text: &'static str) -> Self {
        Self { front: Bytes::from_static(text.as_bytes()), incoming: None, bounds: None }
    }
}

impl From<Bytes> for RequestBody {
    fn from(front: Bytes) -> Self {
        Self { front, incoming: None, bounds: None }
    }
}

impl From<Incoming> for RequestBody {
    fn from(incoming: Incoming) -> Self {
        Self { front: Bytes::new(), incoming: Some(incoming), bounds: None }
    }
}

impl RequestBody {
    /// Drops it without reading it out: nothing more is expected of this client (RFC 9110 §15.5.9), and its connection is
    /// closed.
    pub fn give_up(mut self) {
        self.incoming = None;
    }

    /// The same body, an error beyond `most` bytes and after a `pause`. A pause is the client's: while nobody wants to
    /// read, no time is counted.
    #[must_use]
    pub fn bounded(mut self, most: u64, pause: Duration) -> Self {
        self.bounds = Some(Bounds { most, left: most, pause, timer: LazyTimer::default(), due: None });
        self
    }

    /// Whether it is too large already by the length that it came with.
    ///
    /// # Errors
    /// [`BodyFault::TooLarge`].
    pub fn check_length(&self) -> Result<(), BodyFault> {
        let least = self.size_hint().lower();
        match &self.bounds {
            Some(bounds) if least > bounds.most => Err(BodyFault::TooLarge(bounds.most)),
            Some(_) | None => Ok(()),
        }
    }

    /// Gives back what was read last and sent to nobody.
    pub(super) fn put_back(&mut self, data: Bytes) {
        self.front = data;
    }
}

impl Bounds {
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyFault> {
        self.due = None;
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.left = self.left.checked_sub(length).ok_or(BodyFault::TooLarge(self.most))?;
        Ok(())
    }

    /// Done when the client has paused for too long.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<BodyFault> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.pause);
        self.timer.poll_deadline(cx, due).map(|()| BodyFault::TooSlow)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let unread = self.incoming.take().filter(|incoming| !incoming.is_end_stream());
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
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = self.get_mut();
        if !this.front.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.front)))));
        }
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let counted = match (poll_data(incoming, cx), &mut this.bounds) {
            (Poll::Ready(Some(Ok(frame))), Some(bounds)) => bounds.count(&frame).map(|()| Some(frame)),
            (Poll::Pending, Some(bounds)) => {
                let fault = ready!(bounds.poll_pause(cx));
                // Nothing more is expected of this client.
                this.incoming = None;
                Err(fault)
            }
            (Poll::Ready(Some(Err(error))), _) => {
                return Poll::Ready(Some(Err(RequestBodyError::BrokeOff(error))));
            }
            (Poll::Ready(Some(Ok(frame))), None) => Ok(Some(frame)),
            (Poll::Ready(None), _) => Ok(None),
            (Poll::Pending, None) => return Poll::Pending,
        };
        Poll::Ready(counted.map_err(RequestBodyError::Fault).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty() && self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint);
        let front = self.front.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + front);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + front);
        }
        hint
    }
}

/// An upstream answer's body. Dropped before its end, it closes the connection; at its end the connection goes back to the pool.
pub struct ResponseBody {
    rest: Rest,
    /// Counted at its replica.
    open: Option<Open>,
}

/// What of it has not been handed on.
enum Rest {
    Nothing,
    /// It came with the head.
    Whole(Bytes),
    Coming(Box<Coming>),
}

struct Coming {
    reading: Reading,
    idle: Idle,
}

impl ResponseBody {
    /// The body that `reading` brings; afterwards its connection is put into `idle`.
    pub(super) fn new(mut reading: Reading, idle: &Idle) -> Self {
        let Some(whole) = reading.whole() else {
            let rest = Rest::Coming(Box::new(Coming { reading, idle: idle.clone() }));
            return Self { rest, open: None };
        };
        if let Some(connection) = reading.into_connection() {
            idle.put(connection);
        }
        Self { rest: if whole.is_empty() { Rest::Nothing } else { Rest::Whole(whole) }, open: None }
    }

    /// Whether all of it has come.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        matches!(self.rest, Rest::Nothing | Rest::Whole(_))
    }

    /// Whether it is still coming and its request was read to the end: nothing is left of that on the client's connection.
    #[must_use]
    pub fn is_asked_whole(&self) -> bool {
        match &self.rest {
            Rest::Coming(coming) => coming.reading.is_asked_whole(),
            Rest::Nothing | Rest::Whole(_) => false,
        }
    }

    /// Counts as open at its replica until it has ended.
    pub(super) fn holding(mut self, open: Option<Open>) -> Self {
        self.open = open;
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Self { rest, open } = self.get_mut();
        let data = match rest {
            Rest::Nothing => None,
            Rest::Whole(data) => {
                let data = std::mem::take(data);
                *rest = Rest::Nothing;
                Some(Ok(data))
            }
            Rest::Coming(coming) => {
                let data = ready!(coming.reading.poll_data(cx)).transpose();
                if data.is_none() {
                    std::mem::replace(rest, Rest::Nothing).give_back();
                }
                data
            }
        };
        if data.is_none() {
            *open = None;
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.rest {
            Rest::Nothing => true,
            Rest::Whole(_) => false,
            Rest::Coming(coming) => coming.reading.length() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Rest::Coming(coming) => coming.reading.length().map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl Rest {
    fn give_back(self) {
        if let Self::Coming(coming) = self {
            let Coming { reading, idle } = *coming;
            if let Some(connection) = reading.into_connection() {
                idle.put(connection);
            }
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // Whoever knows the length does not ask for the end.
        if self.is_end_stream() {
            std::mem::replace(&mut self.rest, Rest::Nothing).give_back();
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
