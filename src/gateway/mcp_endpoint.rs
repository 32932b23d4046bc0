//! A request to a service: Origin, guard, forward. What is refused on the way is answered as JSON-RPC clients and
//! browsers understand it.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;

use super::exchange::{Exchange, noted};
use super::forward::{self, ForwardError, Forwarding, forward};
use super::grants::{self, Step};
use super::guard::{self, Admission, Refusal};
use super::headers::{MCP_SESSION_ID, Told};
use super::in_flight::{Full, Permit};
use super::origin::{self, Origin};
use super::{Body, Service, Shared, home, keys, reply};
use crate::mcp;
use crate::oauth::{AttemptId, GrantId, TokenLives};
use crate::secret;
use crate::store::RingKind;
use crate::telemetry::Note;
use crate::time::Timestamp;
use crate::token::TokenError;
use crate::trouble::{Trouble, probes};
use crate::upstream::RequestBody;

/// Answers a request to `service`.
pub(super) async fn endpoint(
    exchange: &Exchange<'_>,
    service: &Arc<Service>,
    request: Box<Request<RequestBody>>,
) -> Response<Body> {
    let origin = match origin_of(exchange, service, request.headers()) {
        Origin::Refused => return refused_origin(exchange, service),
        Origin::Allowed(origin) => Some(origin),
        Origin::Absent => None,
    };
    let mut answer = guarded(exchange, service, request).await;
    if let Some(origin) = origin {
        origin.answer(answer.headers_mut());
    }
    answer
}

/// OPTIONS to a service: answered here, never forwarded.
pub(super) fn preflight<B>(
    exchange: &Exchange<'_>,
    service: &Service,
    request: &Request<B>,
) -> Response<Body> {
    match origin_of(exchange, service, request.headers()) {
        Origin::Refused => refused_origin(exchange, service),
        Origin::Absent => reply::empty(StatusCode::NO_CONTENT),
        Origin::Allowed(origin) => {
            let mut answer = reply::empty(StatusCode::NO_CONTENT);
            origin.preflight(request.headers(), answer.headers_mut());
            answer
        }
    }
}

/// What a proxy is told that forwards a request itself: what [`endpoint`] would have answered, or that it may, and who asks.
pub(super) async fn verdict(
    exchange: &Exchange<'_>,
    service: &Arc<Service>,
    request: &Request<RequestBody>,
) -> Response<Body> {
    let origin = match origin_of(exchange, service, request.headers()) {
        Origin::Refused => return refused_origin(exchange, service),
        Origin::Allowed(origin) => Some(origin),
        Origin::Absent => None,
    };
    let mut answer = match admit(exchange, service, request).await {
        Ok(admission) => pass(exchange, service, &admission),
        Err(refusal) => refuse(exchange, service, &refusal, request),
    };
    if let Some(origin) = origin {
        origin.answer(answer.headers_mut());
    }
    answer
}

/// Whether a request belongs to a session: of the era that has none the header says nothing.
pub(super) fn is_in_session(headers: &HeaderMap) -> bool {
    headers.contains_key(MCP_SESSION_ID) && matches!(mcp::Era::of(headers), mcp::Era::Legacy)
}

/// That an admitted request may be forwarded.
fn pass(exchange: &Exchange<'_>, service: &Service, admission: &Admission) -> Response<Body> {
    confirm(exchange, admission);
    let told = told_of(exchange, service, admission);
    let mut answer = reply::empty(StatusCode::OK);
    reply::set(&mut answer, CACHE_CONTROL, "no-store");
    match told.tell(answer.headers_mut()) {
        Ok(()) => noted(answer, note(exchange, service, admission)),
        Err(error) => failed(exchange, service, &error.into()),
    }
}

fn told_of<'a>(exchange: &'a Exchange<'_>, service: &'a Service, admission: &'a Admission) -> Told<'a> {
    Told { service, admission, client: exchange.address, request_id: exchange.request_id.value() }
}

/// What the access line says of an admitted request.
fn note(exchange: &Exchange<'_>, service: &Service, admission: &Admission) -> Note {
    exchange.note(|| Note {
        service: Some(service.settings.name.clone()),
        subject: admission.claims().map(|claims| claims.subject.to_string()),
        client: admission.claims().map(|claims| claims.client.to_string()),
        ..Note::default()
    })
}

/// What is to be remembered of an admitted request that fails, whether anybody wants an access line or not.
fn note_of_failure(service: &Service, admission: &Admission) -> Note {
    Note {
        service: Some(service.settings.name.clone()),
        subject: admission.claims().map(|claims| claims.subject.to_string()),
        client: admission.claims().map(|claims| claims.client.to_string()),
        ..Note::default()
    }
}

fn origin_of(exchange: &Exchange<'_>, service: &Service, headers: &HeaderMap) -> Origin {
    let settings = &exchange.site.settings;
    origin::decide(headers, &settings.issuer, &settings.origins, service)
}

async fn guarded(
    exchange: &Exchange<'_>,
    service: &Arc<Service>,
    request: Box<Request<RequestBody>>,
) -> Response<Body> {
    let admission = match admit(exchange, service, &request).await {
        Ok(admission) => admission,
        Err(refusal) => return refuse(exchange, service, &refusal, &request),
    };
    confirm(exchange, &admission);
    let note = note(exchange, service, &admission);
    let permit = match open(exchange, service, &admission, &request) {
        Ok(permit) => permit,
        Err(full) => {
            let (reason, trouble) = (Some(full.why.reason()), Some(Trouble::RateLimited));
            let note = Note { reason, trouble, ..note_of_failure(service, &admission) };
            return noted(too_many(exchange, service, full), note);
        }
    };
    let told = told_of(exchange, service, &admission);
    let way = Forwarding {
        told,
        pool: &exchange.worker.pool,
        sessions: &exchange.shared.sessions,
        revocations: &exchange.shared.revocations,
        body_pause: exchange.site.settings.limits.body_pause,
        now: exchange.now,
        clock: &*exchange.shared.clock,
    };
    if way.is_strange_session(request.headers()) {
        Box::pin(keys::reload(exchange.shared, RingKind::Session)).await;
    }
    match forward(&way, request).await {
        Ok(answer) => {
            let answer = answer.map(|body| body.holding(permit));
            if note == Note::default() { answer } else { noted(answer, note) }
        }
        Err(error) => {
            let (reason, trouble) = (error.finding(), error.trouble());
            let note = Note { reason, trouble, ..note_of_failure(service, &admission) };
            let answer = if let ForwardError::Refused(refusal) = &error {
                challenge(exchange, service, refusal)
            } else {
                failed(exchange, service, &error)
            };
            noted(answer, note)
        }
    }
}

/// Counts the request in, for as long as it is open. Where nobody signs in, an address is what a user is elsewhere.
fn open(
    exchange: &Exchange<'_>,
    service: &Service,
    admission: &Admission,
    request: &Request<RequestBody>,
) -> Result<Permit, Full> {
    let life = forward::life(request.method(), request.headers());
    let in_flight = &exchange.shared.in_flight;
    match admission.claims().map(|claims| &claims.subject) {
        Some(subject) => in_flight.enter(&service.settings, subject.as_str(), life),
        None => in_flight.enter(&service.settings, &exchange.network(), life),
    }
}

/// The guard's decision, once more with fresh keys if the token names one that we do not have.
async fn admit(
    exchange: &Exchange<'_>,
    service: &Service,
    request: &Request<RequestBody>,
) -> Result<Admission, Refusal> {
    let decide = || {
        guard::admit(
            exchange.site,
            exchange.shared,
            exchange.worker,
            service,
            (request.headers(), request.uri().query()),
        )
    };
    match decide() {
        Err(Refusal::Token(TokenError::UnknownKey(Some(_)))) => {
            Box::pin(keys::reload(exchange.shared, RingKind::Signing)).await;
            decide()
        }
        decided => decided,
    }
}

/// A token of a generation that this worker has not seen: its client has the answer to its refresh. Written off the
/// request's way.
fn confirm(exchange: &Exchange<'_>, admission: &Admission) {
    let Admission::Token(admission) = admission else { return };
    let Some((grant, generation)) = admission.confirms() else { return };
    let (shared, lives, now) = (Arc::clone(exchange.shared), exchange.site.settings.lives, exchange.now);
    exchange
        .shared
        .control
        .spawn(async move { write_confirmation(&shared, &lives, (grant, generation), now).await });
}

async fn write_confirmation(
    shared: &Shared,
    lives: &TokenLives,
    (grant, generation): (GrantId, u64),
    now: Timestamp,
) {
    let attempt = AttemptId::new(secret::random());
    let written =
        grants::decide(shared, lives, (grant, now), |grant| match grant.confirm(generation, attempt) {
            Some(grant) => Step::Write(Box::new(grant), ()),
            None => Step::Answer(()),
        });
    if let Err(error) = written.await {
        tracing::warn!(%error, %grant, "a grant's newest generation could not be confirmed");
    }
}

fn refuse(
    exchange: &Exchange<'_>,
    service: &Service,
    refusal: &Refusal,
    request: &Request<RequestBody>,
) -> Response<Body> {
    let mut answer = challenge(exchange, service, refusal);
    let browses = *request.method() == Method::GET && home::wants_html(request.headers());
    if *refusal == Refusal::NoToken && browses {
        let page = home::landing(exchange, refusal.status(), service);
        let header = answer.headers_mut().remove(WWW_AUTHENTICATE);
        answer = page;
        answer.headers_mut().extend(header.map(|value| (WWW_AUTHENTICATE, value)));
    }
    let reason = refusal.code().unwrap_or("no_token");
    let bearer =
        request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    noted(
        answer,
        Note {
            service: Some(service.settings.name.clone()),
            reason: Some(reason),
            trouble: refusal.trouble(),
            is_probe: bearer == Some(probes::FORGED_TOKEN.as_bytes()),
            ..Note::default()
        },
    )
}

/// A refusal with the challenge that tells a client what to do.
fn challenge(exchange: &Exchange<'_>, service: &Service, refusal: &Refusal) -> Response<Body> {
    let trouble = refusal.trouble();
    tracing::debug!(service = service.settings.name, trouble = trouble.map(Trouble::id), %refusal, "refused");
    let mut answer = told(exchange, refusal.status(), &refusal.to_string(), (refusal.code(), trouble));
    if let Some(value) = refusal.challenge(service).and_then(|text| HeaderValue::try_from(text).ok()) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    if refusal.status() == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(reply::STORE_RETRY.as_secs()));
    }
    answer
}

/// How long a client waits that has too much open.
const BUSY_RETRY: HeaderValue = HeaderValue::from_static("1");

fn too_many(exchange: &Exchange<'_>, service: &Service, full: Full) -> Response<Body> {
    exchange.shared.refusals.request(full.why);
    let reason = full.why.reason();
    let text = format!("{}: {full} (finding {reason})", service.settings.name);
    let why = (Some(reason), Some(Trouble::RateLimited));
    let mut answer = told(exchange, StatusCode::TOO_MANY_REQUESTS, &text, why);
    answer.headers_mut().insert(RETRY_AFTER, BUSY_RETRY);
    answer
}

fn failed(exchange: &Exchange<'_>, service: &Service, error: &ForwardError) -> Response<Body> {
    let (finding, trouble) = (error.finding(), error.trouble());
    exchange.log(error.status(), trouble, error);
    if let Some(refusal) = error.refusal() {
        exchange.shared.refusals.request(refusal);
    }
    if matches!(error, ForwardError::Session | ForwardError::Lost) {
        return told(exchange, error.status(), "Session not found", (None, trouble));
    }
    let name = &service.settings.name;
    let text = match finding {
        Some(finding) => format!("{name}: {error} (finding {finding})"),
        None => format!("{name}: {error}"),
    };
    told(exchange, error.status(), &text, (finding, trouble))
}

fn refused_origin(exchange: &Exchange<'_>, service: &Service) -> Response<Body> {
    let text = "this Origin may not call the server; list it under origins if it is yours";
    let (reason, trouble) = (Some("origin"), Some(Trouble::Cors));
    let note = Note { service: Some(service.settings.name.clone()), reason, trouble, ..Note::default() };
    noted(told(exchange, StatusCode::FORBIDDEN, text, (reason, trouble)), note)
}

/// What a JSON-RPC error says beside its message: for the client's log, and for whoever reads that.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<&'static str>,
    trouble: &'static str,
    help: String,
    request_id: &'a str,
}

/// A JSON-RPC error. No request was read, so its id is null (P9).
fn told(
    exchange: &Exchange<'_>,
    status: StatusCode,
    text: &str,
    (finding, trouble): (Option<&'static str>, Option<Trouble>),
) -> Response<Body> {
    let code = match status {
        StatusCode::NOT_FOUND => mcp::SESSION_NOT_FOUND,
        status if status.is_server_error() => mcp::INTERNAL_ERROR,
        _ => mcp::REFUSED,
    };
    let data = trouble.map(|trouble| Data {
        finding,
        trouble: trouble.id(),
        help: exchange.help(trouble),
        request_id: exchange.request_id.as_str(),
    });
    let data = data.map_or_else(
        || finding.map(|finding| serde_json::json!({ "finding": finding })),
        |data| serde_json::to_value(data).ok(),
    );
    reply::json_rpc(status, mcp::error_body(code, text, data.as_ref()))
}
