//! `GET /authorize` shows the consent page and changes nothing but one random cookie; `POST /authorize` acts on what the
//! person decided (RFC 6749 §3.1).

use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::consent::{self, Decision};
use super::cookies::Kind;
use super::exchange::{Exchange, also_noted, noted, refused_page};
use super::form::{self, BodyReadError};
use super::limits::{self, Hit};
use super::reply::{self, WireError};
use super::{Body, Service, Site, clients, documents, sign_in};
use crate::oauth::{
    AuthorizeError, AuthorizeRequest, Client, ClientId, ErrorCode, OAuthError, Parameters, RedirectError,
    RedirectUri, RegisteredRedirect, redirect_with_error,
};
use crate::pages::{self, Problem};
use crate::store::{Session, StoreError};
use crate::telemetry::Note;
use crate::trouble::{Trouble, probes};
use crate::upstream::RequestBody;

/// The parameters that an authorization request is made of: others are ignored, and not posted again.
const KNOWN: [&str; 8] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "scope",
    "code_challenge",
    "code_challenge_method",
    "resource",
];

/// A request by a client we know, for a redirect URI that is the client's.
pub(super) struct Asked {
    pub(super) client: Client,
    /// The domain that vouches for it, if one does.
    pub(super) verified: Option<String>,
    pub(super) request: AuthorizeRequest,
    pub(super) parameters: Parameters,
}

/// Why nothing can be asked or decided.
pub(super) enum Refused {
    /// No client of that id (A1, A14).
    UnknownClient,
    /// The client's metadata document cannot be used (M1–M9).
    Document { id: ClientId, fault: Arc<documents::Fault> },
    /// The redirect URI is missing or foreign (A1).
    Redirect { client: Option<String>, redirect_uri: Option<String> },
    /// Told to the client (A4, A5, A10, A12).
    Client { redirect: RedirectUri, state: Option<String>, error: OAuthError, client: Box<Client> },
    /// Too many sign-ins were begun from this address.
    Limit(Hit),
    /// The form is not from our page, or too old.
    Form { again: String },
    /// The same of the forms on the connections page.
    Page,
    /// No such connection of this person.
    NoConnection,
    /// Another site posted the form (C4).
    ForeignOrigin,
    /// The form cannot be read.
    Body(BodyReadError),
    /// The store is away.
    Store(StoreError),
}

impl From<Hit> for Refused {
    fn from(hit: Hit) -> Self {
        Self::Limit(hit)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// At the issuer.
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Response<Body> {
    let json = wants_json(request.headers());
    let is_probe = is_probe(&request);
    let answer = match *request.method() {
        Method::GET | Method::HEAD => show(exchange, &request).await,
        Method::POST => submit(exchange, request).await,
        _ => return reply::not_allowed("GET, POST"),
    };
    answer.unwrap_or_else(|refused| {
        let is_probe = is_probe && matches!(refused, Refused::UnknownClient);
        let told = refuse(exchange, refused, json);
        if is_probe { also_noted(told, |note| note.is_probe = true) } else { told }
    })
}

/// Whether doctor asks for a client that nobody knows, to see that it is not sent anywhere.
fn is_probe<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "client_id" && value == probes::UNKNOWN_CLIENT)
}

/// On a service's host, for clients of the 2025-03-26 revision: 302 to the issuer, `resource` filled in only if absent (D18).
pub(super) fn at_issuer<B>(site: &Site, only: Option<&Arc<Service>>, request: &Request<B>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return reply::not_allowed("GET, HEAD");
    }
    let query = request.uri().query().unwrap_or_default();
    let named = url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "resource");
    let resource = match only {
        Some(service) if !named => {
            let value: String =
                url::form_urlencoded::byte_serialize(service.settings.resource.as_str().as_bytes()).collect();
            format!("{}resource={value}", if query.is_empty() { "" } else { "&" })
        }
        Some(_) | None => String::new(),
    };
    reply::redirect(StatusCode::FOUND, &format!("{}/authorize?{query}{resource}", site.settings.issuer))
}

async fn show(exchange: &Exchange<'_>, request: &Request<RequestBody>) -> Result<Response<Body>, Refused> {
    let query = request.uri().query().unwrap_or_default();
    let parameters = Parameters::parse(query.as_bytes()).map_err(|error| Refused::Body(error.into()))?;
    let asked = read(exchange, parameters).await?;
    let session = session(exchange, request.headers()).await?;
    let shown = consent::page(exchange, &asked, session.as_ref(), request.headers());
    Ok(noted(shown, Note { client: Some(asked.client.id.to_string()), ..Note::default() }))
}

async fn submit(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Result<Response<Body>, Refused> {
    if !is_same_origin(request.headers(), &exchange.site.settings.issuer) {
        return Err(Refused::ForeignOrigin);
    }
    let (parts, body) = request.into_parts();
    let body = form::read(body, form::MOST).await.map_err(Refused::Body)?;
    let posted = Parameters::parse(&body).map_err(|error| Refused::Body(error.into()))?;
    let asked = read(exchange, consent::carried(&posted)).await?;
    let session = session(exchange, &parts.headers).await?;
    let decision = consent::read(exchange, &asked, session.as_ref(), &parts.headers, &posted)?;
    let client = asked.client.id.to_string();
    let reply = match decision {
        Decision::Deny => {
            consent::audit_denial(exchange, &asked, session.as_ref());
            let error = OAuthError::new(ErrorCode::AccessDenied, "the person declined");
            to_client_with_error(
                exchange,
                &asked.request.redirect,
                asked.request.state.as_deref(),
                &error,
                &asked.client,
            )
        }
        Decision::Approve(service) => {
            clients::remember(exchange, &asked).await?;
            consent::approve(exchange, asked, &service, session).await?
        }
        Decision::OtherAccount(service) => {
            clients::remember(exchange, &asked).await?;
            sign_in::begin(exchange, Some(consent::flow(&asked, &service)), true).await?
        }
    };
    Ok(also_noted(reply, |note| note.client = Some(client)))
}

/// Reads a request from scratch, for GET and for POST alike.
async fn read(exchange: &Exchange<'_>, parameters: Parameters) -> Result<Asked, Refused> {
    let id = AuthorizeRequest::client_id(&parameters).ok_or(Refused::UnknownClient)?;
    let clients::Asking { client, verified } = clients::asking(exchange, &id).await?;
    match AuthorizeRequest::read(&parameters, &client, &exchange.site.resources) {
        Ok(request) => Ok(Asked { client, verified, request, parameters: parameters.only(&KNOWN) }),
        Err(AuthorizeError::Page { redirect_uri }) => {
            Err(Refused::Redirect { client: client.metadata.client_name, redirect_uri })
        }
        Err(AuthorizeError::Redirect { redirect, state, error }) => {
            Err(Refused::Client { redirect, state, error, client: Box::new(client) })
        }
    }
}

/// The browser's session, if it has one.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn session(
    exchange: &Exchange<'_>,
    headers: &HeaderMap,
) -> Result<Option<Session>, StoreError> {
    match exchange.jar().read(headers, Kind::Session, "") {
        Some(cookie) => exchange.shared.store.session(&cookie, exchange.now).await,
        None => Ok(None),
    }
}

/// Carries an answer to the client: 303, or for a private-use scheme, whose program the browser may not find, a page
/// that stays and has the link (A16).
pub(super) fn to_client(
    redirect: &RedirectUri,
    url: &str,
    client: Option<&str>,
    approved: bool,
) -> Response<Body> {
    if !redirect.is_private_use() {
        return reply::see_other(url);
    }
    let client = client.map(pages::shortened);
    let mut page = reply::page(StatusCode::OK, &pages::handed_over(client.as_deref(), url, approved));
    if let Ok(refresh) = http::HeaderValue::from_str(&format!("0; url={url}")) {
        page.headers_mut().insert("refresh", refresh);
    }
    page
}

/// Carries an error to the client, with `state` and `iss` (A10).
pub(super) fn to_client_with_error(
    exchange: &Exchange<'_>,
    redirect: &RedirectUri,
    state: Option<&str>,
    error: &OAuthError,
    client: &Client,
) -> Response<Body> {
    let url = redirect_with_error(redirect, error, state, &exchange.site.settings.issuer);
    to_client(redirect, &url, client.metadata.client_name.as_deref(), false)
}

/// Tells a person, or a program that wants `json`, why it does not go on.
pub(super) fn refuse(exchange: &Exchange<'_>, refused: Refused, json: bool) -> Response<Body> {
    let issuer = &exchange.site.settings.issuer;
    let (status, code, problem) = match refused {
        Refused::Client { redirect, state, error, client } => {
            let url = redirect_with_error(&redirect, &error, state.as_deref(), issuer);
            let trouble = reply::trouble_of(error.code, Trouble::RequestInvalid);
            // Nobody has decided anything yet: where a stranger may have registered the address, the person goes there
            // by a click or not at all (RFC 9700 §4.11.2).
            if redirect.is_loopback() || client.is_used() {
                let note = Note { client: Some(client.id.to_string()), ..Note::of_trouble(trouble) };
                return noted(
                    to_client(&redirect, &url, client.metadata.client_name.as_deref(), false),
                    note,
                );
            }
            let problem =
                Problem::bad_request(&error.description, trouble).with_link("Back to the application", &url);
            (StatusCode::BAD_REQUEST, error.code, problem)
        }
        Refused::Limit(hit) => return limits::refuse(exchange, json, hit),
        Refused::Store(error) => {
            let trouble = error.trouble();
            exchange.log(StatusCode::SERVICE_UNAVAILABLE, Some(trouble), &error);
            let problem = Problem::store_away(trouble);
            (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TemporarilyUnavailable, problem)
        }
        Refused::Body(error) => (error.status(), error.code(), Problem::unreadable(&error.to_string())),
        Refused::Document { id, fault } => return documents::refuse(exchange, &id, &fault, json),
        Refused::UnknownClient => {
            (StatusCode::BAD_REQUEST, ErrorCode::InvalidClient, Problem::unknown_client())
        }
        Refused::Redirect { client, redirect_uri } => (
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidRequest,
            wrong_redirect(exchange, client.as_deref(), redirect_uri.as_deref()),
        ),
        Refused::Page => {
            (StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, Problem::page_expired(&format!("{issuer}/")))
        }
        Refused::NoConnection => {
            (StatusCode::NOT_FOUND, ErrorCode::InvalidRequest, Problem::no_connection(&format!("{issuer}/")))
        }
        Refused::Form { again } => {
            (StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, Problem::form_expired(&again))
        }
        Refused::ForeignOrigin => {
            (StatusCode::FORBIDDEN, ErrorCode::InvalidRequest, Problem::foreign_origin())
        }
    };
    if json {
        let told = reply::oauth(exchange, code, &problem.what, Some(problem.trouble));
        return noted(reply::json(status, &told), Note::of_trouble(problem.trouble));
    }
    refused_page(exchange, status, &problem)
}

/// An address that nobody may register here is told as such; any other, as one that this client did not.
fn wrong_redirect(exchange: &Exchange<'_>, client: Option<&str>, redirect_uri: Option<&str>) -> Problem {
    let policy = &exchange.site.settings.redirects;
    let client = client.map(pages::shortened);
    match redirect_uri.map(|uri| (uri, RegisteredRedirect::check(uri, policy))) {
        Some((uri, Err(error @ (RedirectError::Scheme(_) | RedirectError::HttpNotLoopback)))) => {
            Problem::redirect_invalid(&pages::shortened(uri), &error.to_string(), &policy.schemes)
        }
        Some((uri, Ok(_) | Err(_))) => {
            Problem::redirect_mismatch(client.as_deref(), Some(&pages::shortened(uri)))
        }
        None => Problem::redirect_mismatch(client.as_deref(), None),
    }
}

/// C4: a form that another site posted. Browsers send `Origin` with every POST; what sends none is no browser.
pub(super) fn is_same_origin(headers: &HeaderMap, issuer: &str) -> bool {
    let is = |name: &str, wanted: &[&str]| match headers.get(name) {
        Some(value) => wanted.iter().any(|wanted| value.as_bytes() == wanted.as_bytes()),
        None => true,
    };
    is("origin", &[issuer]) && is("sec-fetch-site", &["same-origin", "none"])
}

/// Whether a program asks, which reads no pages (A14).
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/html")
}
