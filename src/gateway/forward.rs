//! To the server behind, and back. Bodies stream both ways; nothing is buffered, nothing is sent twice.

use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::guard::Refusal;
use super::headers::{self, MCP_SESSION_ID, Told};
use super::keep_alive::{self, KeepAlive};
use super::streams::{Cutter, Life, Term};
use super::{Body, Lasting, Revocations, ServiceSettings, caching, paths};
use crate::clock::Clock;
use crate::mcp::{Era, SessionOwner, SessionSealer, UpstreamSession};
use crate::telemetry::RequestRefusal;
use crate::time::Timestamp;
use crate::trouble::Trouble;
use crate::upstream::{
    Answer, BodyFault, Moment, Outgoing, Pool, Replica, RequestBody, Unspeakable, UpstreamError,
};

/// A request that may go to its service, and what its way there needs.
pub(super) struct Forwarding<'a> {
    /// Where to, by what right, and what the upstream is told of it.
    pub(super) told: Told<'a>,
    /// The worker's connections.
    pub(super) pool: &'a Pool,
    /// Seals session ids.
    pub(super) sessions: &'a ArcSwap<SessionSealer>,
    /// Cuts streams.
    pub(super) revocations: &'a Revocations,
    /// How long a client may pause in the middle of a body.
    pub(super) body_pause: Duration,
    /// When the request came.
    pub(super) now: Timestamp,
    /// Tells when the answer came.
    pub(super) clock: &'a dyn Clock,
}

/// Why a request has no answer from its server.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    /// The path is not the service's, as it is written: 404.
    #[error("the path is not the service's")]
    Path,
    /// The session id is another user's, another service's, or invented: 404, as for a session that has ended (P11).
    #[error("the session is not this user's")]
    Session,
    /// The session's replica has been away for so long that it cannot be expected to come back with it: 404 likewise, so that the
    /// client begins another one elsewhere.
    #[error("the session's replica has been away for long")]
    Lost,
    /// The user's name or id cannot stand in a header: 500.
    #[error("the user cannot be told to the upstream")]
    Unspeakable,
    /// No answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The upstream wants a login of its own: 502, for a client would throw away its tokens. Finding `upstream-auth`.
    #[error("the upstream answered {0}: it wants a login of its own")]
    UpstreamAuth(StatusCode),
    /// The upstream changes the protocol, which nobody asked for: 502.
    #[error("the upstream switches protocols")]
    Upgrade,
    /// The grant was revoked, or the token expired, while the upstream was at work: answered as the guard would now.
    #[error(transparent)]
    Refused(Refusal),
}

impl ForwardError {
    /// The answer's status.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Path | Self::Session | Self::Lost => StatusCode::NOT_FOUND,
            Self::Unspeakable => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Upstream(UpstreamError::Body(BodyFault::TooLarge(_))) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Upstream(UpstreamError::Body(BodyFault::TooSlow)) => StatusCode::REQUEST_TIMEOUT,
            Self::Upstream(UpstreamError::Body(BodyFault::Unreadable)) => StatusCode::BAD_REQUEST,
            Self::Upstream(UpstreamError::ConnectTimeout | UpstreamError::AnswerTimeout) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Upstream(UpstreamError::Unreachable(_) | UpstreamError::BrokeOff(_))
            | Self::UpstreamAuth(_)
            | Self::Upgrade => StatusCode::BAD_GATEWAY,
            Self::Refused(refusal) => refusal.status(),
        }
    }

    /// What people read to help themselves.
    pub(super) const fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Upstream(UpstreamError::Body(BodyFault::TooLarge(_) | BodyFault::TooSlow)) => {
                Some(Trouble::RequestBody)
            }
            Self::Upstream(UpstreamError::ConnectTimeout | UpstreamError::AnswerTimeout) => {
                Some(Trouble::UpstreamSlow)
            }
            Self::Upstream(UpstreamError::Unreachable(_) | UpstreamError::BrokeOff(_)) => {
                Some(Trouble::UpstreamDown)
            }
            Self::UpstreamAuth(_) => Some(Trouble::UpstreamAuth),
            Self::Upgrade => Some(Trouble::UpstreamTransport),
            Self::Refused(refusal) => refusal.trouble(),
            Self::Path => Some(Trouble::WrongUrl),
            Self::Session | Self::Lost => Some(Trouble::SessionLost),
            Self::Upstream(UpstreamError::Body(BodyFault::Unreadable)) | Self::Unspeakable => None,
        }
    }

    /// Its word in the answer and in the access line.
    pub(super) fn finding(&self) -> Option<&'static str> {
        match self {
            Self::Upstream(
                UpstreamError::Body(_) | UpstreamError::ConnectTimeout | UpstreamError::AnswerTimeout,
            ) => self.refusal().map(RequestRefusal::reason),
            Self::Upstream(UpstreamError::Unreachable(_) | UpstreamError::BrokeOff(_)) => {
                Some("upstream-down")
            }
            Self::UpstreamAuth(_) => Some("upstream-auth"),
            Self::Upgrade => Some("upstream-transport"),
            Self::Refused(_) => Some("token-401"),
            Self::Path => Some("wrong-url"),
            Self::Session | Self::Lost | Self::Unspeakable => None,
        }
    }
}

impl ForwardError {
    /// What is counted, if a limit was reached.
    pub(super) const fn refusal(&self) -> Option<RequestRefusal> {
        match self {
            Self::Upstream(UpstreamError::Body(BodyFault::TooLarge(_))) => Some(RequestRefusal::BodyTooLarge),
            Self::Upstream(UpstreamError::Body(BodyFault::TooSlow)) => Some(RequestRefusal::BodyTooSlow),
            Self::Upstream(UpstreamError::ConnectTimeout | UpstreamError::AnswerTimeout) => {
                Some(RequestRefusal::UpstreamSlow)
            }
            Self::Upstream(
                UpstreamError::Unreachable(_)
                | UpstreamError::BrokeOff(_)
                | UpstreamError::Body(BodyFault::Unreadable),
            )
            | Self::UpstreamAuth(_)
            | Self::Upgrade
            | Self::Refused(_)
            | Self::Path
            | Self::Session
            | Self::Lost
            | Self::Unspeakable => None,
        }
    }
}

impl From<Unspeakable> for ForwardError {
    fn from(_: Unspeakable) -> Self {
        Self::Unspeakable
    }
}

/// Sends a request to the server behind and hands its answer on. Dropping the future, or the answer's body, ends the
/// upstream request.
///
/// # Errors
/// [`ForwardError`].
pub(super) async fn forward(
    way: &Forwarding<'_>,
    request: Box<Request<RequestBody>>,
) -> Result<Response<Body>, ForwardError> {
    let term = way.term(life(request.method(), request.headers()));
    let (outgoing, requested, bound) = way.outward(request)?;
    let answer = match way.pool.send(&way.told.service.upstream, bound.replica(), outgoing).await {
        Ok(answer) => answer,
        Err(error) => return Err(no_answer(error, bound, Moment::now())),
    };
    way.homeward(answer, &requested, term)
}

/// To which replica a request must go.
#[derive(Clone, Copy, Debug)]
enum Bound<'a> {
    /// The one on which its session lives.
    Session(&'a Replica),
    /// The one to which all go that this user sends to such a path.
    User(&'a Replica),
    /// Any.
    Nobody,
}

impl<'a> Bound<'a> {
    const fn replica(self) -> Option<&'a Replica> {
        match self {
            Self::Session(replica) | Self::User(replica) => Some(replica),
            Self::Nobody => None,
        }
    }
}

/// A session has nowhere else to go; one whose replica has been away for long is given up.
fn no_answer(error: UpstreamError, bound: Bound<'_>, now: Moment) -> ForwardError {
    let cannot_be_reached = matches!(error, UpstreamError::Unreachable(_) | UpstreamError::ConnectTimeout);
    match bound {
        Bound::Session(replica) if cannot_be_reached && replica.is_lost(now) => ForwardError::Lost,
        Bound::Session(_) | Bound::User(_) | Bound::Nobody => error.into(),
    }
}

/// A GET stream and `subscriptions/listen` have no end of their own. This is all that is decided by an `Mcp-*` header, and only
/// where the version is one whose servers compare it with the body and refuse what differs (P10, S26-http:582,643-647): in an
/// older one it would let a tool call take a stream's place, of which a user may have more.
pub(super) fn life(method: &Method, headers: &HeaderMap) -> Life {
    let mut methods = headers.get_all("mcp-method").iter();
    let listens = methods.next().is_some_and(|method| method == "subscriptions/listen")
        && methods.next().is_none()
        && matches!(Era::of(headers), Era::Modern);
    if method == Method::GET || listens { Life::Token } else { Life::Answer }
}

impl<'a> Forwarding<'a> {
    /// Whether a request names a session that no key here opens: another process may have sealed it with a newer one.
    pub(super) fn is_strange_session(&self, headers: &HeaderMap) -> bool {
        let id = headers.get(MCP_SESSION_ID).and_then(|id| id.to_str().ok());
        let strange = id.is_some_and(|id| self.sessions.load().open(id, self.owner()).is_none());
        strange && matches!(Era::of(headers), Era::Legacy)
    }

    const fn settings(&self) -> &ServiceSettings {
        &self.told.service.settings
    }

    /// What may end the answer before its time; nothing at a public service.
    fn term(&self, life: Life) -> Option<Term> {
        self.told.admission.claims().map(|claims| Term::new(claims, life, self.now))
    }

    /// The request as the upstream is to see it, its path there, and where it must go.
    fn outward(
        &self,
        request: Box<Request<RequestBody>>,
    ) -> Result<(Box<Outgoing>, PathAndQuery, Bound<'a>), ForwardError> {
        let (parts, body) = (*request).into_parts();
        let body = body.bounded(self.settings().limits.body, self.body_pause);
        body.check_length().map_err(UpstreamError::Body)?;
        let target = self.target(&parts.uri)?;
        let mut bound = self.home(parts.uri.path()).map_or(Bound::Nobody, Bound::User);
        let session = self.open_session(&parts.headers)?;
        let mut outgoing = Outgoing::new(parts.method, target.clone(), body);
        headers::pass_request(&parts.headers, |name, value| outgoing.add(name, value));
        if let Some((id, replica)) = session {
            outgoing.add(&MCP_SESSION_ID, &id);
            bound = replica.map_or(bound, Bound::Session);
        }
        self.told.write(&mut outgoing)?;
        Ok((outgoing, target, bound))
    }

    /// The replica of all requests of this user to a further path: those are of the old SSE transport, whose sessions stand in its
    /// URLs, where only the server understands them.
    fn home(&self, path: &str) -> Option<&'a Replica> {
        let Told { service, admission, client, .. } = self.told;
        if service.settings.paths.is_empty() || !paths::is_further(service, path) {
            return None;
        }
        match admission.claims() {
            Some(claims) => service.upstream.home(claims.subject.as_str()),
            None => service.upstream.home(&client.to_string()),
        }
    }

    fn target(&self, public: &Uri) -> Result<PathAndQuery, ForwardError> {
        let service = self.told.service;
        if public.query().is_none() && public.path() == service.settings.url.path() {
            return Ok(service.target.clone());
        }
        let path = paths::to_upstream(&service.settings, public.path()).ok_or(ForwardError::Path)?;
        let target = match public.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        PathAndQuery::try_from(target).map_err(|_| ForwardError::Path)
    }

    /// The answer as the client is to see it. A 3xx passes, with its `Location` made public; nothing is followed.
    fn homeward(
        &self,
        answer: Answer<'_>,
        requested: &PathAndQuery,
        term: Option<Term>,
    ) -> Result<Response<Body>, ForwardError> {
        let Answer { response, replica } = answer;
        let (mut parts, body) = response.into_parts();
        match parts.status {
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(ForwardError::UpstreamAuth(parts.status));
            }
            status if status.is_informational() => return Err(ForwardError::Upgrade),
            _ => {}
        }
        if let Some(cut) = term.and_then(|term| term.check(self.revocations)) {
            return Err(ForwardError::Refused(cut.into()));
        }
        headers::clean_response(&mut parts.headers);
        if self.told.admission.claims().is_some() {
            caching::keep_private(&mut parts.headers);
        }
        self.seal_session(&mut parts.headers, replica);
        for name in [LOCATION, CONTENT_LOCATION] {
            self.publish(&mut parts.headers, name, requested);
        }
        parts.extensions.clear();
        if keep_alive::is_event_stream(&parts) && body.is_asked_whole() {
            parts.extensions.insert(Lasting { since: self.clock.now() });
        }
        // What is there already is not cut any more.
        let term = term.filter(|_| !body.is_here());
        let cutter = term.map(|term| Cutter::new(term, self.revocations));
        let keep_alive = KeepAlive::of(self.settings().sse_keep_alive, &parts);
        Ok(Response::from_parts(parts, Body::stream(body, cutter).kept_alive(keep_alive)))
    }

    /// Rewrites a URL on the upstream's origin; leaves another server's alone.
    fn publish(&self, headers: &mut HeaderMap, name: HeaderName, requested: &PathAndQuery) {
        let public = headers
            .get(&name)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| paths::to_public(self.told.service, requested.as_str(), location))
            .and_then(|location| HeaderValue::try_from(location).ok());
        if let Some(public) = public {
            headers.insert(name, public);
        }
    }

    fn owner(&self) -> SessionOwner<'_> {
        let subject = self.told.admission.claims().map_or("", |claims| claims.subject.as_str());
        SessionOwner { service: &self.settings().name, subject }
    }

    /// The upstream's own session id for ours, and the replica that it lives on, to which a request of its era must go. One that does
    /// not open is a session that has ended, and so is one whose replica is configured no more; but a request of the era without
    /// sessions is not answered 404, which would send its client back to the old era (P9): there the header means nothing, and
    /// is left out.
    fn open_session(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<(HeaderValue, Option<&'a Replica>)>, ForwardError> {
        let mut ids = headers.get_all(MCP_SESSION_ID).iter();
        let (Some(id), more) = (ids.next(), ids.next()) else { return Ok(None) };
        let opened = match (id.to_str(), more) {
            (Ok(id), None) => self.sessions.load().open(id, self.owner()),
            (Ok(_) | Err(_), _) => None,
        };
        let found = opened.and_then(|session| {
            let replica = self.told.service.upstream.replica(&session.replica)?;
            Some((HeaderValue::try_from(session.id).ok()?, replica))
        });
        match (found, Era::of(headers)) {
            (Some((id, replica)), Era::Legacy) => Ok(Some((id, Some(replica)))),
            (Some((id, _)), Era::Modern) => Ok(Some((id, None))),
            (None, Era::Modern) => Ok(None),
            (None, Era::Legacy) => Err(ForwardError::Session),
        }
    }

    /// Replaces the upstream's session id by ours. What is no visible ASCII is no session id, and is left out.
    fn seal_session(&self, headers: &mut HeaderMap, replica: &Replica) {
        let Some(id) = headers.remove(MCP_SESSION_ID) else { return };
        let Ok(id) = id.to_str() else { return };
        let session = UpstreamSession { id: id.to_owned(), replica: replica.name().to_owned() };
        let sealed = self.sessions.load().seal(&session, self.owner());
        if let Ok(sealed) = HeaderValue::try_from(sealed) {
            headers.insert(MCP_SESSION_ID, sealed);
        }
    }
}

#[cfg(test)]
mod tests;
