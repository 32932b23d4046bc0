//! The servers behind: a pooled HTTP/1.1 client, one pool a worker. A request is written to a connection at most once
//! (P7): what comes back unsent from a connection that had gone is sent on another, or to another replica, and nothing else
//! is repeated.
//!
//! [`replicas`] knows which there are, [`health`] decides how each stands, [`balance`] which one is next, [`probe`] asks them.

mod balance;
mod body;
mod connect;
mod health;
mod pool;
mod probe;
mod replicas;
mod standing;

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::header::HOST;
use http::{Request, Response, Version};
use url::Url;

pub use body::{BodyFault, RequestBody, RequestBodyError, ResponseBody};
pub use probe::{Learned, Prober};
pub use replicas::{MOST_REPLICAS, Replica, Upstream, name_of};
pub use standing::ReplicaFact;

use body::BodyEnd;
use connect::Connector;
use health::Fault;
use pool::{Connection, Idle};
use replicas::{Tried, Turn};

/// One service's upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where its replicas listen: at least one, each with another [`name_of`], all with one path. That takes the place of the
    /// service URL's path.
    pub replicas: Vec<Url>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long it may take from the end of the request's body (of a request without one: from its beginning) to its answer's head;
    /// `None` is for ever.
    pub first_byte_timeout: Option<Duration>,
    /// How, and how often, replicas are asked whether they are well.
    pub probe: Probe,
}

/// How, and how often, replicas are asked whether they are well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// How often.
    pub every: Duration,
}

/// What replicas are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Nothing.
    Off,
    /// Whether they accept a connection.
    Tcp,
    /// What an MCP client asks first.
    Mcp,
}

impl Settings {
    /// The path that all replicas have.
    #[must_use]
    pub fn path(&self) -> &str {
        self.replicas.first().map_or("/", Url::path)
    }
}

impl Probe {
    /// Whether anything is asked.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.kind != ProbeKind::Off
    }
}

/// A worker's connections to upstreams.
pub struct Pool {
    idle: Idle,
    connector: Connector,
    /// Decides among equal replicas.
    turns: AtomicU32,
}

/// An answer, and who gave it.
pub struct Answer<'u> {
    /// The answer.
    pub response: Response<ResponseBody>,
    /// Who gave it.
    pub replica: &'u Replica,
}

/// No answer.
struct Unanswered {
    why: UpstreamError,
    /// The request, if nothing of it was sent.
    unsent: Option<Box<Request<RequestBody>>>,
}

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: 502, finding `upstream-down`.
    #[error("the upstream cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection in time: 504, finding `upstream-slow`.
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    /// The connection broke before an answer; the request may have been carried out and is not sent again (P7): 502.
    #[error("the upstream broke off")]
    BrokeOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time: 504, finding `upstream-slow`.
    #[error("the upstream did not answer in time")]
    AnswerTimeout,
    /// The client's body is not as it may be; what was sent of it was broken off.
    #[error(transparent)]
    Body(BodyFault),
}

impl Pool {
    /// An empty pool. The system's TLS roots are loaded when the first `https` upstream is called: where all upstreams are
    /// plain HTTP there need not be any.
    #[must_use]
    pub fn new() -> Self {
        Self { idle: Idle::default(), connector: Connector::default(), turns: AtomicU32::new(0) }
    }

    /// Sends a request to the replica of `upstream` that it is `bound` to, or to the one that has the fewest. The request's URI
    /// has path and query only; scheme and authority come from the replica, `Host` too. Dropping the future, or the
    /// response's body, closes the upstream request at once (P6).
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn send<'u>(
        &self,
        upstream: &'u Upstream,
        bound: Option<&'u Replica>,
        mut request: Request<RequestBody>,
    ) -> Result<Answer<'u>, UpstreamError> {
        *request.version_mut() = Version::HTTP_11;
        let limit = upstream.first_byte_timeout;
        let end = if limit.is_some() { request.body_mut().watch_end() } else { None };
        tokio::select! {
            answer = self.exchange(upstream, bound, request) => answer,
            () = late(end, limit) => Err(UpstreamError::AnswerTimeout),
        }
    }

    async fn exchange<'u>(
        &self,
        upstream: &'u Upstream,
        bound: Option<&'u Replica>,
        request: Request<RequestBody>,
    ) -> Result<Answer<'u>, UpstreamError> {
        let turn = match bound {
            Some(replica) => Some(upstream.bound(replica)),
            None => upstream.choose(Tried::default(), self.chance()),
        };
        let turn = turn.ok_or_else(|| UpstreamError::Unreachable("there is no replica".into()))?;
        let tried = turn.tried(Tried::default());
        match self.once(upstream, turn, request).await {
            Err(unanswered) if bound.is_none() => Box::pin(self.elsewhere(upstream, tried, unanswered)).await,
            answered => answered.map_err(|unanswered| unanswered.why),
        }
    }

    /// Tries one replica after the other for as long as the request comes back unsent.
    async fn elsewhere<'u>(
        &self,
        upstream: &'u Upstream,
        mut tried: Tried,
        mut unanswered: Unanswered,
    ) -> Result<Answer<'u>, UpstreamError> {
        while let Some(request) = unanswered.unsent.take() {
            let Some(turn) = upstream.choose(tried, self.chance()) else { break };
            tried = turn.tried(tried);
            unanswered = match self.once(upstream, turn, *request).await {
                Ok(answer) => return Ok(answer),
                Err(unanswered) => unanswered,
            };
        }
        Err(unanswered.why)
    }

    /// Tries one replica, and learns from it.
    async fn once<'u>(
        &self,
        upstream: &'u Upstream,
        turn: Turn<'u>,
        mut request: Request<RequestBody>,
    ) -> Result<Answer<'u>, Unanswered> {
        let Turn { replica, open, .. } = turn;
        request.headers_mut().insert(HOST, replica.host.clone());
        let answered = self.over_connections(replica, upstream.connect_timeout, request).await;
        if let Some(open) = &open {
            match answered.as_ref().map_err(Unanswered::fault) {
                Ok(_) => open.answered(),
                Err(Some(fault)) => open.failed(fault, upstream.hold),
                Err(None) => {}
            }
        }
        answered.map(|response| Answer { response: response.map(|body| body.holding(open)), replica })
    }

    /// Tries idle connections while they give the request back unsent, then a fresh one.
    async fn over_connections(
        &self,
        replica: &Replica,
        connect_timeout: Duration,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Unanswered> {
        while let Some(mut connection) = self.idle.take(replica.origin()) {
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.answer(connection, response)),
                Err(mut failure) => match failure.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Unanswered { why: broken_off(failure.into_error()), unsent: None }),
                },
            }
        }
        // Boxed, for most requests find a connection that is idle.
        let mut connection = match Box::pin(self.connector.connect(&replica.url, connect_timeout)).await {
            Ok(connection) => connection,
            Err(why) => return Err(Unanswered { why, unsent: Some(Box::new(request)) }),
        };
        match connection.sender.try_send_request(request).await {
            Ok(response) => Ok(self.answer(connection, response)),
            Err(mut failure) => {
                let unsent = failure.take_message().map(Box::new);
                Err(Unanswered { why: broken_off(failure.into_error()), unsent })
            }
        }
    }

    /// Different for each request, and evenly spread: multiples of the golden ratio.
    fn chance(&self) -> u32 {
        self.turns.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9)
    }

    /// The answer, which gives the connection back to the pool when its body has ended.
    fn answer(
        &self,
        connection: Connection,
        response: Response<hyper::body::Incoming>,
    ) -> Response<ResponseBody> {
        response.map(|incoming| ResponseBody::new(incoming, self.idle.lease(connection)))
    }
}

impl Unanswered {
    /// What it says of the replica; `None` if it is the client's fault, or nobody's.
    fn fault(&self) -> Option<Fault> {
        match &self.why {
            UpstreamError::Unreachable(_) | UpstreamError::ConnectTimeout => Some(Fault::Unreachable),
            UpstreamError::BrokeOff(_) if self.unsent.is_some() => Some(Fault::Unreachable),
            UpstreamError::BrokeOff(error) => {
                let ours = error.downcast_ref().is_some_and(hyper::Error::is_user);
                (!ours).then_some(Fault::BrokeOff)
            }
            UpstreamError::AnswerTimeout | UpstreamError::Body(_) => None,
        }
    }
}

/// Done `limit` after the request's body has ended; never without a limit.
async fn late(end: Option<BodyEnd>, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    if let Some(end) = end {
        end.await;
    }
    tokio::time::sleep(limit).await;
}

/// Why there is no answer: our own fault with the body comes back through hyper.
fn broken_off(error: hyper::Error) -> UpstreamError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(RequestBodyError::Fault(fault)) = inner.downcast_ref() {
            return UpstreamError::Body(*fault);
        }
        cause = inner.source();
    }
    UpstreamError::BrokeOff(error.into())
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
