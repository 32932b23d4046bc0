//! The page of the `dev` identity: any name, no password. The configuration check allows it on loopback only.

use http::{Method, Request, Response, StatusCode};

use super::authorize::is_same_origin;
use super::exchange::{Exchange, refused_page};
use super::{Body, form, reply};
use crate::oauth::Parameters;
use crate::pages::{self, Problem};
use crate::upstream::RequestBody;

/// GET shows the page; POST sends the name back to `/callback` as a provider's code.
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Response<Body> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let query = Parameters::parse(request.uri().query().unwrap_or_default().as_bytes());
            let state = query.as_ref().ok().and_then(|query| query.get("state")).unwrap_or_default();
            reply::page(StatusCode::OK, &pages::dev_login(state))
        }
        Method::POST => submit(exchange, request).await,
        _ => reply::not_allowed("GET, HEAD, POST"),
    }
}

async fn submit(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Response<Body> {
    let issuer = &exchange.site.settings.issuer;
    if !is_same_origin(request.headers(), issuer) {
        return refused_page(exchange, StatusCode::FORBIDDEN, &Problem::foreign_origin());
    }
    match form::parameters(request).await {
        Ok((_, posted)) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            let name = posted.get("name").unwrap_or_default().trim();
            query.append_pair("code", name).append_pair("state", posted.get("state").unwrap_or_default());
            reply::see_other(&format!("{issuer}/callback?{}", query.finish()))
        }
        Err(error) => reply::error(exchange, &error),
    }
}
