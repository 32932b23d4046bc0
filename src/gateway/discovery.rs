//! What a client reads before it does anything: the metadata documents, the keys, and the preflight answers.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderName, HeaderValue,
};
use http::{Method, Request, Response, StatusCode};

use super::exchange::Exchange;
use super::route::Route;
use super::{Body, Site, client_configuration, mcp_endpoint, reply};

const MINUTES: &str = "public, max-age=300";

/// RFC 8414: the issuer's document, on every host (D8, D18, D19).
pub(super) fn server_metadata<B>(site: &Site, request: &Request<B>) -> Response<Body> {
    read_only(request, &site.server_metadata)
}

/// RFC 9728 (D1, D2).
pub(super) fn resource_metadata<B>(document: &Bytes, request: &Request<B>) -> Response<Body> {
    read_only(request, document)
}

/// RFC 7517: the keys that verify our tokens (V3).
pub(super) fn keys<B>(exchange: &Exchange<'_>, request: &Request<B>) -> Response<Body> {
    let keys = exchange.shared.signing.load();
    read_only(request, &Bytes::copy_from_slice(keys.jwks().as_bytes()))
}

/// A well-known path where nothing is: 404 and nothing else, since a 5xx or a redirect ends a client's discovery (D17).
pub(super) fn no_document() -> Response<Body> {
    let reply = reply::problem(StatusCode::NOT_FOUND, "not_found", "there is no such document here");
    open_to_all(reply)
}

fn read_only<B>(request: &Request<B>, document: &Bytes) -> Response<Body> {
    let reply = if matches!(*request.method(), Method::GET | Method::HEAD) {
        reply::document(document.clone(), MINUTES)
    } else {
        reply::not_allowed("GET, HEAD, OPTIONS")
    };
    open_to_all(reply)
}

/// Lets scripts of every origin read an answer: these endpoints carry no cookies (requirements §2 item 17).
pub(super) fn open_to_all(mut reply: Response<Body>) -> Response<Body> {
    reply::set(&mut reply, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    reply::set(
        &mut reply,
        http::header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "WWW-Authenticate, X-Request-ID, Retry-After",
    );
    reply
}

/// OPTIONS: answered here, never forwarded.
pub(super) fn preflight<B>(
    exchange: &Exchange<'_>,
    route: &Route<'_>,
    request: &Request<B>,
) -> Response<Body> {
    let methods = match route {
        Route::Service(service) => return mcp_endpoint::preflight(exchange, service, request),
        Route::ServerMetadata | Route::ResourceMetadata(_) | Route::NoDocument | Route::Keys => {
            "GET, HEAD, OPTIONS"
        }
        Route::Token | Route::Register | Route::Revoke => "POST, OPTIONS",
        Route::Registration(_) => client_configuration::METHODS,
        // For servers, not for scripts in a browser.
        Route::Introspect => return only("POST"),
        Route::Authorize | Route::DevLogin | Route::Connections(_) => return only("GET, POST"),
        Route::AuthorizeAtIssuer(_) | Route::Callback | Route::Stylesheet | Route::Help(_) | Route::Home => {
            return only("GET");
        }
        Route::Nothing(_) => return reply::empty(StatusCode::NOT_FOUND),
    };
    let mut reply = open_to_all(reply::empty(StatusCode::NO_CONTENT));
    let asked = request.headers().get(HeaderName::from_static("access-control-request-headers")).cloned();
    let allowed = asked
        .unwrap_or_else(|| HeaderValue::from_static("Authorization, Content-Type, MCP-Protocol-Version"));
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    reply::set(&mut reply, ACCESS_CONTROL_ALLOW_METHODS, methods);
    reply::set(&mut reply, ACCESS_CONTROL_MAX_AGE, "600");
    reply
}

fn only(allow: &'static str) -> Response<Body> {
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    reply::set(&mut reply, ALLOW, allow);
    reply
}
