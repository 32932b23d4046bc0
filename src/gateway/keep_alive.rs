//! Comments in a quiet event stream, so that nothing between us and the client takes it for dead: `:` and a blank line, which no
//! client sees (WHATWG HTML §9.2.6). Only between two events, only where the service's `sse_keep_alive` says so.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use tokio::time::Instant;

use crate::timer::LazyTimer;

const COMMENT: Bytes = Bytes::from_static(b":\n\n");
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Writes comments into one quiet stream.
pub(super) struct KeepAlive {
    pause: Duration,
    events: Events,
    timer: LazyTimer,
    /// When the next comment is due; `None` until the server pauses.
    due: Option<Instant>,
}

impl KeepAlive {
    /// For an answer, if it is a stream of events that a comment can stand in: of no fixed length, and not compressed.
    /// `Cache-Control: no-transform` is no reason against it, for the operator asks for it, of servers that say so of every
    /// stream (the TypeScript SDK's do).
    pub(super) fn of(pause: Option<Duration>, answer: &Parts) -> Option<Box<Self>> {
        let mut codings = answer.headers.get_all(CONTENT_ENCODING).iter();
        let is_stream = is_event_stream(answer) && codings.all(|coding| is(coding, "identity"));
        let pause = pause.filter(|_| is_stream)?;
        Some(Box::new(Self { pause, events: Events::default(), timer: LazyTimer::default(), due: None }))
    }

    /// Looks at what comes from the server; the pause begins anew.
    pub(super) fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        self.due = None;
        frame.map_data(|data| self.events.pass(data))
    }

    /// The next comment, to be waited for beside a stream that has nothing to say.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Frame<Bytes>> {
        if !self.events.are_apart() {
            return Poll::Pending;
        }
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.pause);
        ready!(self.timer.poll_deadline(cx, due));
        self.due = None;
        Poll::Ready(Frame::data(self.events.comment()))
    }
}

/// Whether an answer is a stream of events of no fixed length.
pub(super) fn is_event_stream(answer: &Parts) -> bool {
    answer.status == StatusCode::OK
        && answer.headers.get(CONTENT_TYPE).is_some_and(|kind| is(kind, "text/event-stream"))
        && !answer.headers.contains_key(CONTENT_LENGTH)
}

fn is(value: &HeaderValue, wanted: &str) -> bool {
    let first = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    first.trim().eq_ignore_ascii_case(wanted)
}

/// Where a stream of events stands, seen by the bytes that have passed.
#[derive(Debug, Default)]
struct Events {
    place: Place,
    /// The last byte was a CR: an LF after it belongs to the same end of line.
    after_cr: bool,
    /// How much of a byte order mark has come after a comment of ours.
    mark: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing has come yet.
    #[default]
    Start,
    /// After a blank line, which ends an event.
    Between,
    /// At the beginning of a line of an event.
    Begun,
    /// In a line.
    Within,
}

impl Events {
    /// Takes note of bytes on their way.
    fn pass(&mut self, data: Bytes) -> Bytes {
        let data = self.without_mark(data);
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        // What came before the last letter does not matter any more.
        let ends = match data.iter().rposition(|byte| !is_end(byte)) {
            Some(last) => {
                (self.place, self.after_cr) = (Place::Within, false);
                &data[last + 1..]
            }
            None => &data[..],
        };
        for end in ends {
            self.end_line(*end);
        }
        data
    }

    fn end_line(&mut self, end: u8) {
        let is_rest = end == b'\n' && self.after_cr;
        self.after_cr = end == b'\r';
        self.place = match self.place {
            place if is_rest => place,
            Place::Within => Place::Begun,
            Place::Start | Place::Between | Place::Begun => Place::Between,
        };
    }

    /// A byte order mark means nothing at the beginning of a stream, but would make a field's name unknown after a comment. In
    /// UTF-8 a part of one is a part of a line that means nothing either way.
    fn without_mark(&mut self, mut data: Bytes) -> Bytes {
        let Some(taken) = &mut self.mark else { return data };
        while !data.is_empty() && BYTE_ORDER_MARK.get(*taken) == data.first() {
            data.advance(1);
            *taken += 1;
        }
        if !data.is_empty() {
            self.mark = None;
        }
        data
    }

    /// Whether no event has begun that has not ended.
    fn are_apart(&self) -> bool {
        matches!(self.place, Place::Start | Place::Between)
    }

    /// A comment of ours to be written here.
    fn comment(&mut self) -> Bytes {
        if self.place == Place::Start {
            self.mark.get_or_insert(0);
        }
        COMMENT
    }
}

#[cfg(test)]
mod tests;
