//! How the double words its answers.

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request is refused: status, kind and detail.
pub(super) struct Refused(pub(super) u16, pub(super) &'static str, pub(super) String);

pub(super) fn json_answer(status: u16, body: &Value) -> Answer {
    text(status, "application/json", body.to_string())
}

pub(super) fn text(status: u16, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// RFC 7807, of RFC 8555 §6.7.
pub(super) fn problem(kind: &str, detail: &str) -> Value {
    json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail })
}

pub(super) fn refused(Refused(status, kind, detail): &Refused) -> Answer {
    let mut body = problem(kind, detail);
    body["status"] = (*status).into();
    text(*status, "application/problem+json", body.to_string())
}

pub(super) fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    answer.headers_mut().insert(name, value.parse().expect("a header's value"));
    answer
}
