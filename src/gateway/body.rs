//! The one response body type.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::in_flight::Permit;
use super::keep_alive::KeepAlive;
use super::streams::{Cut, Cutter};
use crate::time::Timestamp;
use crate::upstream::ResponseBody;

/// A response's body.
pub enum Body {
    /// Nothing.
    Empty,
    /// All of it, known.
    Full(Bytes),
    /// As it comes from an upstream.
    Stream(Stream),
}

/// An extension of responses that stay open for as long as their upstream says something now and then, and whose requests were
/// read to their end.
#[derive(Clone, Copy, Debug)]
pub struct Lasting {
    /// When the answer began.
    pub since: Timestamp,
}

/// Told when a response's body has ended, by its end or by being dropped: writes the access line.
pub trait Finish {
    /// `bytes` of data went to the client; `complete` unless the body was broken off or the client went away.
    fn finish(&mut self, bytes: u64, complete: bool);
}

/// An upstream's answer on its way to the client.
pub struct Stream {
    source: ResponseBody,
    cutter: Option<Cutter>,
    keep_alive: Option<Box<KeepAlive>>,
    permit: Option<Permit>,
    outcome: Outcome,
    bytes: u64,
    finish: Option<Box<dyn Finish + Send>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Running,
    Complete,
    Broken,
}

/// A response broke off in the middle: the client sees a reset or a missing last chunk, never a clean end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The upstream broke off.
    #[error("the response was broken off")]
    BrokeOff(#[source] std::io::Error),
    /// The stream's grant was revoked.
    #[error("the stream's grant was revoked")]
    Revoked,
    /// The stream's token has expired.
    #[error("the stream's token has expired")]
    Expired,
}

impl Body {
    /// An upstream's answer, with what may cut it.
    pub(super) const fn stream(source: ResponseBody, cutter: Option<Cutter>) -> Self {
        Self::Stream(Stream {
            source,
            cutter,
            keep_alive: None,
            permit: None,
            outcome: Outcome::Running,
            bytes: 0,
            finish: None,
        })
    }

    /// Writes comments into its pauses.
    pub(super) fn kept_alive(mut self, keep_alive: Option<Box<KeepAlive>>) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.keep_alive = keep_alive;
        }
        self
    }

    /// Keeps its request open until the body has ended.
    pub(super) fn holding(mut self, permit: Permit) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.permit = Some(permit);
        }
        self
    }

    /// Whether it is a stream that has no end of its own.
    pub(super) fn stands_open(&self) -> bool {
        match self {
            Self::Empty | Self::Full(_) => false,
            Self::Stream(stream) => stream.permit.as_ref().is_some_and(Permit::is_of_a_stream),
        }
    }

    /// How many bytes are known already.
    pub(super) const fn length(&self) -> u64 {
        match self {
            Self::Empty | Self::Stream(_) => 0,
            Self::Full(bytes) => bytes.len() as u64,
        }
    }

    /// Has `finish` told when the body has ended. A body that is known is as good as sent: `finish` is told at once.
    #[must_use]
    pub fn on_end(mut self, mut finish: Box<dyn Finish + Send>) -> Self {
        match &mut self {
            Self::Empty => finish.finish(0, true),
            Self::Full(bytes) => finish.finish(bytes.len() as u64, true),
            Self::Stream(stream) => stream.finish = Some(finish),
        }
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.poll(cx).map(Result::transpose),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.source.size_hint(),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        if self.outcome != Outcome::Running {
            return Poll::Ready(Ok(None));
        }
        let polled = ready!(self.poll_source(cx));
        match &polled {
            Ok(Some(frame)) => self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(None) => self.outcome = Outcome::Complete,
            Err(_) => self.outcome = Outcome::Broken,
        }
        if self.outcome != Outcome::Running {
            self.permit = None;
        }
        Poll::Ready(polled)
    }

    /// The next frame, unless the stream is cut: looked up with every frame, so that an upstream that never pauses does not
    /// outrun the cutter, and waited for beside a pending one.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        match (Pin::new(&mut self.source).poll_frame(cx), &mut self.cutter) {
            (Poll::Ready(Some(Ok(frame))), cutter) => {
                if let Some(cut) = cutter.as_ref().and_then(Cutter::check) {
                    return Poll::Ready(Err(cut.into()));
                }
                let frame = match &mut self.keep_alive {
                    Some(keep_alive) => keep_alive.pass(frame),
                    None => frame,
                };
                Poll::Ready(Ok(Some(frame)))
            }
            (Poll::Ready(Some(Err(error))), _) => Poll::Ready(Err(BodyError::BrokeOff(error))),
            (Poll::Ready(None), _) => Poll::Ready(Ok(None)),
            (Poll::Pending, Some(cutter)) => match cutter.poll(cx) {
                Poll::Ready(cut) => Poll::Ready(Err(cut.into())),
                Poll::Pending => self.poll_keep_alive(cx),
            },
            (Poll::Pending, None) => self.poll_keep_alive(cx),
        }
    }

    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        match &mut self.keep_alive {
            Some(keep_alive) => keep_alive.poll(cx).map(|comment| Ok(Some(comment))),
            None => Poll::Pending,
        }
    }

    fn is_at_end(&self) -> bool {
        match self.outcome {
            Outcome::Running => self.source.is_end_stream(),
            Outcome::Complete => true,
            Outcome::Broken => false,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let complete = self.is_at_end();
        if let Some(finish) = &mut self.finish {
            finish.finish(self.bytes, complete);
        }
    }
}

impl From<Cut> for BodyError {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Revoked => Self::Revoked,
            Cut::Expired => Self::Expired,
        }
    }
}
