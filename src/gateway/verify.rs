//! `/verify`: another proxy asks whether a request that it has may go to its service, and forwards it itself (nginx `auth_request`,
//! Traefik `forwardAuth`, Caddy `forward_auth`). The request is put together again from what the proxy tells of it, and goes the
//! way of every other up to the point where it would be forwarded: the same routing, the same check of `Origin`, the same guard.
//!
//! What only the gateway in between could do is refused rather than left undone.

use std::net::SocketAddr;

use http::header::{AsHeaderName, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use super::exchange::{Exchange, noted};
use super::headers::{MCP_SESSION_ID, is_beyond_us, plain};
use super::route::{self, Route};
use super::{Arrival, Body, Gateway, Worker, address, home, mcp_endpoint, refuse_target, reply};
use crate::telemetry::Note;
use crate::upstream::RequestBody;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Other proxies' words for the same. Whoever sends them beside ours may mean another request.
const OTHER_SPELLINGS: [&str; 6] = [
    "x-forwarded-path",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("this is for the proxies that are listed under trusted_proxies")]
    Peer,
    #[error("the proxy must send {0} once")]
    Once(&'static str),
    #[error("{0} is not what it should be")]
    Form(&'static str),
    #[error("{0} says the same as the X-Forwarded- headers in other words; have the proxy take it away")]
    Spelling(HeaderName),
    #[error("{0} reads like the name of an identity header, and is not replaced by ours; do not send it")]
    Claim(HeaderName),
    #[error("{0} reads like Mcp-Session-Id, and is not; do not send it")]
    Alias(HeaderName),
    /// One that must not be forwarded, whatever the guard says: OPTIONS is answered by us, and so are our own endpoints.
    #[error("Portcullis answers this itself; have the proxy pass it on to Portcullis instead of asking")]
    Ours,
    #[error("{0}: forward_auth is not on; have the proxy pass requests on to Portcullis")]
    Off(String),
    #[error(
        "{0}: a request in a session (Mcp-Session-Id) must go through Portcullis, which sees to it that it is its user's"
    )]
    Session(String),
}

impl Fault {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Once(_) | Self::Form(_) | Self::Spelling(_) | Self::Claim(_) | Self::Alias(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Peer | Self::Ours | Self::Off(_) | Self::Session(_) => StatusCode::FORBIDDEN,
        }
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::Once(_) | Self::Form(_) | Self::Spelling(_) | Self::Claim(_) | Self::Alias(_) => {
                "invalid_request"
            }
            Self::Peer => "forbidden",
            Self::Ours | Self::Off(_) | Self::Session(_) => "not_verified",
        }
    }

    fn answer(&self) -> Response<Body> {
        let answer = reply::problem(self.status(), self.code(), &self.to_string());
        noted(answer, Note { reason: Some(self.code()), ..Note::default() })
    }
}

impl Gateway {
    /// Whether there is anything to verify: some service says `forward_auth`.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.site.load().services().any(|service| service.forward_auth)
    }

    /// The verdict on the request that a proxy describes by the headers `asked`: 200 with who asks, always in the same headers, even
    /// if empty, so that the proxy replaces what a client has put there; or what the gateway itself would have answered.
    pub async fn verify(&self, worker: &Worker, peer: SocketAddr, asked: HeaderMap) -> Response<Body> {
        let site = self.site.load_full();
        let arrival = Arrival { peer, tls: false, server_name: None };
        let described = if address::is_trusted(&site.settings, peer.ip().to_canonical()) {
            described(&asked)
        } else {
            Err(Fault::Peer)
        };
        let (request, fault) = match described {
            Ok(request) => (request, None),
            Err(fault) => {
                let mut request = Request::new(RequestBody::default());
                *request.headers_mut() = asked;
                *request.uri_mut() = Uri::from_static("/verify");
                (request, Some(fault))
            }
        };
        let exchange = Exchange::begin(&site, &self.shared, worker, &arrival, &request);
        let reply = match fault {
            Some(fault) => fault.answer(),
            None => judge(&exchange, request).await,
        };
        exchange.end(reply)
    }
}

/// The way of `Gateway::handle`, up to the guard.
async fn judge(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Response<Body> {
    if let Some(refusal) = address::refuse(exchange, &request) {
        return refusal;
    }
    let (parts, body) = request.into_parts();
    let target = match route::target(exchange.site, &parts, None) {
        Ok(target) => target,
        Err(error) => return refuse_target(exchange, &error),
    };
    let route = route::route(exchange.site, &target, &parts);
    let request = Request::from_parts(parts, body);
    let service = match route {
        Route::Service(service) => service,
        Route::Nothing(host) => return home::nothing(exchange, host, &request),
        Route::ServerMetadata
        | Route::ResourceMetadata(_)
        | Route::NoDocument
        | Route::Authorize
        | Route::AuthorizeAtIssuer(_)
        | Route::Callback
        | Route::Token
        | Route::Register
        | Route::Registration(_)
        | Route::Revoke
        | Route::Introspect
        | Route::Keys
        | Route::DevLogin
        | Route::Stylesheet
        | Route::Help(_)
        | Route::Home
        | Route::Connections(_) => return Fault::Ours.answer(),
    };
    let name = || service.settings.name.clone();
    if !service.settings.forward_auth {
        return Fault::Off(name()).answer();
    }
    if *request.method() == Method::OPTIONS {
        return Fault::Ours.answer();
    }
    if mcp_endpoint::is_in_session(request.headers()) {
        return Fault::Session(name()).answer();
    }
    mcp_endpoint::verdict(exchange, service, &request).await
}

/// The request that a proxy describes.
fn described(asked: &HeaderMap) -> Result<Request<RequestBody>, Fault> {
    for name in asked.keys() {
        refuse_name(name)?;
    }
    let host = one(asked, &FORWARDED_HOST, "X-Forwarded-Host")?.clone();
    let uri = text(asked, &FORWARDED_URI, "X-Forwarded-Uri")?;
    let method = text(asked, &FORWARDED_METHOD, "X-Forwarded-Method")?;
    // What it means is asked where it is asked of every request.
    one(asked, &FORWARDED_PROTO, "X-Forwarded-Proto")?;
    // What stands behind a `#` would be cut off here, and a server behind may see it.
    let is_target = uri.starts_with('/') && !uri.contains('#');
    let uri = is_target.then(|| uri.parse::<Uri>().ok()).flatten().ok_or(Fault::Form("X-Forwarded-Uri"))?;
    let mut request = Request::new(RequestBody::default());
    *request.method_mut() = method.parse().map_err(|_| Fault::Form("X-Forwarded-Method"))?;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    headers.clone_from(asked);
    // The proxy's own, about its question.
    for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, FORWARDED_URI, FORWARDED_METHOD] {
        headers.remove(name);
    }
    headers.insert(HOST, host);
    Ok(request)
}

/// Refuses a header that could be read as another request, as another user, or as a session: it goes to the server behind as it is.
fn refuse_name(name: &HeaderName) -> Result<(), Fault> {
    let plain = plain(name.as_str());
    let ours = [&FORWARDED_HOST, &FORWARDED_URI, &FORWARDED_METHOD, &FORWARDED_PROTO];
    let is_odd = plain != name.as_str();
    if is_odd && ours.iter().any(|ours| ours.as_str() == plain) || OTHER_SPELLINGS.contains(&plain.as_str()) {
        return Err(Fault::Spelling(name.clone()));
    }
    // The snippets take away what is spelled as it should be; `judge` looks at it.
    if is_odd && MCP_SESSION_ID.as_str() == plain {
        return Err(Fault::Alias(name.clone()));
    }
    if is_beyond_us(name.as_str()) { Err(Fault::Claim(name.clone())) } else { Ok(()) }
}

fn one<'h>(
    headers: &'h HeaderMap,
    name: impl AsHeaderName,
    shown: &'static str,
) -> Result<&'h HeaderValue, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Fault::Once(shown)),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: impl AsHeaderName, shown: &'static str) -> Result<&'h str, Fault> {
    one(headers, name, shown)?.to_str().map_err(|_| Fault::Form(shown))
}
