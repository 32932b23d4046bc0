//! Connections in memory, with a clock that is stopped: hours pass in no time.

use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty};
use hyper::client::conn;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

/// A body that says what it is told to.
struct Told(mpsc::UnboundedReceiver<&'static str>);

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|said| said.map(|text| Ok(http_body::Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

enum Sender {
    Http1(conn::http1::SendRequest<Empty<Bytes>>),
    Http2(conn::http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    async fn over(io: DuplexStream, is_http2: bool) -> Self {
        if is_http2 {
            let (sender, connection) =
                conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
            tokio::spawn(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = conn::http1::handshake(TokioIo::new(io)).await.unwrap();
            tokio::spawn(connection);
            Self::Http1(sender)
        }
    }

    async fn ask(&mut self) -> Response<Incoming> {
        let request = Request::get("https://localhost/mcp").body(Empty::new()).unwrap();
        let answer = match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        };
        answer.unwrap()
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

/// Serves one connection as a worker does, every request with the next of `bodies`.
async fn serve(io: DuplexStream, is_http2: bool, bodies: mpsc::UnboundedReceiver<Told>) {
    let bodies = Arc::new(tokio::sync::Mutex::new(bodies));
    let answer = move |_| {
        let bodies = Arc::clone(&bodies);
        async move { Response::new(bodies.lock().await.recv().await.unwrap()) }
    };
    let limits = Limits::from(ConnectionLimits::default());
    let (stopping, refusals) = (CancellationToken::new(), Refusals::default());
    let terms = Terms { limits, stopping: &stopping, refusals: &refusals };
    if is_http2 {
        serve_http2(io, answer, terms).await;
    } else {
        serve_http1(io, answer, terms).await;
    }
}

// P5
#[tokio::test(start_paused = true)]
async fn a_stream_may_be_quiet_for_hours_and_an_idle_connection_may_not() {
    for is_http2 in [false, true] {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (open, bodies) = mpsc::unbounded_channel();
        tokio::spawn(serve(far, is_http2, bodies));
        let mut sender = Sender::over(near, is_http2).await;
        let (say, told) = mpsc::unbounded_channel();
        assert!(open.send(Told(told)).is_ok());
        let mut answer = sender.ask().await;
        for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
            sleep(6 * HOUR).await;
            say.send(event).unwrap();
            let heard = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(heard, event, "HTTP/2: {is_http2}");
        }
        assert!(!sender.is_closed());
        drop(say);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "", "a clean end");
        // The same clock ends what nobody uses.
        sleep(ConnectionLimits::default().idle + ConnectionLimits::default().head + Duration::from_secs(1))
            .await;
        assert!(sender.is_closed(), "HTTP/2: {is_http2}");
    }
}
