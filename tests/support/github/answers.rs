//! How the fake GitHub words its answers, the failing ones too.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::{Answer, Failure, Seen};

pub(super) fn json_answer(status: u16, body: &Value) -> Answer {
    let mut answer = text(status, &body.to_string());
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

pub(super) fn not_found() -> Answer {
    json_answer(404, &json!({ "message": "Not Found" }))
}

pub(super) fn text(status: u16, body: &str) -> Answer {
    let mut answer = Response::new(Full::from(body.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

/// HTTP 200 whatever it says; a form unless JSON is asked for.
pub(super) fn oauth_answer(seen: &Seen, pairs: &[(&str, &str)]) -> Answer {
    let accept = seen.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") {
        let typed = |name: &str, value: &str| match value.parse::<u64>() {
            Ok(seconds) if name.ends_with("expires_in") => Value::from(seconds),
            _ => Value::from(value),
        };
        let object = pairs.iter().map(|(name, value)| ((*name).to_owned(), typed(name, value))).collect();
        return json_answer(200, &Value::Object(object));
    }
    let mut answer = text(200, &form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish());
    let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, form);
    answer
}

pub(super) fn redirect(to: &Url) -> Answer {
    Response::builder()
        .status(302)
        .header(header::LOCATION, to.as_str())
        .body(Full::default())
        .expect("an answer")
}

pub(super) fn failed(failure: Failure, seen: &Seen) -> Answer {
    let limit = |status| json_answer(status, &json!({ "message": "API rate limit exceeded for user ID 1." }));
    let (mut answer, headers) = match failure {
        Failure::Status(status) => (text(status, "<html>Unicorn!</html>"), vec![]),
        Failure::RetryAfter(status, seconds) => (limit(status), vec![("retry-after", seconds)]),
        Failure::Spent(reset) => {
            (limit(403), vec![("x-ratelimit-remaining", 0), ("x-ratelimit-reset", reset)])
        }
        Failure::SaysLimit => {
            (json_answer(403, &json!({ "message": "You have exceeded a secondary rate limit." })), vec![])
        }
        Failure::Suspended => {
            (json_answer(403, &json!({ "message": "Sorry. Your account was suspended" })), vec![])
        }
        Failure::Garbage => (text(200, "\u{fffd}<>"), vec![]),
        Failure::Error(code) => {
            (oauth_answer(seen, &[("error", code), ("error_description", "Because.")]), vec![])
        }
        Failure::Slow(_) | Failure::HangUp => unreachable!("no answers"),
    };
    for (name, value) in headers {
        answer.headers_mut().insert(name, value.into());
    }
    answer
}
