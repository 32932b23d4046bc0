//! What a person finds who opens the issuer, or an address where nothing is.

use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::exchange::{Exchange, refused_page};
use super::site::Host;
use super::{Body, reply};
use crate::pages;

/// The services, and what to paste into which client.
pub(super) fn page<B>(exchange: &Exchange<'_>, request: &Request<B>) -> Response<Body> {
    if !reads(request) {
        return reply::not_allowed("GET, HEAD");
    }
    let services = exchange.site.services().map(|one| (one.name.as_str(), one.resource.as_str()));
    reply::page(StatusCode::OK, &pages::home(&services.collect::<Vec<_>>()))
}

/// The stylesheet.
pub(super) fn stylesheet<B>(request: &Request<B>) -> Response<Body> {
    if !reads(request) {
        return reply::not_allowed("GET, HEAD");
    }
    reply::stylesheet(pages::STYLESHEET)
}

/// 404, naming the URLs that would have been right on this host (finding `wrong-url`).
pub(super) fn nothing<B>(exchange: &Exchange<'_>, host: &Host, request: &Request<B>) -> Response<Body> {
    let urls: Vec<_> = host.urls().collect();
    if wants_html(request.headers()) {
        return refused_page(exchange, StatusCode::NOT_FOUND, &pages::Problem::wrong_url(&urls));
    }
    let described = match urls.as_slice() {
        [] => "nothing is at this address".to_owned(),
        some => format!("nothing is at this address; the MCP server's URL is {}", some.join(" or ")),
    };
    reply::problem(StatusCode::NOT_FOUND, "not_found", &described)
}

fn reads<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Whether a browser asks.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
