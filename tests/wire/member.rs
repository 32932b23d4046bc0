//! A replica: an MCP server of the era with sessions that can be killed in the middle of its work, and come back on its port.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_body::Forever;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The header by which a request is known.
pub(crate) const ID: &str = "x-number";

type Body = Either<Full<Bytes>, Forever>;

/// A server that answers every POST with its name, begins a session at `initialize`, knows its sessions only, and keeps a GET
/// open.
pub(crate) struct Member {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    /// What came, by its number.
    arrived: Mutex<BTreeMap<String, u32>>,
    sessions: Mutex<BTreeSet<String>>,
    probes: Mutex<u32>,
    pause: Mutex<Duration>,
}

impl Member {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let running = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Self { address, shared, running: Mutex::new(Some(running)) }
    }

    /// Answers that much later.
    pub(crate) fn pause(&self, pause: Duration) {
        *self.shared.pause.lock().unwrap() = pause;
    }

    /// Ends like a process that is killed: all its sockets are closed at once.
    pub(crate) async fn kill(&self) {
        let running = self.running.lock().unwrap().take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    /// Comes back on its port, with the sessions that it had.
    pub(crate) async fn revive(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let running = tokio::spawn(accept(listener, self.address, Arc::clone(&self.shared)));
        *self.running.lock().unwrap() = Some(running);
    }

    /// Ends all sessions, as a process does that keeps them in memory.
    pub(crate) fn forget(&self) {
        self.shared.sessions.lock().unwrap().clear();
    }

    /// What came with a number, and how often.
    pub(crate) fn arrived(&self) -> BTreeMap<String, u32> {
        self.shared.arrived.lock().unwrap().clone()
    }

    /// How many requests came with a number.
    pub(crate) fn count(&self) -> usize {
        self.arrived().len()
    }

    pub(crate) fn probes(&self) -> u32 {
        *self.shared.probes.lock().unwrap()
    }

    /// The sessions that it has.
    pub(crate) fn sessions(&self) -> BTreeSet<String> {
        self.shared.sessions.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    // Its connections end with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(shared.answer(address, request).await) }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
    }
}

impl Shared {
    async fn answer(&self, address: SocketAddr, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let Ok(body) = body.collect().await else { return plain(StatusCode::BAD_REQUEST, String::new()) };
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        if header("user-agent").is_some_and(|agent| agent.starts_with("portcullis-probe/")) {
            assert!(header("x-user-id").is_none() && header("authorization").is_none());
            *self.probes.lock().unwrap() += 1;
            return plain(StatusCode::OK, "{}".into());
        }
        if let Some(number) = header(ID) {
            *self.arrived.lock().unwrap().entry(number).or_default() += 1;
        }
        let pause = *self.pause.lock().unwrap();
        tokio::time::sleep(pause).await;
        let session = header("mcp-session-id");
        if body.contains("\"initialize\"") {
            let session = format!("{address}/{}", self.sessions().len());
            self.sessions.lock().unwrap().insert(session.clone());
            let mut answer = plain(StatusCode::OK, address.to_string());
            answer.headers_mut().insert("mcp-session-id", session.parse().unwrap());
            return answer;
        }
        match session {
            Some(session) if !self.sessions().contains(&session) => {
                plain(StatusCode::NOT_FOUND, "unknown here".into())
            }
            Some(session) if head.method == Method::DELETE => {
                self.sessions.lock().unwrap().remove(&session);
                plain(StatusCode::NO_CONTENT, String::new())
            }
            _ if head.method == Method::GET => {
                Response::new(Either::Right(Forever(Some(address.to_string()))))
            }
            _ => plain(StatusCode::OK, address.to_string()),
        }
    }

    fn sessions(&self) -> BTreeSet<String> {
        self.sessions.lock().unwrap().clone()
    }
}

fn plain(status: StatusCode, body: String) -> Response<Body> {
    let mut answer = Response::new(Either::Left(Full::from(body)));
    *answer.status_mut() = status;
    answer
}

mod futures_body {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::Frame;

    /// One piece, and then nothing for ever.
    pub(crate) struct Forever(pub(crate) Option<String>);

    impl http_body::Body for Forever {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.take() {
                Some(text) => Poll::Ready(Some(Ok(Frame::data(text.into())))),
                None => Poll::Pending,
            }
        }
    }
}
