//! One HTTP connection: hyper's settings, and the ways it may end. The version is known beforehand (ALPN, or HTTP/1.1 on
//! plain sockets): guessing it from the first bytes would wait for a silent peer for ever.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Counted, Open};
use super::head_timer::HeadTimer;
use super::held::{self, Channel, Handover, Held};
use super::turns::Turns;
use crate::gateway::{ConnectionLimits, Lasting};
use crate::telemetry::{ConnectionRefusal, Refusals, RequestRefusal};

/// What hyper wants a body's error to become.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a peer may take: read when its connection is accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// As configured.
    pub(super) configured: ConnectionLimits,
    /// What a connection gets for asking something more once a stop was asked for: a client may just be about to.
    pub(super) late: Duration,
}

impl From<ConnectionLimits> for Limits {
    fn from(configured: ConnectionLimits) -> Self {
        Self { configured, late: Duration::from_secs(1) }
    }
}

/// What ends a connection, and where that is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) limits: Limits,
    /// Cancelled when the gateway stops.
    pub(super) stopping: &'a CancellationToken,
    pub(super) refusals: &'a Refusals,
}

/// Serves an HTTP/1.1 connection until it ends. Boxed, each phase takes its room only while it lasts.
pub(super) async fn serve_http1<I, F, A, B>(io: I, answer: F, terms: Terms<'_>)
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    let activity = Arc::new(Activity::default());
    let handover = Arc::new(Handover::default());
    let mut channel = Channel::new(io, Arc::clone(&handover));
    loop {
        let spoken = Box::pin(speak_http1(channel, &answer, (&activity, &handover), terms)).await;
        let Some((returned, held)) = spoken else { return };
        channel = returned;
        let is_last = held.response.headers().contains_key(CONNECTION);
        if let Err(error) = held::write_out(&mut channel, held).await {
            tracing::debug!(error = &*error, "a stream broke off");
            return;
        }
        // After a stop hyper answers one request more, if it comes soon: a client that was not told may just have sent it.
        if is_last {
            // The peer may be gone already.
            let _ = channel.shutdown().await;
            return;
        }
    }
}

/// Lets hyper serve a connection until it ends, or until an answer that it need not hold.
async fn speak_http1<I, F, A, B>(
    channel: Channel<I, B>,
    answer: F,
    (activity, handover): (&Arc<Activity>, &Arc<Handover<B>>),
    terms: Terms<'_>,
) -> Option<(Channel<I, B>, Held<B>)>
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    let service = service_fn(|request| {
        let handover = held::may_be_held(&request).then(|| Arc::clone(handover));
        Answering::new(activity, Some(answer(request))).to(handover)
    });
    let limits = terms.limits.configured;
    let most = limits.header_bytes as usize;
    let mut builder = http1::Builder::new();
    builder
        .timer(HeadTimer::default())
        .header_read_timeout(limits.head)
        // The buffer's size alone is a soft limit: it grows in powers of two.
        .max_header_size(most)
        .max_buf_size(most)
        .half_close(false)
        .keep_alive(!terms.stopping.is_cancelled());
    // Saying so would cost an allocation a request.
    if limits.header_count != ConnectionLimits::DEFAULT_HEADER_COUNT {
        builder.max_headers(limits.header_count);
    }
    let mut connection = builder.serve_connection(TokioIo::new(channel), service);
    // A client that is not told (RFC 9112 §9.6) may send its next request just when the connection is closed, and lose it: what
    // began before is not the last, and an idle connection is not closed at once.
    let stopped = async {
        terms.stopping.cancelled().await;
        activity.say_the_end();
        activity.idle(terms.limits.late, terms.limits.late).await;
    };
    let until_held = UntilHeld { connection: &mut connection, handover };
    let close = |until: Pin<&mut UntilHeld<'_, http1::Connection<_, _>, B>>| {
        Pin::new(&mut *until.get_mut().connection).graceful_shutdown();
    };
    let held = drive(until_held, (close, stopped), activity, terms).await??;
    let parts = connection.into_parts();
    let mut channel = parts.io.into_inner();
    channel.give_back(&parts.read_buf);
    Some((channel, held))
}

/// An HTTP/1.1 connection up to its end, or up to an answer that hyper need not hold.
struct UntilHeld<'a, C, B> {
    connection: &'a mut C,
    handover: &'a Handover<B>,
}

impl<C, B> Future for UntilHeld<'_, C, B>
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    type Output = hyper::Result<Option<Held<B>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match (Pin::new(&mut *this.connection).poll(cx), this.handover.take()) {
            (Poll::Ready(ended), _) => Poll::Ready(ended.map(|()| None)),
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, held) => Poll::Ready(Ok(held)),
        }
    }
}

/// Serves an HTTP/2 connection until it ends.
pub(super) async fn serve_http2<I, F, A, B>(io: I, answer: F, terms: Terms<'_>)
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let limits = terms.limits.configured;
    // h2 counts bytes only.
    let service = service_fn(|request: Request<Incoming>| {
        // Boxed, for on its way into a task hyper moves it a dozen times. On HTTP/1.1 it has one place for all of a connection's.
        let answered = (request.headers().len() <= limits.header_count).then(|| Box::pin(answer(request)));
        if answered.is_none() {
            terms.refusals.request(RequestRefusal::HeadTooLarge);
        }
        Answering::new(&activity, answered)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(limits.streams)
        // Also bounds how many CONTINUATION frames are read.
        .max_header_list_size(limits.header_bytes)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        // Streams that are opened only to be reset (CVE-2023-44487 and its kin).
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .serve_connection(TokioIo::new(Turns::new(io)), service);
    // Two GOAWAYs and a round trip between them (RFC 9113 §6.8): no request is lost on the way.
    let stopped = async {
        terms.stopping.cancelled().await;
        // It may have been made just before.
        tokio::select! {
            () = activity.has_begun() => {}
            () = tokio::time::sleep(terms.limits.late) => {}
        }
    };
    drive(connection, (http2::Connection::graceful_shutdown, stopped), &activity, terms).await;
}

pin_project! {
    /// The answer as hyper wants it, its request open until the body has gone; 431 if there is nobody to answer.
    ///
    /// Written by hand: an async block would hold the answer twice, once as it was captured and once as it is awaited.
    struct Answering<A, B> {
        #[pin]
        answer: Option<A>,
        open: Option<Open>,
        // Where an answer goes that hyper need not hold.
        handover: Option<Arc<Handover<B>>>,
        is_given: bool,
    }
}

impl<A, B> Answering<A, B> {
    fn new(activity: &Arc<Activity>, answer: Option<A>) -> Self {
        Self { answer, open: Some(activity.begin()), handover: None, is_given: false }
    }

    /// An answer that stays open goes there, and never to hyper.
    fn to(self, handover: Option<Arc<Handover<B>>>) -> Self {
        Self { handover, ..self }
    }
}

impl<A, B> Future for Answering<A, B>
where
    A: Future<Output = Response<B>>,
{
    type Output = Result<Response<Counted<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if *this.is_given {
            return Poll::Pending;
        }
        let answer = match this.answer.as_mut().as_pin_mut() {
            Some(answer) => Some(ready!(answer.poll(cx))),
            None => None,
        };
        let open = this.open.take();
        let is_last = open.as_ref().is_some_and(Open::is_last);
        let last = |headers: &mut HeaderMap| {
            if is_last {
                // hyper closes the connection after it.
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
        };
        let Some(mut response) = answer else {
            let mut refused = Response::new(Counted::nothing(open));
            *refused.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            last(refused.headers_mut());
            return Poll::Ready(Ok(refused));
        };
        last(response.headers_mut());
        match (this.handover.take(), response.extensions().get().copied()) {
            (Some(handover), Some(Lasting { since })) => {
                this.answer.set(None);
                *this.is_given = true;
                handover.give(Held { response, since, open });
                Poll::Pending
            }
            (Some(_) | None, _) => Poll::Ready(Ok(response.map(|body| Counted::new(body, open)))),
        }
    }
}

/// Lets a connection run until it ends by itself, is idle, or `stopped`; then ends it gently by `close`, which for HTTP/1.1
/// means after the request that is open and for HTTP/2 with GOAWAY and after all that are. Returns what it came to, if it ended by itself.
async fn drive<C, T>(
    connection: C,
    (close, stopped): (impl FnOnce(Pin<&mut C>), impl Future<Output = ()>),
    activity: &Activity,
    terms: Terms<'_>,
) -> Option<T>
where
    C: Future<Output = hyper::Result<T>>,
{
    let ConnectionLimits { head, idle, .. } = terms.limits.configured;
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return terms.ended(ended, activity),
        () = activity.idle(head, idle) => terms.count_if_silent(activity),
        () = stopped => {}
    }
    close(connection.as_mut());
    tokio::select! {
        ended = connection => log(ended),
        // hyper waits for the HTTP/2 preface of a peer that never sends it.
        () = activity.idle(terms.limits.late, head) => {
            tracing::debug!("a silent connection is dropped");
            None
        }
    }
}

impl Terms<'_> {
    fn ended<T>(self, ended: hyper::Result<T>, activity: &Activity) -> Option<T> {
        match &ended {
            Err(error) if error.is_parse_too_large() => self.refusals.request(RequestRefusal::HeadTooLarge),
            // One that is kept and idle is closed in the same way.
            Err(error) if error.is_timeout() => self.count_if_silent(activity),
            Ok(_) | Err(_) => {}
        }
        log(ended)
    }

    /// A connection that is given up and has never brought a request.
    fn count_if_silent(self, activity: &Activity) {
        if !activity.is_begun() {
            self.refusals.connection(ConnectionRefusal::SlowHead);
        }
    }
}

fn log<T>(ended: hyper::Result<T>) -> Option<T> {
    // Peers vanish all day: nothing an operator could do.
    let note = |error: &hyper::Error| {
        tracing::debug!(error = error as &dyn std::error::Error, "a connection broke off");
    };
    ended.inspect_err(note).ok()
}

#[cfg(test)]
mod tests;
