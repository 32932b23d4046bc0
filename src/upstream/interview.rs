//! One question at a time to a server behind, on a connection of its own: the gateway's own way to it (its names, its roots, its
//! HTTP), for those who want to see the answer itself.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use url::Url;

use super::connect::Connector;
use super::http1::{Failed, converse};
use super::pool::Idle;
use super::probe::{DISCOVER, INITIALIZE, MCP_METHOD, MCP_PROTOCOL_VERSION, MCP_SESSION_ID, MODERN};
use super::{Outgoing, Replica, RequestBody, ResponseBody, UpstreamError, name_of};

/// As much of an answer as is read.
const MOST: usize = 256 * 1024;
/// How long the rest of an answer is waited for once its head is there: an event stream need not end.
const REST: Duration = Duration::from_secs(1);
/// The revision that [`INITIALIZE`] asks for.
const LEGACY: &str = "2025-11-25";
const AGENT: &str = concat!("portcullis-doctor/", env!("CARGO_PKG_VERSION"));

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
    host: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// As much of the body as came in a second, 256 KiB at most.
    pub body: Bytes,
    /// From the beginning of the connection to the head of the answer.
    pub took: Duration,
}

impl Question {
    /// `initialize`, asking for `revision` of the protocol, which must be one that needs no escape in JSON.
    #[must_use]
    pub fn initialize(revision: &str) -> Self {
        Self::post(INITIALIZE.replace(LEGACY, revision))
    }

    /// `server/discover`, of the stateless era.
    #[must_use]
    pub fn discover() -> Self {
        Self::post(DISCOVER.to_owned()).stateless("server/discover")
    }

    /// The JSON-RPC message `method` without parameters, in a session or after an `initialize` that began none.
    #[must_use]
    pub fn in_session(method: &str, id: Option<u32>, revision: &str, session: Option<&HeaderValue>) -> Self {
        let id = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
        let mut question = Self::post(format!(r#"{{"jsonrpc":"2.0",{id}"method":"{method}"}}"#));
        question.add(&MCP_PROTOCOL_VERSION, revision);
        question.headers.extend(session.map(|session| (MCP_SESSION_ID, session.clone())));
        question
    }

    /// The same in the stateless era.
    #[must_use]
    pub fn alone(method: &'static str) -> Self {
        Self::post(DISCOVER.replace("server/discover", method)).stateless(method)
    }

    /// The end of a session.
    #[must_use]
    pub fn end(session: &HeaderValue) -> Self {
        Self {
            method: Method::DELETE,
            headers: vec![(MCP_SESSION_ID, session.clone())],
            body: String::new(),
            host: None,
        }
    }

    /// A GET for an event stream, as clients of the transport of 2024-11-05 begin.
    #[must_use]
    pub fn stream() -> Self {
        Self { method: Method::GET, headers: Vec::new(), body: String::new(), host: None }
    }

    /// The same, in another `Host`'s name.
    #[must_use]
    pub fn to_host(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
    }

    fn post(body: String) -> Self {
        Self { method: Method::POST, headers: Vec::new(), body, host: None }
    }

    fn stateless(mut self, method: &'static str) -> Self {
        self.add(&MCP_PROTOCOL_VERSION, MODERN);
        self.add(&MCP_METHOD, method);
        self
    }

    fn add(&mut self, name: &HeaderName, value: &str) {
        // What a server calls its revision may be no header; then it is asked without.
        self.headers.extend(HeaderValue::from_str(value).map(|value| (name.clone(), value)).ok());
    }

    fn outgoing(&self, url: &Url) -> Box<Outgoing> {
        // A URL's path is one.
        let target = PathAndQuery::try_from(url.path()).unwrap_or(PathAndQuery::from_static("/"));
        let body = Bytes::from(self.body.clone().into_bytes());
        let mut outgoing = Outgoing::new(self.method.clone(), target, RequestBody::from(body));
        outgoing.add(&USER_AGENT, &HeaderValue::from_static(AGENT));
        let stream = self.method == Method::GET;
        let accept = if stream { "text/event-stream" } else { "application/json, text/event-stream" };
        outgoing.add(&ACCEPT, &HeaderValue::from_static(accept));
        if !self.body.is_empty() {
            outgoing.add(&CONTENT_TYPE, &HeaderValue::from_static("application/json"));
        }
        for (name, value) in &self.headers {
            outgoing.add(name, value);
        }
        outgoing
    }
}

impl Reply {
    /// The session that the answer begins.
    #[must_use]
    pub fn session(&self) -> Option<&HeaderValue> {
        self.headers.get(MCP_SESSION_ID)
    }
}

/// Asks servers behind.
#[derive(Default)]
pub struct Interviewer(Connector);

impl Interviewer {
    /// Asks the server at `url`; all of it in `patience`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn ask(
        &self,
        url: &Url,
        question: &Question,
        patience: Duration,
    ) -> Result<Reply, UpstreamError> {
        let begun = Instant::now();
        let host = question.host.as_deref().unwrap_or_else(|| name_of(url));
        let host = HeaderValue::from_str(host).map_err(|error| UpstreamError::Unreachable(error.into()))?;
        let replica = Replica { url: url.clone(), host, standing: None };
        let connection = self.0.connect(&replica, patience).await?;
        let left = patience.saturating_sub(begun.elapsed());
        let conversation = converse(connection, question.outgoing(url), None);
        let (response, reading) = match tokio::time::timeout(left, conversation).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(Failed::Unsent(_, error))) => return Err(UpstreamError::BrokeOff(error.into())),
            Ok(Err(Failed::Finally(error))) => return Err(error),
            Err(_) => return Err(UpstreamError::AnswerTimeout),
        };
        let (head, took) = (response.into_parts().0, begun.elapsed());
        let mut body = ResponseBody::new(reading, &Idle::default());
        let mut read = BytesMut::new();
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await {
                read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                if read.len() > MOST {
                    return;
                }
            }
        };
        // A stream that stays open has said what it has to say.
        let _ = tokio::time::timeout(REST, reading).await;
        Ok(Reply { status: head.status, headers: head.headers, body: read.freeze(), took })
    }
}
