//! One answer: who may ask, and what there is. Nothing of it is the product's, and nothing waits for anything, but for the verdicts
//! that proxies ask for: those are the gateway's.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde::Serialize;

use super::metrics::Metrics;
use super::{Report, Status};
use crate::host::{is_loopback_name, without_port};
use crate::secret::{Digest, Secret};

/// Where other proxies ask.
const VERIFY: &str = "/verify";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who answers.
pub(super) struct Desk {
    token: Option<Digest>,
    status: Arc<Status>,
    metrics: Metrics,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("this needs the token that is configured as internal_token, as `Authorization: Bearer TOKEN`")]
    Token,
    #[error(
        "without a token, this is told to this machine only: ask by http://localhost or a loopback address"
    )]
    Host,
    #[error("there is nothing here; there are /health, /ready, /status and /metrics")]
    Nothing,
    #[error("this address answers GET and HEAD only")]
    Method,
    #[error("requests to this address have no body")]
    Body,
}

/// What there is.
#[derive(Clone, Copy)]
enum Page {
    Health,
    Ready,
    Status,
    Metrics,
}

impl Desk {
    /// Tells what `status` knows to whoever has the token.
    pub(super) fn new(token: Option<&Secret>, status: Arc<Status>) -> Self {
        Self { token: token.map(Secret::digest), metrics: Metrics::new(Arc::clone(&status)), status }
    }

    /// The answer to `peer`; the body is never read.
    pub(super) async fn answer<B: Body>(
        &self,
        peer: SocketAddr,
        request: Request<B>,
    ) -> Response<Full<Bytes>> {
        match self.status.judge().filter(|_| request.uri().path() == VERIFY) {
            // Its `Authorization` is that of the request it is about, and its Host the proxy's word for us: it is the peer that counts.
            Some(judge) => match read_only(&request) {
                Ok(()) => judge.verdict(peer, request.into_parts().0.headers).await.map(Full::new),
                Err(refusal) => refusal.answer(),
            },
            None => self.page(&request),
        }
    }

    /// Whether a connection from `peer` is one of a proxy that may ask about its requests.
    pub(super) fn knows_proxy(&self, peer: SocketAddr) -> bool {
        self.status.judge().is_some_and(|judge| judge.trusts(peer.ip().to_canonical()))
    }

    /// What there is for probes and monitoring.
    fn page<B: Body>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match self.admit(request) {
            Ok(Page::Health) => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
            Ok(Page::Ready) => {
                let told = self.status.readiness();
                json(if told.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &told)
            }
            Ok(Page::Status) => json(StatusCode::OK, &self.told()),
            Ok(Page::Metrics) => {
                reply(StatusCode::OK, metrics_type(request.headers()), self.metrics.text().into())
            }
            Err(refusal) => refusal.answer(),
        }
    }

    /// A server behind that fetches URLs may be on this machine, too: without a token it could read for its users who else had
    /// troubles, and from where.
    fn told(&self) -> Report {
        let report = self.status.report();
        if self.token.is_some() { report } else { report.for_anybody() }
    }

    /// Whoever may not ask does not learn what there is, either.
    fn admit<B: Body>(&self, request: &Request<B>) -> Result<Page, Refusal> {
        if self.token.is_some() && presented(request.headers()) != self.token {
            return Err(Refusal::Token);
        }
        // A web page elsewhere can have a browser on this machine ask by a name of its own that leads here (DNS rebinding).
        if self.token.is_none() && !names_this_machine(request.headers()) {
            return Err(Refusal::Host);
        }
        let page = match request.uri().path() {
            "/health" => Page::Health,
            "/ready" => Page::Ready,
            "/status" => Page::Status,
            "/metrics" => Page::Metrics,
            _ => return Err(Refusal::Nothing),
        };
        read_only(request).map(|()| page)
    }
}

fn read_only<B: Body>(request: &Request<B>) -> Result<(), Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        Err(Refusal::Method)
    } else if !request.body().is_end_stream() {
        Err(Refusal::Body)
    } else {
        Ok(())
    }
}

/// Whether Host is a loopback name, or absent as in HTTP/1.0.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    hosts.all(|host| host.to_str().is_ok_and(|host| is_loopback_name(without_port(host))))
}

/// The one bearer token of a request (RFC 6750 §2.1), as its digest: comparing those tells nothing of how much was right.
fn presented(headers: &HeaderMap) -> Option<Digest> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| Digest::of(token.trim().as_bytes()))
}

/// Prometheus asks for the newer of the two names of what it gets, older programs know the other one only.
fn metrics_type(headers: &HeaderMap) -> &'static str {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.any(|value| value.contains("application/openmetrics-text")) {
        OPEN_METRICS
    } else {
        PROMETHEUS
    }
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Host => StatusCode::FORBIDDEN,
            Self::Nothing => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Token => "unauthorized",
            Self::Host => "forbidden",
            Self::Nothing => "not_found",
            Self::Method => "method_not_allowed",
            Self::Body => "body_not_allowed",
        }
    }

    fn answer(self) -> Response<Full<Bytes>> {
        let told = serde_json::json!({ "error": self.code(), "error_description": self.to_string() });
        let mut response = json(self.status(), &told);
        let header = match self {
            Self::Token => Some((WWW_AUTHENTICATE, "Bearer")),
            Self::Method => Some((ALLOW, "GET, HEAD")),
            Self::Host | Self::Nothing | Self::Body => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Answers are structs of text and flags: serialising them cannot fail.
fn json(status: StatusCode, told: &impl Serialize) -> Response<Full<Bytes>> {
    reply(status, JSON, serde_json::to_vec(told).unwrap_or_default().into())
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};

    use super::super::testing::{Known, up};
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn open() -> Desk {
        Desk::new(None, up(Known::default()))
    }

    fn closed() -> Desk {
        Desk::new(Some(&Secret::new(TOKEN.into())), up(Known::default()))
    }

    /// Of somebody on this machine.
    async fn ask<B: Body>(desk: &Desk, request: Request<B>) -> Response<Full<Bytes>> {
        desk.answer(([127, 0, 0, 1], 9).into(), request).await
    }

    fn get(path: &str) -> Request<Empty<Bytes>> {
        Request::get(path).body(Empty::new()).unwrap()
    }

    fn with(path: &str, headers: &[(http::HeaderName, &str)]) -> Request<Empty<Bytes>> {
        let mut request = get(path);
        for (name, value) in headers {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    async fn told(response: Response<Full<Bytes>>) -> (u16, String) {
        let status = response.status().as_u16();
        (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
    }

    #[tokio::test]
    async fn health_touches_nothing_and_ready_says_what_is_waited_for() {
        let starting = Desk::new(None, Arc::default());
        assert_eq!(told(ask(&starting, get("/health")).await).await, (200, r#"{"status":"ok"}"#.into()));
        let waiting = r#"{"ready":false,"degraded":[],"waiting_for":["the store has not been read yet","the listeners do not accept connections yet"]}"#;
        assert_eq!(told(ask(&starting, get("/ready")).await).await, (503, waiting.into()));
        let ready = r#"{"ready":true,"degraded":[],"waiting_for":[]}"#;
        assert_eq!(told(ask(&open(), get("/ready?verbose")).await).await, (200, ready.into()));
    }

    #[tokio::test]
    async fn who_had_troubles_is_told_to_whoever_shows_the_token_only() {
        let (status, text) = told(ask(&open(), get("/status")).await).await;
        let anybody: Report = serde_json::from_str(&text).unwrap();
        assert_eq!((status, anybody.lately.counts[0].times), (200, 2));
        for private in ["github:1", "192.0.2", "r-1"] {
            assert!(!text.contains(private), "{private}: {text}");
        }
        let shown = with("/status", &[(AUTHORIZATION, &format!("Bearer {TOKEN}"))]);
        let (_, text) = told(ask(&closed(), shown).await).await;
        let whole: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(whole.lately, up(Known::default()).report().lately);
        assert_eq!((whole.lately.logins.len(), whole.lately.rate_limited.len()), (1, 1));
        assert_eq!(anybody.lately.counts, whole.lately.counts);
    }

    #[tokio::test]
    async fn the_same_figures_have_the_name_that_the_asking_program_knows() {
        for (accept, name) in [
            (None, PROMETHEUS),
            (Some("*/*"), PROMETHEUS),
            (Some("text/plain;version=0.0.4"), PROMETHEUS),
            (Some("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.4"), OPEN_METRICS),
        ] {
            let headers: Vec<_> = accept.map(|accept| (ACCEPT, accept)).into_iter().collect();
            let response = ask(&open(), with("/metrics", &headers)).await;
            assert_eq!(response.headers()[CONTENT_TYPE], name, "{accept:?}");
            assert!(told(response).await.1.starts_with("# HELP portcullis_build_info "));
        }
    }

    #[tokio::test]
    async fn nothing_else_is_there() {
        let nothing = r#"{"error":"not_found","error_description":"there is nothing here; there are /health, /ready, /status and /metrics"}"#;
        for path in
            ["/", "/healthy", "/health/", "//health", "/READY", "/mcp", "/token", "/jwks", "/authorize"]
        {
            assert_eq!(told(ask(&open(), get(path)).await).await, (404, nothing.into()), "{path}");
        }
    }

    #[tokio::test]
    async fn without_a_token_a_web_page_elsewhere_learns_nothing_by_a_name_of_its_own() {
        for host in ["localhost:9400", "LOCALHOST", "127.0.0.1:9400", "[::1]:9400", "127.0.0.2"] {
            let response = ask(&open(), with("/health", &[(HOST, host)])).await;
            assert_eq!(response.status(), StatusCode::OK, "{host}");
        }
        let refused = r#"{"error":"forbidden","error_description":"without a token, this is told to this machine only: ask by http://localhost or a loopback address"}"#;
        for host in ["rebound.example:9400", "localhost.example", "10.0.0.1", ""] {
            for path in ["/health", "/status", "/metrics", "/nothing"] {
                assert_eq!(
                    told(ask(&open(), with(path, &[(HOST, host)])).await).await,
                    (403, refused.into()),
                    "{host}"
                );
            }
        }
        let with_token =
            with("/health", &[(HOST, "gateway.internal"), (AUTHORIZATION, &format!("Bearer {TOKEN}"))]);
        assert_eq!(ask(&closed(), with_token).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn only_reading_is_allowed() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let mut request = get("/ready");
            *request.method_mut() = method.clone();
            let response = ask(&open(), request).await;
            assert_eq!(response.headers()[ALLOW], "GET, HEAD", "{method}");
            let refused = r#"{"error":"method_not_allowed","error_description":"this address answers GET and HEAD only"}"#;
            assert_eq!(told(response).await, (405, refused.into()), "{method}");
        }
        let request = Request::get("/ready").body(Full::<Bytes>::from("x")).unwrap();
        let refused =
            r#"{"error":"body_not_allowed","error_description":"requests to this address have no body"}"#;
        assert_eq!(told(ask(&open(), request).await).await, (413, refused.into()));
    }

    #[tokio::test]
    async fn where_a_token_is_needed_nobody_is_told_anything_without_it() {
        let right = format!("Bearer {TOKEN}");
        let wrong = [
            vec![],
            vec![(AUTHORIZATION, "Bearer")],
            vec![(AUTHORIZATION, "Bearer ")],
            vec![(AUTHORIZATION, TOKEN)],
            vec![(AUTHORIZATION, "Bearer 0123456789abcdef0123456789abcde")],
            vec![(AUTHORIZATION, "Bearer 0123456789abcdef0123456789abcdef0")],
            vec![(AUTHORIZATION, "Bearer 0123456789ABCDEF0123456789ABCDEF")],
            vec![(AUTHORIZATION, "Basic MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")],
            vec![(AUTHORIZATION, right.as_str()), (AUTHORIZATION, right.as_str())],
        ];
        let refused = r#"{"error":"unauthorized","error_description":"this needs the token that is configured as internal_token, as `Authorization: Bearer TOKEN`"}"#;
        for path in ["/health", "/ready", "/status", "/metrics", "/nothing"] {
            for headers in &wrong {
                let response = ask(&closed(), with(path, headers)).await;
                assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer", "{path} {headers:?}");
                assert_eq!(told(response).await, (401, refused.into()), "{path} {headers:?}");
            }
        }
        let in_the_query = get(&format!("/health?access_token={TOKEN}"));
        assert_eq!(ask(&closed(), in_the_query).await.status(), 401);
        let bare = right.replace("Bearer", "bearer");
        for right in [&right, &bare] {
            assert_eq!(ask(&closed(), with("/health", &[(AUTHORIZATION, right)])).await.status(), 200);
        }
        assert_eq!(ask(&closed(), with("/nothing", &[(AUTHORIZATION, &right)])).await.status(), 404);
    }
}
