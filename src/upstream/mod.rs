//! The servers behind: a pooled HTTP/1.1 client, one pool a worker. A request is written to a connection at most once
//! (P7): what comes back unsent from a connection that had gone is sent on another, or to another replica, and nothing else
//! is repeated.
//!
//! [`replicas`] knows which there are, [`health`] decides how each stands, [`balance`] which one is next, [`probe`] asks them.

mod balance;
mod body;
mod connect;
mod health;
mod http1;
mod interview;
mod outgoing;
mod pool;
mod probe;
mod replicas;
mod standing;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Response;
use url::Url;

pub use body::{BodyFault, RequestBody, RequestBodyError, ResponseBody};
pub use health::Moment;
#[doc(hidden)]
pub use http1::read_answer;
pub use interview::{Interviewer, Question, Reply};
pub use outgoing::{Outgoing, Unspeakable};
pub use probe::{Learned, Prober};
pub use replicas::{MOST_REPLICAS, Replica, Upstream, name_of};
pub use standing::ReplicaFact;

use connect::Connector;
use health::Fault;
use http1::{Failed, converse};
use pool::Idle;
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

/// A request that is to be sent; `None` as soon as something of it may have left.
type Unsent = Option<Box<Outgoing>>;

impl Pool {
    /// An empty pool. The system's TLS roots are loaded when the first `https` upstream is called: where all upstreams are
    /// plain HTTP there need not be any.
    #[must_use]
    pub fn new() -> Self {
        Self { idle: Idle::default(), connector: Connector::default(), turns: AtomicU32::new(0) }
    }

    /// Sends a request to the replica of `upstream` that it is `bound` to, or to the one that has the fewest. Dropping the future, or
    /// the response's body, closes the upstream request at once (P6).
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn send<'u>(
        &self,
        upstream: &'u Upstream,
        bound: Option<&'u Replica>,
        outgoing: Box<Outgoing>,
    ) -> Result<Answer<'u>, UpstreamError> {
        let mut unsent = Some(outgoing);
        let turn = match bound {
            Some(replica) => Some(Turn::bound(replica)),
            None => upstream.choose(Tried::default(), || self.chance()),
        };
        let turn = turn.ok_or_else(|| UpstreamError::Unreachable("there is no replica".into()))?;
        let tried = turn.tried(Tried::default());
        match self.once(upstream, turn, &mut unsent).await {
            Err(error) if bound.is_none() && unsent.is_some() => {
                Box::pin(self.elsewhere(upstream, (tried, error), &mut unsent)).await
            }
            answered => answered,
        }
    }

    /// Tries one replica after the other for as long as the request comes back unsent.
    async fn elsewhere<'u>(
        &self,
        upstream: &'u Upstream,
        (mut tried, mut error): (Tried, UpstreamError),
        unsent: &mut Unsent,
    ) -> Result<Answer<'u>, UpstreamError> {
        while unsent.is_some() {
            let Some(turn) = upstream.choose(tried, || self.chance()) else { break };
            tried = turn.tried(tried);
            error = match self.once(upstream, turn, unsent).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
        }
        Err(error)
    }

    /// Tries one replica, and learns from it.
    async fn once<'u>(
        &self,
        upstream: &'u Upstream,
        turn: Turn<'u>,
        unsent: &mut Unsent,
    ) -> Result<Answer<'u>, UpstreamError> {
        let Turn { replica, open, .. } = turn;
        let answered = self.over_connections(upstream, replica, unsent).await;
        if let Some(open) = &open {
            match answered.as_ref().map_err(|error| error.fault(unsent.is_some())) {
                Ok(_) => open.answered(),
                Err(Some(fault)) => {
                    tracing::debug!(replica = replica.name(), "a request failed: {}", fault.told());
                    open.failed(fault, upstream.hold);
                }
                Err(None) => {}
            }
        }
        answered.map(|response| Answer { response: response.map(|body| body.holding(open)), replica })
    }

    /// Tries idle connections while they give the request back unsent, then a fresh one.
    async fn over_connections(
        &self,
        upstream: &Upstream,
        replica: &Replica,
        unsent: &mut Unsent,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        loop {
            let idle = self.idle.take(replica.origin());
            let is_fresh = idle.is_none();
            let connection = match idle {
                Some(connection) => connection,
                // Boxed, for most requests find a connection that is idle.
                None => Box::pin(self.connector.connect(replica, upstream.connect_timeout)).await?,
            };
            let Some(outgoing) = unsent.take() else { return Err(nothing_left()) };
            match converse(connection, outgoing, upstream.first_byte_timeout).await {
                // The answer gives the connection back to the pool when its body has ended.
                Ok((response, reading)) => {
                    return Ok(response.map(|()| ResponseBody::new(reading, &self.idle)));
                }
                Err(Failed::Unsent(outgoing, error)) => {
                    *unsent = Some(outgoing);
                    if is_fresh {
                        return Err(UpstreamError::BrokeOff(error.into()));
                    }
                }
                Err(Failed::Finally(error)) => return Err(error),
            }
        }
    }

    /// Different for each request, and evenly spread: multiples of the golden ratio.
    fn chance(&self) -> u32 {
        self.turns.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9)
    }
}

impl UpstreamError {
    /// What it says of the replica, if the request `came_back` unsent or not; `None` if it is the client's fault, or nobody's.
    fn fault(&self, came_back: bool) -> Option<Fault> {
        match self {
            Self::Unreachable(_) | Self::ConnectTimeout => Some(Fault::Unreachable),
            Self::BrokeOff(_) if came_back => Some(Fault::Unreachable),
            Self::BrokeOff(_) => Some(Fault::BrokeOff),
            Self::AnswerTimeout | Self::Body(_) => None,
        }
    }
}

/// Nobody sends a request that was sent already; this is what they would get.
fn nothing_left() -> UpstreamError {
    UpstreamError::BrokeOff("the request was sent already".into())
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
