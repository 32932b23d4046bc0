//! Asks replicas whether they are well, beside all requests and in nobody's name.
//!
//! An MCP server is asked what clients ask first: `server/discover`, and where that is not known `initialize`, whose session is
//! ended at once. It is well whatever it answers, but for what says that it is not (5xx). Sessions that cannot be ended would pile
//! up, so a server that keeps them is not asked for another.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::connect::{Connector, dial};
use super::health::Fault;
use super::http1::{Failed, converse};
use super::pool::Idle;
use super::{Outgoing, Probe, ProbeKind, Replica, RequestBody, ResponseBody, Upstream, UpstreamError};
use crate::trouble::Trouble;

pub(super) const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const MCP_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// How long all of a probe may take, and of it making a connection.
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(4);
/// How often a replica is asked that was not well.
const SOON: Duration = Duration::from_secs(2);
/// As much of an answer as is read, and for how long.
const MOST: usize = 256 * 1024;
const ANSWER: Duration = Duration::from_secs(1);

const AGENT: &str = concat!("portcullis-probe/", env!("CARGO_PKG_VERSION"));
pub(super) const MODERN: &str = "2026-07-28";
pub(super) const DISCOVER: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"portcullis-probe","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"io.modelcontextprotocol/clientCapabilities":{}}}}"#
);
pub(super) const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"#,
    r#""clientInfo":{"name":"portcullis-probe","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}"#
);

/// How an MCP server is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    /// `server/discover`; what that means is not known yet, or understood.
    #[default]
    Discover,
    /// It knows `initialize` only.
    Initialize,
    /// It begins sessions that it does not end: whatever it says to `server/discover` is good enough.
    Lenient,
}

/// What was learned of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// How it is asked.
    manner: Manner,
    /// Whether it wants a login of its own, which the log was told.
    wants_login: bool,
    /// Whether the last probe went wrong.
    failed: bool,
}

impl Learned {
    /// When the next probe is due, from the beginning of the last.
    #[must_use]
    pub fn pause(self, probe: Probe, is_ejected: bool) -> Duration {
        if self.failed || is_ejected { probe.every.min(SOON) } else { probe.every }
    }
}

/// In this time after one probe, another will have ended.
pub(super) fn hold(probe: Probe) -> Duration {
    probe.every.min(SOON) + PATIENCE + Duration::from_secs(1)
}

/// Makes probes.
#[derive(Default)]
pub struct Prober(Connector);

/// What is wrong.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    NoConnection(UpstreamError),
    #[error("it broke off")]
    BrokeOff(#[source] UpstreamError),
    #[error("it did not answer in time")]
    Late,
    #[error("it answered {0}")]
    Answer(StatusCode),
}

impl ProbeError {
    const fn fault(&self) -> Fault {
        match self {
            Self::NoConnection(_) => Fault::Unreachable,
            Self::BrokeOff(_) | Self::Late | Self::Answer(_) => Fault::Unwell,
        }
    }
}

impl Prober {
    /// Asks one replica, and has what comes of it count.
    pub async fn probe(&self, upstream: &Upstream, replica: &Replica, mut learned: Learned) -> Learned {
        let Some(standing) = &replica.standing else { return learned };
        let asked = async {
            match upstream.probe().kind {
                ProbeKind::Off => Ok(()),
                ProbeKind::Tcp => self.connect(upstream, replica).await,
                ProbeKind::Mcp => self.ask(upstream, replica, &mut learned).await,
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(ProbeError::Late));
        match &outcome {
            Ok(()) => standing.probe_went_well(),
            Err(error) => {
                tracing::debug!(replica = replica.name(), %error, "a probe went wrong");
                standing.probe_went_wrong(error.fault(), upstream.hold);
                // It may be another server that comes back.
                learned.manner = Manner::default();
            }
        }
        Learned { failed: outcome.is_err(), ..learned }
    }

    async fn connect(&self, upstream: &Upstream, replica: &Replica) -> Result<(), ProbeError> {
        let patience = upstream.connect_timeout.min(CONNECT);
        let error = match tokio::time::timeout(patience, dial(&replica.url, patience)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => UpstreamError::Unreachable(error),
            Err(_) => UpstreamError::ConnectTimeout,
        };
        Err(ProbeError::NoConnection(error))
    }

    async fn ask(
        &self,
        upstream: &Upstream,
        replica: &Replica,
        learned: &mut Learned,
    ) -> Result<(), ProbeError> {
        if learned.manner != Manner::Initialize {
            let (status, _) = self.send(upstream, replica, discover(replica)).await?;
            learned.tell_of_login(replica, status);
            match Verdict::of(status) {
                Verdict::Well => return Ok(()),
                Verdict::Down => return Err(ProbeError::Answer(status)),
                Verdict::Unknown if learned.manner == Manner::Lenient => return Ok(()),
                Verdict::Unknown => {}
            }
        }
        let (status, headers) = self.send(upstream, replica, initialize(replica)).await?;
        learned.tell_of_login(replica, status);
        if status.is_server_error() {
            return Err(ProbeError::Answer(status));
        }
        learned.manner = Manner::Initialize;
        let Some(session) = headers.get(&MCP_SESSION_ID) else { return Ok(()) };
        let mut end = question(replica, Method::DELETE, "");
        end.add(&MCP_SESSION_ID, session);
        let (status, _) = self.send(upstream, replica, end).await?;
        if !status.is_success() {
            learned.manner = Manner::Lenient;
        }
        Ok(())
    }

    /// The answer's head. Its body is read, so that the server has no broken connection to write into its log.
    async fn send(
        &self,
        upstream: &Upstream,
        replica: &Replica,
        question: Box<Outgoing>,
    ) -> Result<(StatusCode, HeaderMap), ProbeError> {
        let patience = upstream.connect_timeout.min(CONNECT);
        let connection = self.0.connect(replica, patience).await.map_err(ProbeError::NoConnection)?;
        let (head, reading) = match converse(connection, question, None).await {
            Ok((response, reading)) => (response.into_parts().0, reading),
            Err(Failed::Unsent(_, error)) => {
                return Err(ProbeError::NoConnection(UpstreamError::Unreachable(error.into())));
            }
            Err(Failed::Finally(error)) => return Err(ProbeError::BrokeOff(error)),
        };
        // Each probe makes a connection, and leaves none behind.
        let body = ResponseBody::new(reading, &Idle::default());
        // How it ends, or whether, says nothing: a server that answered is there.
        let _ = tokio::time::timeout(ANSWER, Limited::new(body, MOST).collect()).await;
        Ok((head.status, head.headers))
    }
}

/// What an answer to `server/discover` means.
enum Verdict {
    Well,
    /// Whoever stands in front of the server says that it is not there, or it says so itself.
    Down,
    /// It may not know the question.
    Unknown,
}

impl Verdict {
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Self::Down
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Self::Well,
            status if status.is_client_error() || status.is_server_error() => Self::Unknown,
            _ => Self::Well,
        }
    }
}

impl Learned {
    fn tell_of_login(&mut self, replica: &Replica, status: StatusCode) {
        let wants_login = status == StatusCode::UNAUTHORIZED;
        if wants_login && !self.wants_login {
            let replica = replica.name();
            let trouble = Trouble::UpstreamAuth.id();
            tracing::warn!(replica, trouble, "a replica wants a login of its own (finding upstream-auth)");
        }
        self.wants_login = wants_login;
    }
}

fn discover(replica: &Replica) -> Box<Outgoing> {
    let mut question = question(replica, Method::POST, DISCOVER);
    question.add(&MCP_PROTOCOL_VERSION, &HeaderValue::from_static(MODERN));
    question.add(&MCP_METHOD, &HeaderValue::from_static("server/discover"));
    question
}

fn initialize(replica: &Replica) -> Box<Outgoing> {
    question(replica, Method::POST, INITIALIZE)
}

fn question(replica: &Replica, method: Method, body: &'static str) -> Box<Outgoing> {
    // A URL's path is one.
    let target = PathAndQuery::try_from(replica.url.path()).unwrap_or(PathAndQuery::from_static("/"));
    let mut question = Outgoing::new(method, target, RequestBody::from(body));
    question.add(&USER_AGENT, &HeaderValue::from_static(AGENT));
    question.add(&ACCEPT, &HeaderValue::from_static("application/json, text/event-stream"));
    if !body.is_empty() {
        question.add(&CONTENT_TYPE, &HeaderValue::from_static("application/json"));
    }
    question
}

#[cfg(test)]
mod tests;
