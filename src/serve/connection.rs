//! One HTTP connection: hyper's settings, and the ways it may end. The version is known beforehand (ALPN, or HTTP/1.1 on
//! plain sockets): guessing it from the first bytes would wait for a silent peer for ever.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Counted};

/// What hyper wants a body's error to become.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the accepted connection to the end of the TLS handshake.
    pub(super) handshake: Duration,
    /// For a request's head; on HTTP/1.1 also the time that a kept connection may wait for its next request.
    pub(super) head: Duration,
    /// How long an HTTP/2 connection may be without requests.
    pub(super) idle: Duration,
    /// What a connection that has not asked anything yet gets for doing so once a stop was asked for.
    pub(super) late: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_mins(2),
            late: Duration::from_secs(1),
        }
    }
}

/// What ends a connection.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) limits: Limits,
    /// Cancelled when the gateway stops.
    pub(super) stopping: CancellationToken,
}

/// The largest head of an HTTP/1.1 request, in bytes: tokens are 1 KB, a `state` may be long. More is 431.
const HEAD: usize = 64 * 1024;

/// Serves an HTTP/1.1 connection until it ends.
pub(super) async fn serve_http1<I, F, A, B>(io: I, answer: F, terms: &Terms)
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    let activity = Arc::new(Activity::default());
    let service = service_fn(|request| counted(&activity, answer(request)));
    // More than 100 header lines are refused by default; saying so would cost an allocation a request.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(terms.limits.head)
        // The buffer's size alone is a soft limit: it grows in powers of two.
        .max_header_size(HEAD)
        .max_buf_size(HEAD)
        .half_close(false)
        .keep_alive(!terms.stopping.is_cancelled())
        .serve_connection(TokioIo::new(io), service);
    drive(connection, http1::Connection::graceful_shutdown, &activity, terms).await;
}

/// Serves an HTTP/2 connection until it ends.
pub(super) async fn serve_http2<I, F, A, B>(io: I, answer: F, terms: &Terms)
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let service = service_fn(|request| counted(&activity, answer(request)));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(250)
        .max_header_list_size(32 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        // Streams that are opened only to be reset (CVE-2023-44487 and its kin).
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .serve_connection(TokioIo::new(io), service);
    drive(connection, http2::Connection::graceful_shutdown, &activity, terms).await;
}

/// The answer as hyper wants it, its request open until the body has gone.
fn counted<A, B>(
    activity: &Arc<Activity>,
    answer: A,
) -> impl Future<Output = Result<Response<Counted<B>>, Infallible>> + use<A, B>
where
    A: Future<Output = Response<B>>,
{
    let open = activity.begin();
    async move { Ok(answer.await.map(|body| Counted::new(body, open))) }
}

/// Lets a connection run until it ends by itself, is idle, or the gateway stops; then ends it gently, which for HTTP/1.1
/// means after the request that is open and for HTTP/2 with GOAWAY and after all that are.
async fn drive<C>(connection: C, close: impl FnOnce(Pin<&mut C>), activity: &Activity, terms: &Terms)
where
    C: Future<Output = hyper::Result<()>>,
{
    let limits = terms.limits;
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return log(ended),
        () = activity.idle(limits.head, limits.idle) => {}
        () = stopped(activity, terms) => {}
    }
    close(connection.as_mut());
    tokio::select! {
        ended = connection => log(ended),
        // hyper waits for the HTTP/2 preface of a peer that never sends it.
        () = activity.idle(limits.late, limits.head) => tracing::debug!("a silent connection is dropped"),
    }
}

/// Done when the gateway stops and this connection has had its chance to ask something: it may have been made just before.
async fn stopped(activity: &Activity, terms: &Terms) {
    terms.stopping.cancelled().await;
    tokio::select! {
        () = activity.has_begun() => {}
        () = tokio::time::sleep(terms.limits.late) => {}
    }
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        // Peers vanish all day: nothing an operator could do.
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke off");
    }
}
