//! The only place that builds responses of our own, errors above all. A failure is logged here, once.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::Body;
use super::exchange::{Exchange, noted};
use crate::oauth::{ErrorCode, OAuthError};
use crate::pages::Page;
use crate::telemetry::Note;
use crate::trouble::Trouble;

/// How an endpoint's error goes over the wire.
pub(super) trait WireError: std::error::Error {
    /// The HTTP status.
    fn status(&self) -> StatusCode;
    /// OAuth's code.
    fn code(&self) -> ErrorCode;
    /// What people read to help themselves; `None` where only whoever writes the client can do something about it, and the
    /// sentence alone says what.
    fn trouble(&self) -> Option<Trouble>;
    /// For 429, and for 503, where the store is away.
    fn retry_after(&self) -> Option<Duration> {
        (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(STORE_RETRY)
    }
    /// Whether the client tried HTTP Basic and must be told so (RFC 6749 §5.2).
    fn challenges_basic(&self) -> bool {
        false
    }
}

/// When a store that is away is worth another try.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(2);

/// An answer with nothing in it.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    response(status, Body::Empty)
}

/// A JSON document that says how long it may be kept.
pub(super) fn document(json: Bytes, cache: &'static str) -> Response<Body> {
    let mut reply = response(StatusCode::OK, Body::Full(json));
    set(&mut reply, CONTENT_TYPE, "application/json");
    set(&mut reply, CACHE_CONTROL, cache);
    reply
}

/// A JSON answer that nobody may keep.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let Ok(bytes) = serde_json::to_vec(value) else { return empty(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut reply = response(status, Body::Full(bytes.into()));
    set(&mut reply, CONTENT_TYPE, "application/json");
    set(&mut reply, CACHE_CONTROL, "no-store");
    reply
}

/// A JSON-RPC body.
pub(super) fn json_rpc(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut reply = response(status, Body::Full(body));
    set(&mut reply, CONTENT_TYPE, "application/json");
    set(&mut reply, CACHE_CONTROL, "no-store");
    reply
}

/// An endpoint's error, logged with its sources and told in OAuth's form.
pub(super) fn error(exchange: &Exchange<'_>, error: &impl WireError) -> Response<Body> {
    let trouble = error.trouble();
    exchange.log(error.status(), trouble, error);
    let told = oauth(exchange, error.code(), error, trouble);
    let mut reply = json(error.status(), &told);
    if let Some(wait) = error.retry_after() {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    if error.challenges_basic() {
        set(&mut reply, WWW_AUTHENTICATE, "Basic realm=\"portcullis\"");
    }
    noted(reply, Note { reason: Some(error.code().as_str()), trouble, ..Note::default() })
}

/// OAuth's form of an error, with the page that explains its trouble.
pub(super) fn oauth(
    exchange: &Exchange<'_>,
    code: ErrorCode,
    description: impl Display,
    trouble: Option<Trouble>,
) -> OAuthError {
    OAuthError::new(code, description).explained_at(trouble.map(|trouble| exchange.help(trouble)))
}

/// The trouble of a code that says it by itself; of others it depends on where the request was, which is `here`.
pub(super) const fn trouble_of(code: ErrorCode, here: Trouble) -> Trouble {
    match code {
        ErrorCode::InvalidTarget => Trouble::WrongUrl,
        ErrorCode::InvalidScope => Trouble::ScopeMissing,
        ErrorCode::InvalidRedirectUri => Trouble::RedirectInvalid,
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidClient
        | ErrorCode::InvalidGrant
        | ErrorCode::UnauthorizedClient
        | ErrorCode::UnsupportedGrantType
        | ErrorCode::UnsupportedResponseType
        | ErrorCode::AccessDenied
        | ErrorCode::ServerError
        | ErrorCode::TemporarilyUnavailable
        | ErrorCode::UnsupportedTokenType
        | ErrorCode::InvalidToken
        | ErrorCode::InvalidClientMetadata => here,
    }
}

/// An error of ours as JSON with a sentence that helps: for a person with curl as for a client's log.
pub(super) fn problem(status: StatusCode, error: &'static str, description: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "error": error, "error_description": description }))
}

/// The same of a trouble, with the page at `help` that explains it.
pub(super) fn problem_of(
    status: StatusCode,
    (error, trouble): (&'static str, Trouble),
    description: &str,
    help: &str,
) -> Response<Body> {
    let told = serde_json::json!({ "error": error, "error_description": description, "error_uri": help });
    noted(json(status, &told), Note { reason: Some(error), trouble: Some(trouble), ..Note::default() })
}

/// 405 with what is allowed.
pub(super) fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut reply = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &format!("this address answers {allow} only"),
    );
    set(&mut reply, ALLOW, allow);
    reply
}

/// 303: the browser goes on with GET, whatever brought it here (RFC 9700 §4.12).
pub(super) fn see_other(location: &str) -> Response<Body> {
    redirect(StatusCode::SEE_OTHER, location)
}

/// A redirect that keeps nothing.
pub(super) fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else { return empty(StatusCode::BAD_REQUEST) };
    let mut reply = empty(status);
    reply.headers_mut().insert(LOCATION, location);
    set(&mut reply, CACHE_CONTROL, "no-store");
    set(&mut reply, REFERRER_POLICY, "no-referrer");
    reply
}

/// A page for a person, with the headers that keep it from being framed, cached or scripted (C5).
pub(super) fn page(status: StatusCode, page: &Page) -> Response<Body> {
    let mut reply = response(status, Body::Full(Bytes::from(page.html().to_owned())));
    set(&mut reply, CONTENT_TYPE, "text/html; charset=utf-8");
    set(&mut reply, CACHE_CONTROL, "no-store");
    set(&mut reply, CONTENT_SECURITY_POLICY, PAGE_POLICY);
    set(&mut reply, X_FRAME_OPTIONS, "DENY");
    set(&mut reply, REFERRER_POLICY, "same-origin");
    reply
}

/// A page on a service's host, whose stylesheet is the issuer's.
pub(super) fn page_elsewhere(status: StatusCode, shown: &Page, issuer: &str) -> Response<Body> {
    let mut reply = page(status, shown);
    let policy = PAGE_POLICY.replace("style-src 'self'", &format!("style-src 'self' {issuer}"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    reply
}

/// The stylesheet of our pages; `for_good` where its URL changes with it.
pub(super) fn stylesheet(css: &'static str, for_good: bool) -> Response<Body> {
    let mut reply = response(StatusCode::OK, Body::Full(Bytes::from_static(css.as_bytes())));
    set(&mut reply, CONTENT_TYPE, "text/css; charset=utf-8");
    let cache = if for_good { "public, max-age=31536000, immutable" } else { "public, max-age=3600" };
    set(&mut reply, CACHE_CONTROL, cache);
    reply
}

/// Sets a header of ours.
pub(super) fn set(reply: &mut Response<Body>, name: HeaderName, value: &'static str) {
    reply.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// Adds a cookie.
pub(super) fn add_cookie(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        headers.append(http::header::SET_COOKIE, value);
    }
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    set(&mut reply, X_CONTENT_TYPE_OPTIONS, "nosniff");
    reply
}

const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'";

const CONTENT_SECURITY_POLICY: HeaderName = http::header::CONTENT_SECURITY_POLICY;
const REFERRER_POLICY: HeaderName = http::header::REFERRER_POLICY;
const X_CONTENT_TYPE_OPTIONS: HeaderName = http::header::X_CONTENT_TYPE_OPTIONS;
const X_FRAME_OPTIONS: HeaderName = http::header::X_FRAME_OPTIONS;
