//! `/help`: what there is to say of a trouble, for whoever follows the link of an error page, an `error_uri`, or a JSON-RPC error.
//! The same words as `portcullis doctor --explain` has, for people as a page and for programs as JSON. Nothing in it depends on who
//! asks, so anybody may keep it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, VARY};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::authorize::wants_json;
use super::discovery::open_to_all;
use super::exchange::{Exchange, refused_page};
use super::{Body, home, reply};
use crate::pages::{self, Problem};
use crate::trouble::Trouble;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// The list.
    All,
    /// One trouble.
    One(Trouble),
    /// A name that no trouble has.
    Nothing,
}

impl Topic {
    /// The trouble of that id.
    pub(super) fn named(id: &str) -> Self {
        Trouble::from_id(id).map_or(Self::Nothing, Self::One)
    }
}

/// Changes with the program only.
const AN_HOUR: &str = "public, max-age=3600";

/// Where a trouble is explained.
pub(super) fn url(issuer: &str, trouble: Trouble) -> String {
    format!("{issuer}/help/{trouble}")
}

/// Answers a question about a trouble.
pub(super) fn page<B>(exchange: &Exchange<'_>, topic: Topic, request: &Request<B>) -> Response<Body> {
    if !home::reads(request) {
        return reply::not_allowed("GET, HEAD");
    }
    let issuer = &exchange.site.settings.issuer;
    let mut answer = match (topic, wants_json(request.headers())) {
        (Topic::Nothing, as_json) => return nothing(exchange, as_json),
        (Topic::All, true) => as_json(&list(issuer)),
        (Topic::One(trouble), true) => as_json(&one(issuer, trouble)),
        (Topic::All, false) => reply::page(StatusCode::OK, &pages::all_help()),
        (Topic::One(trouble), false) => reply::page(StatusCode::OK, &pages::help(trouble)),
    };
    reply::set(&mut answer, CACHE_CONTROL, AN_HOUR);
    reply::set(&mut answer, VARY, "accept");
    answer
}

fn nothing(exchange: &Exchange<'_>, as_json: bool) -> Response<Body> {
    let all = format!("{}/help", exchange.site.settings.issuer);
    if as_json {
        let text = format!("there is no trouble of that name; all of them are at {all}");
        return reply::problem(StatusCode::NOT_FOUND, "not_found", &text);
    }
    refused_page(exchange, StatusCode::NOT_FOUND, &Problem::no_help(&all))
}

/// Scripts of every origin may read it: it is in every copy of the program.
fn as_json(value: &Value) -> Response<Body> {
    open_to_all(reply::document(Bytes::from(value.to_string()), AN_HOUR))
}

fn one(issuer: &str, trouble: Trouble) -> Value {
    let mut told = trouble.to_json();
    told["url"] = url(issuer, trouble).into();
    told
}

fn list(issuer: &str) -> Value {
    let told = |trouble: &Trouble| json!({ "id": trouble.id(), "symptom": trouble.explanation().symptom, "url": url(issuer, *trouble) });
    let groups = pages::by_group().into_iter().map(|(group, troubles)| {
        json!({ "group": group.title(), "troubles": troubles.iter().map(told).collect::<Vec<_>>() })
    });
    json!({ "groups": groups.collect::<Vec<_>>() })
}
