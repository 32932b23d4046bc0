//! The ACME library's HTTP, done by our own client: bounded in time and size.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use super::plan::{LONGEST_RETRY, NO_SUGGESTION};
use crate::clock::Clock;
use crate::fetch::{Bounds, FetchError, Fetcher};

/// Of one request. A certificate chain has some KB.
const BOUNDS: Bounds = Bounds { body: 256 * 1024, time: Duration::from_secs(30) };

/// Does the library's requests, and remembers what the library does not tell.
pub(super) struct Http {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    asked_to_wait: AskedToWait,
}

/// The `Retry-After` of the last answer, which the library keeps to itself.
#[derive(Clone, Default)]
pub(super) struct AskedToWait(Arc<Mutex<Option<Duration>>>);

/// An answer that is no ACME.
#[derive(Debug, thiserror::Error)]
#[error("it answers {0}, and says nothing about it")]
pub(super) struct Answered(pub(super) StatusCode);

impl Http {
    pub(super) fn new(fetcher: Fetcher, clock: Arc<dyn Clock>) -> (Self, AskedToWait) {
        let asked_to_wait = AskedToWait::default();
        (Self { fetcher, clock, asked_to_wait: asked_to_wait.clone() }, asked_to_wait)
    }
}

impl AskedToWait {
    pub(super) fn last(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, wait: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wait;
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (fetcher, asked_to_wait) = (self.fetcher.clone(), self.asked_to_wait.clone());
        let clock = Arc::clone(&self.clock);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // The library's bodies are bytes: reading them cannot fail.
            let body =
                body.collect().await.map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
            let method = parts.method.clone();
            asked_to_wait.set(None);
            let answer = fetcher.send(Request::from_parts(parts, body), BOUNDS).await;
            let (mut parts, body) = answer.map_err(other)?.into_parts();
            let wait = retry_after(&parts.headers, clock.as_ref());
            asked_to_wait.set(wait);
            let refused = parts.status.is_client_error() || parts.status.is_server_error();
            if refused && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
                return Err(Error::Other(Box::new(Answered(parts.status))));
            }
            make_readable(&mut parts.headers, wait, &method);
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

fn other(error: FetchError) -> Error {
    Error::Other(Box::new(error))
}

/// Says `Retry-After` as the library can bear it: it adds what is said to the time of day, without looking whether that is possible;
/// and without one it takes no renewal information, which it GETs as nothing else but the directory (RFC 9773 §4.3.2).
fn make_readable(headers: &mut HeaderMap, wait: Option<Duration>, method: &Method) {
    let missing = || (*method == Method::GET).then_some(NO_SUGGESTION);
    match wait.map(|wait| wait.min(LONGEST_RETRY)).or_else(missing) {
        Some(wait) => headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs())),
        None => headers.remove(RETRY_AFTER),
    };
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, clock: &dyn Clock) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(crate::time::Timestamp::from_seconds(date.as_secs()).since(clock.now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::StoppedClock;
    use crate::time::Timestamp;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let clock = StoppedClock::at(Timestamp::from_seconds(784_111_777));
        let read = |text: &'static str| {
            retry_after(&[(RETRY_AFTER, text.parse().unwrap())].into_iter().collect(), &clock)
        };
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "past");
        assert_eq!((read("soon"), read("-1")), (None, None));
        assert_eq!(retry_after(&HeaderMap::new(), &clock), None);
    }

    #[test]
    fn the_library_hears_of_waits_within_reason_only() {
        let heard = |wait, method| {
            let mut headers: HeaderMap = [(RETRY_AFTER, HeaderValue::from_static("?"))].into_iter().collect();
            make_readable(&mut headers, wait, &method);
            headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(heard(Some(Duration::from_secs(u64::MAX)), Method::POST).as_deref(), Some("604800"));
        assert_eq!(heard(Some(Duration::from_secs(7)), Method::GET).as_deref(), Some("7"));
        assert_eq!(heard(None, Method::GET).as_deref(), Some("21600"), "renewal information must have one");
        assert_eq!(heard(None, Method::POST), None);
    }
}
