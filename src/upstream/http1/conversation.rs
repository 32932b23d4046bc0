//! A request and its answer on one connection. What can be written is written while the answer is waited for: a server may
//! answer before it has read everything, and some read the rest only then.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Method, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::super::body::{RequestBody, RequestBodyError};
use super::super::{Outgoing, UpstreamError};
use super::connection::Connection;
use super::framing::{Found, Framing};
use super::head::Head;

/// Why there is no answer.
pub(crate) enum Failed {
    /// Nothing of the request has left: it may be sent on another connection.
    Unsent(Box<Outgoing>, io::Error),
    /// Some of it has, or it is not worth sending.
    Finally(UpstreamError),
}

/// What of a request is not written yet.
pub(crate) struct Sending {
    body: RequestBody,
    framing: Written,
    /// The head, or a chunk's size.
    start: Vec<u8>,
    data: Bytes,
    end: &'static [u8],
    state: State,
}

/// How the upstream is told where the body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Length(u64),
    Chunked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has left.
    Fresh,
    Begun,
    /// The body has ended; what there is of it may still have to be written.
    LastPart,
    Done,
}

/// Why a request could not be written to its end.
enum Broken {
    Client(RequestBodyError),
    Upstream(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Upstream(error)
    }
}

impl Sending {
    fn new(outgoing: &mut Outgoing, connection: &Connection) -> Self {
        let body = std::mem::take(&mut outgoing.body);
        let mut start = Vec::with_capacity(outgoing.lines.len() + 256);
        outgoing.write_start(&connection.origin.host, &mut start);
        let framing = body.size_hint().exact().map_or(Written::Chunked, Written::Length);
        let has_none =
            matches!(outgoing.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS);
        // Writing to memory does not fail.
        let _ = match framing {
            Written::Length(0) if has_none => Ok(()),
            Written::Length(length) => write!(start, "content-length: {length}\r\n"),
            Written::Chunked => write!(start, "transfer-encoding: chunked\r\n"),
        };
        start.extend_from_slice(&outgoing.lines);
        start.extend_from_slice(b"\r\n");
        Self { body, framing, start, data: Bytes::new(), end: b"", state: State::Fresh }
    }

    /// Writes what can be; done when all is.
    fn poll(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<Result<(), Broken>> {
        while self.state != State::Done {
            let part = self.poll_part(cx);
            if let Poll::Ready(Err(error)) = part {
                return Poll::Ready(Err(Broken::Client(error)));
            }
            if self.is_written() {
                if self.state == State::LastPart {
                    self.state = State::Done;
                } else {
                    ready!(part).map_err(Broken::Client)?;
                }
            } else {
                ready!(self.poll_write(cx, connection))?;
            }
        }
        connection.poll_flush(cx).map_err(Broken::Upstream)
    }

    /// Fills in the next part of the body, if the last one has been taken.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestBodyError>> {
        if !self.data.is_empty()
            || !self.end.is_empty()
            || matches!(self.state, State::LastPart | State::Done)
        {
            return Poll::Ready(Ok(()));
        }
        let frame =
            if self.body.is_end_stream() { None } else { ready!(Pin::new(&mut self.body).poll_frame(cx)) };
        match frame.transpose()?.map(http_body::Frame::into_data) {
            Some(Ok(data)) if !data.is_empty() => self.take(data)?,
            Some(Ok(_) | Err(_)) => {}
            None => self.finish()?,
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, data: Bytes) -> Result<(), RequestBodyError> {
        match &mut self.framing {
            Written::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(RequestBodyError::Length)?;
            }
            Written::Chunked => {
                let _ = write!(self.start, "{:x}\r\n", data.len());
                self.end = b"\r\n";
            }
        }
        self.data = data;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), RequestBodyError> {
        match self.framing {
            Written::Length(0) => {}
            Written::Length(_) => return Err(RequestBodyError::Length),
            Written::Chunked => self.end = b"0\r\n\r\n",
        }
        self.state = State::LastPart;
        Ok(())
    }

    fn is_written(&self) -> bool {
        self.start.is_empty() && self.data.is_empty() && self.end.is_empty()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<io::Result<()>> {
        let parts = [IoSlice::new(&self.start), IoSlice::new(&self.data), IoSlice::new(self.end)];
        let written = ready!(connection.poll_write(cx, &parts))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        if self.state == State::Fresh {
            self.state = State::Begun;
        }
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let of_start = written.min(self.start.len());
        self.start.drain(..of_start);
        written -= of_start;
        let of_data = written.min(self.data.len());
        self.data.advance(of_data);
        self.end = &self.end[written - of_data..];
    }

    /// Whether the client's body has come to its end here.
    fn has_read_all(&self) -> bool {
        matches!(self.state, State::LastPart | State::Done)
    }
}

/// An answer's body that has not come yet, with what of the request is still to be written.
pub(crate) struct Reading {
    connection: Connection,
    framing: Framing,
    keeps: bool,
    sending: Option<Sending>,
    is_asked_whole: bool,
    failed: Option<io::Error>,
}

/// Sends a request on a connection and waits for its answer, no longer than `limit` from the end of its body.
pub(crate) async fn converse(
    mut connection: Connection,
    mut outgoing: Box<Outgoing>,
    limit: Option<Duration>,
) -> Result<(Response<()>, Reading), Failed> {
    let mut sending = Sending::new(&mut outgoing, &connection);
    let mut write_error = None;
    let mut deadline = None;
    let waited = poll_fn(|cx| {
        if write_error.is_none() {
            match sending.poll(cx, &mut connection) {
                Poll::Ready(Err(Broken::Client(error))) => return Poll::Ready(Err(Wait::Client(error))),
                Poll::Ready(Err(Broken::Upstream(error))) if sending.state == State::Fresh => {
                    return Poll::Ready(Err(Wait::Unsent(error)));
                }
                // It may have answered, and read no further.
                Poll::Ready(Err(Broken::Upstream(error))) => write_error = Some(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if let Poll::Ready(head) = poll_head(cx, &mut connection, &outgoing.method) {
            return Poll::Ready(head.map_err(|error| Wait::Upstream(write_error.take().unwrap_or(error))));
        }
        match limit {
            // What cannot be written has ended, too.
            Some(limit) if sending.has_read_all() || write_error.is_some() => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
                connection.poll_deadline(cx, deadline).map(|()| Err(Wait::TooLong))
            }
            Some(_) | None => Poll::Pending,
        }
    });
    match waited.await {
        Ok(Head { response, framing, keeps }) => {
            let is_asked_whole = sending.state == State::Done;
            let sending = (!is_asked_whole && write_error.is_none()).then_some(sending);
            let keeps = keeps && write_error.is_none();
            Ok((response, Reading { connection, framing, keeps, sending, is_asked_whole, failed: None }))
        }
        Err(Wait::Unsent(error)) => {
            outgoing.body = sending.body;
            outgoing.body.put_back(sending.data);
            Err(Failed::Unsent(outgoing, error))
        }
        Err(Wait::Client(error)) => Err(Failed::Finally(error.into())),
        Err(Wait::Upstream(error)) => Err(Failed::Finally(UpstreamError::BrokeOff(error.into()))),
        Err(Wait::TooLong) => Err(Failed::Finally(UpstreamError::AnswerTimeout)),
    }
}

/// Why nothing is waited for any more.
enum Wait {
    Unsent(io::Error),
    Client(RequestBodyError),
    Upstream(io::Error),
    TooLong,
}

fn poll_head(cx: &mut Context<'_>, connection: &mut Connection, method: &Method) -> Poll<io::Result<Head>> {
    loop {
        if let Some(head) = Head::take(&mut connection.read, method)? {
            return Poll::Ready(Ok(head));
        }
        if ready!(connection.poll_read(cx))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Data below this size is copied out of the connection's buffer, which then stays whole.
const SMALL: usize = 2048;

impl Reading {
    /// The whole body, if it is in the buffer already, and the connection.
    pub(crate) fn whole(&mut self) -> Option<Bytes> {
        match self.framing {
            Framing::Length(length)
                if length <= SMALL as u64 && self.connection.read.len() as u64 >= length =>
            {
                let length = usize::try_from(length).unwrap_or_default();
                self.framing = Framing::Length(0);
                Some(self.take(length))
            }
            Framing::Length(_) | Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// Whether the request's body had come to its end, from the client too, when the answer began.
    pub(crate) const fn is_asked_whole(&self) -> bool {
        self.is_asked_whole
    }

    /// How long it is, if that is known.
    pub(crate) const fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// The next piece of the body; `None` at its end. An error comes a turn late: who is told of it at once would throw away what
    /// was handed on just before.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        match ready!(self.poll_piece(cx)) {
            Ok(piece) => Poll::Ready(Ok(piece)),
            Err(error) => {
                self.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.poll_rest_of_request(cx)?;
        loop {
            match self.framing.find(&mut self.connection.read)? {
                Found::Data(length) => return Poll::Ready(Ok(Some(self.take(length)))),
                Found::End => return Poll::Ready(Ok(None)),
                Found::More => {}
            }
            match self.connection.poll_read(cx)? {
                Poll::Ready(0) if self.framing == Framing::UntilClose => return Poll::Ready(Ok(None)),
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    self.connection.rest();
                    return Poll::Pending;
                }
            }
        }
    }

    /// The connection, if another request may be sent on it: the answer has ended, and nothing was said after it.
    pub(crate) fn into_connection(mut self) -> Option<Connection> {
        let clear = self.keeps && self.sending.is_none() && self.connection.read.is_empty();
        self.connection.rest_from_much();
        clear.then_some(self.connection)
    }

    /// An answer that came early is no reason not to send the rest; that the upstream does not take it is none not to read the
    /// answer. A client that breaks off is: what it has sent must not look whole.
    fn poll_rest_of_request(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        match sending.poll(cx, &mut self.connection) {
            Poll::Ready(Ok(())) => self.sending = None,
            Poll::Ready(Err(Broken::Client(error))) => return Err(io::Error::other(error)),
            Poll::Ready(Err(Broken::Upstream(_))) => {
                self.sending = None;
                self.keeps = false;
            }
            Poll::Pending => {}
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Bytes {
        let read = &mut self.connection.read;
        if length <= SMALL {
            let data = Bytes::copy_from_slice(&read[..length]);
            read.advance(length);
            data
        } else {
            read.split_to(length).freeze()
        }
    }
}
