//! What a browser finds at a service's URL, or at an address where nothing is; and the stylesheet.

use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::exchange::{Exchange, noted};
use super::site::Host;
use super::{Body, Service, connections, reply};
use crate::pages;
use crate::telemetry::Note;
use crate::trouble::Trouble;

/// How to connect to a service, for a browser that opened its URL.
pub(super) fn landing(exchange: &Exchange<'_>, status: StatusCode, service: &Service) -> Response<Body> {
    let issuer = &exchange.site.settings.issuer;
    let page = pages::landing(connections::connect(&service.settings), issuer);
    reply::page_elsewhere(status, &page, issuer)
}

/// The stylesheet: for good under the query that pages name, since another one has another.
pub(super) fn stylesheet<B>(request: &Request<B>) -> Response<Body> {
    if !reads(request) {
        return reply::not_allowed("GET, HEAD");
    }
    let is_this_one = request.uri().query() == Some(pages::STYLESHEET_VERSION.as_str());
    reply::stylesheet(pages::STYLESHEET, is_this_one)
}

/// 404, naming the URLs that would have been right on this host (finding `wrong-url`).
pub(super) fn nothing<B>(exchange: &Exchange<'_>, host: &Host, request: &Request<B>) -> Response<Body> {
    let urls: Vec<_> = host.urls().collect();
    if wants_html(request.headers()) {
        let (problem, issuer) = (pages::Problem::wrong_url(&urls), &exchange.site.settings.issuer);
        let problem = problem.with_link("Your connections", &format!("{issuer}/"));
        let page = problem.page_elsewhere(exchange.request_id.as_str(), issuer);
        let note = Note::of_trouble(problem.trouble);
        return noted(reply::page_elsewhere(StatusCode::NOT_FOUND, &page, issuer), note);
    }
    let described = match urls.as_slice() {
        [] => "nothing is at this address".to_owned(),
        some => format!("nothing is at this address; the MCP server's URL is {}", some.join(" or ")),
    };
    let (error, trouble) = ("not_found", Trouble::WrongUrl);
    reply::problem_of(StatusCode::NOT_FOUND, (error, trouble), &described, &exchange.help(trouble))
}

pub(super) fn reads<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Whether a browser asks.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
