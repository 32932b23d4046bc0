//! What a person finds who opens the issuer, or an address where nothing is.

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::site::Host;
use super::{Body, reply};
use crate::pages;

/// The services, and what to paste into which client.
pub(super) fn page(exchange: &Exchange<'_>) -> Response<Body> {
    let services = exchange.site.services().map(|one| (one.name.as_str(), one.resource.as_str()));
    reply::page(StatusCode::OK, &pages::home(&services.collect::<Vec<_>>()))
}

/// The stylesheet.
pub(super) fn stylesheet() -> Response<Body> {
    reply::stylesheet(pages::STYLESHEET)
}

/// 404, naming the URLs that would have been right on this host (finding `wrong-url`).
pub(super) fn nothing(exchange: &Exchange<'_>, host: &Host, request: &Request<Incoming>) -> Response<Body> {
    let urls: Vec<_> = host.urls().collect();
    if wants_html(request.headers()) {
        let problem = pages::Problem::wrong_url(&urls);
        return reply::page(StatusCode::NOT_FOUND, &problem.page(exchange.request_id.as_str()));
    }
    let described = match urls.as_slice() {
        [] => "nothing is at this address".to_owned(),
        some => format!("nothing is at this address; the MCP server's URL is {}", some.join(" or ")),
    };
    reply::problem(StatusCode::NOT_FOUND, "not_found", &described)
}

/// Whether a browser asks.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
