//! `GET /callback`: the browser comes back from the identity provider.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::authorize::{session, to_client};
use super::consent::{self, Approved};
use super::cookies::Kind;
use super::exchange::{Exchange, also_noted, noted, refused_page};
use super::grants::{deadline, patiently};
use super::sign_in_errors::{code, problem, trouble};
use super::{Body, Service, clients, connections, people, reply, sign_in};
use crate::identity::{Hidden, IdentityError, SignedIn};
use crate::oauth::{
    Approval, Client, ErrorCode, Facts, OAuthError, Parameters, RedirectUri, redirect_with_error,
};
use crate::pages::Problem;
use crate::secret::Secret;
use crate::store::{FlowRequest, Session, StoreError};
use crate::telemetry::{Audit, Event, Note};
use crate::upstream::RequestBody;

/// Why the browser is not sent on.
enum Refused {
    /// Nothing is left of the flow that this browser began: over ten minutes.
    Ended,
    /// A flow that this browser did not begin, or has finished: a foreign `state`, one used already, or invented (C8).
    Unknown,
    /// The client or the service has gone meanwhile.
    Gone,
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A flow with everything it names looked up again.
struct Resumed {
    verifier: Secret,
    errand: Errand,
}

/// What the person signs in for.
enum Errand {
    /// To let a client in.
    Client(Box<Asked>),
    /// To see their connections.
    Home,
}

/// A client's request, approved before the sign-in.
struct Asked {
    request: FlowRequest,
    client: Client,
    redirect: RedirectUri,
    service: Arc<Service>,
}

/// Finishes a sign-in.
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: &Request<RequestBody>) -> Response<Body> {
    if *request.method() != Method::GET {
        return reply::not_allowed("GET");
    }
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default();
    let Ok(parameters) = Parameters::parse(query.as_bytes()) else {
        return refuse(exchange, Refused::Unknown, headers).await;
    };
    let state = parameters.get("state").map(|state| Secret::new(state.to_owned()));
    let Some(state) = state else { return refuse(exchange, Refused::Unknown, headers).await };
    let jar = exchange.jar();
    let part = sign_in::part(&state);
    let cookie = jar.read(headers, Kind::Flow, &part);
    let before = jar.read(headers, Kind::Session, "");
    let done = match resume(exchange, &state, cookie.as_ref()).await {
        Ok(resumed) => finish(exchange, &resumed, &parameters, before).await.map_err(Refused::Store),
        Err(refused) => Err(refused),
    };
    let mut reply = match done {
        Ok(reply) => reply,
        Err(refused) => refuse(exchange, refused, headers).await,
    };
    reply::add_cookie(reply.headers_mut(), &jar.clear(Kind::Flow, &part));
    reply
}

/// Takes the flow: once, by the browser that began it.
async fn resume(
    exchange: &Exchange<'_>,
    state: &Secret,
    cookie: Option<&Secret>,
) -> Result<Resumed, Refused> {
    let store = &exchange.shared.store;
    let name = sign_in::name(state, cookie.ok_or(Refused::Unknown)?);
    let flow = store.take_flow(&name, exchange.now).await?.ok_or(Refused::Ended)?;
    let errand = match flow.request {
        Some(request) => Errand::Client(Box::new(asked(exchange, request).await?)),
        None => Errand::Home,
    };
    Ok(Resumed { verifier: Secret::new(flow.verifier), errand })
}

/// Looks up what a flow names. The flow is taken: that must not fail for a moment without the store.
async fn asked(exchange: &Exchange<'_>, request: FlowRequest) -> Result<Asked, Refused> {
    let client =
        patiently(deadline(), || clients::find(exchange, &request.client)).await?.ok_or(Refused::Gone)?;
    let redirect = client.redirect(&request.redirect_uri).ok_or(Refused::Gone)?;
    let service = exchange.site.service(&request.resource).cloned().ok_or(Refused::Gone)?;
    Ok(Asked { request, client, redirect, service })
}

async fn finish(
    exchange: &Exchange<'_>,
    resumed: &Resumed,
    parameters: &Parameters,
    before: Option<Secret>,
) -> Result<Response<Body>, StoreError> {
    let signed_in = match (parameters.get("error"), parameters.get("code")) {
        (Some(error), _) => Err(exchange.shared.identity().refused(error)),
        (None, Some(code)) => ask_provider(exchange, code, &resumed.verifier).await,
        (None, None) => Err(IdentityError::Answer),
    };
    let signed_in = match signed_in {
        Ok(signed_in) => signed_in,
        Err(error) => return Ok(not_signed_in(exchange, &resumed.errand, &error)),
    };
    let reply = admit(exchange, &resumed.errand, signed_in).await?;
    end_session(exchange, before).await;
    Ok(reply)
}

/// The browser has a new session; the one it came with is over.
async fn end_session(exchange: &Exchange<'_>, before: Option<Secret>) {
    let Some(before) = before else { return };
    if let Err(error) = exchange.shared.store.end_session(&before).await {
        tracing::warn!(%error, "the session before could not be ended; it ends by itself");
    }
}

/// On the control runtime, where the connections to the provider live, and to its end even if the browser goes away.
async fn ask_provider(
    exchange: &Exchange<'_>,
    code: &str,
    verifier: &Secret,
) -> Result<SignedIn, IdentityError> {
    let identity = exchange.shared.identity();
    let (code, verifier) = (Secret::new(code.to_owned()), verifier.clone());
    let (asked, now) = (exchange.site.asked.clone(), exchange.now);
    let task =
        exchange.shared.control.spawn(async move { identity.finish(&code, &verifier, &asked, now).await });
    task.await.unwrap_or(Err(IdentityError::Answer))
}

/// The user is known: remember the browser, try the rules, go on to what they came for.
async fn admit(
    exchange: &Exchange<'_>,
    errand: &Errand,
    signed_in: SignedIn,
) -> Result<Response<Body>, StoreError> {
    let hidden = signed_in.person.hidden.clone();
    let facts = people::facts(exchange, signed_in).await?;
    exchange.audit(&Audit {
        subject: Some(facts.user.subject.as_str()),
        client: errand.client(),
        ..Audit::of(Event::LoginSucceeded)
    });
    let cookie = Secret::random();
    let life = exchange.site.settings.session_life;
    let session = Session { facts: facts.clone(), expires: exchange.now.after(life) };
    let store = &exchange.shared.store;
    // A browser whose user nothing here lets in is not remembered: it would have to sign in anew in any case, and strangers could
    // fill the store.
    let admins = &exchange.site.settings.admins;
    let lets_in = exchange.site.services().any(|service| service.access.admit(&facts).is_ok())
        || admins.admit(&facts).is_ok();
    if lets_in {
        patiently(deadline(), || store.save_session(&cookie, &session)).await?;
    }
    let mut reply = match errand {
        Errand::Client(asked) => admit_client(exchange, asked, facts, &hidden).await?,
        Errand::Home if lets_in => connections::home(exchange),
        Errand::Home => let_in_nowhere(exchange, errand, &facts, &hidden),
    };
    if lets_in {
        let jar = exchange.jar();
        reply::add_cookie(reply.headers_mut(), &jar.set(Kind::Session, "", &cookie, life));
    }
    Ok(reply)
}

/// Writes the grant; or, if nothing lets the user in, tells so: what an organisation hides, first of all.
async fn admit_client(
    exchange: &Exchange<'_>,
    asked: &Asked,
    facts: Facts,
    hidden: &[Hidden],
) -> Result<Response<Body>, StoreError> {
    let rules = &asked.service.settings.access;
    let Err(refused) = rules.admit(&facts) else {
        return consent::grant(exchange, approved(asked, facts)).await;
    };
    if let Some(error) = people::hiding(rules, hidden) {
        return Ok(not_signed_in_for(exchange, asked, error));
    }
    let error = OAuthError::new(ErrorCode::AccessDenied, "this user is not let in by the access rules");
    let back = back(exchange, asked, &error);
    let page = consent::not_allowed(exchange, (&facts, &refused), &asked.service, &back);
    Ok(also_noted(page, |note| *note = asked.note(std::mem::take(note))))
}

fn let_in_nowhere(
    exchange: &Exchange<'_>,
    errand: &Errand,
    facts: &Facts,
    hidden: &[Hidden],
) -> Response<Body> {
    let mut services = exchange.site.services();
    match services.find_map(|service| people::hiding(&service.access, hidden)) {
        Some(error) => not_signed_in(exchange, errand, error),
        None => connections::let_in_nowhere(exchange, &facts.user.subject, &facts.user.login),
    }
}

fn approved(asked: &Asked, facts: Facts) -> Approved<'_> {
    Approved {
        client: &asked.client,
        state: asked.request.state.as_deref(),
        approval: Approval {
            client: asked.client.id.clone(),
            redirect: asked.redirect.clone(),
            challenge: asked.request.challenge,
            resource: asked.request.resource.clone(),
            scopes: asked.request.scopes.clone(),
            facts,
        },
    }
}

impl Errand {
    fn client(&self) -> Option<&str> {
        match self {
            Self::Client(asked) => Some(asked.client.id.as_str()),
            Self::Home => None,
        }
    }
}

/// Nobody is signed in: the log and the audit events say why, and so does a page or the client.
fn not_signed_in(exchange: &Exchange<'_>, errand: &Errand, error: &IdentityError) -> Response<Body> {
    match errand {
        Errand::Client(asked) => not_signed_in_for(exchange, asked, error),
        Errand::Home => {
            write_down(exchange, None, error);
            let home = format!("{}/", exchange.site.settings.issuer);
            let provider = exchange.shared.identity().name();
            let (status, problem) = match problem(exchange, error, &home) {
                Some(told) => told,
                None => (StatusCode::FORBIDDEN, Problem::not_signed_in(provider, &error.to_string(), &home)),
            };
            refused_page(exchange, status, &problem.with_link("Your connections", &home))
        }
    }
}

/// What only the client can act on goes to the client (F5); what a person or the operator must do is told on a page, from
/// where the client is one click away, with the same error.
fn not_signed_in_for(exchange: &Exchange<'_>, asked: &Asked, error: &IdentityError) -> Response<Body> {
    write_down(exchange, Some(asked), error);
    let back = back(exchange, asked, &OAuthError::new(code(error), error));
    match problem(exchange, error, &again(exchange, asked)) {
        None => {
            let answer =
                to_client(&asked.redirect, &back, asked.client.metadata.client_name.as_deref(), false);
            noted(answer, asked.note(Note::of_trouble(trouble(error))))
        }
        Some((status, problem)) => {
            let page = refused_page(exchange, status, &problem.with_link("Back to the application", &back));
            also_noted(page, |note| *note = asked.note(std::mem::take(note)))
        }
    }
}

impl Asked {
    /// `note` with what was asked for.
    fn note(&self, note: Note) -> Note {
        let (service, client) = (self.service.settings.name.clone(), self.client.id.to_string());
        Note { service: Some(service), client: Some(client), ..note }
    }
}

fn write_down(exchange: &Exchange<'_>, asked: Option<&Asked>, error: &IdentityError) {
    let request_id = exchange.request_id.as_str();
    let trouble = trouble(error).id();
    match error {
        IdentityError::Denied => tracing::info!(request_id, trouble, %error, "no sign-in"),
        IdentityError::Unreachable
        | IdentityError::Credentials
        | IdentityError::Callback
        | IdentityError::Code
        | IdentityError::TokenRejected
        | IdentityError::Suspended
        | IdentityError::UnverifiedEmail
        | IdentityError::RateLimited
        | IdentityError::SingleSignOn { .. }
        | IdentityError::Restricted { .. }
        | IdentityError::Answer => tracing::warn!(request_id, trouble, %error, "sign-in failed"),
    }
    exchange.audit(&Audit {
        client: asked.map(|asked| asked.client.id.as_str()),
        resource: asked.map(|asked| asked.service.settings.resource.as_str()),
        reason: Some(&error.to_string()),
        ..Audit::of(Event::LoginRefused)
    });
}

/// The client's own request once more: the consent page.
fn again(exchange: &Exchange<'_>, asked: &Asked) -> String {
    let FlowRequest { client, redirect_uri, state, challenge, resource, scopes } = &asked.request;
    let (challenge, scopes) = (challenge.to_base64url(), scopes.to_string());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", client.as_str())
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("scope", &scopes)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .append_pair("resource", resource.as_str());
    query.extend_pairs(state.iter().map(|state| ("state", state)));
    format!("{}/authorize?{}", exchange.site.settings.issuer, query.finish())
}

fn back(exchange: &Exchange<'_>, asked: &Asked, error: &OAuthError) -> String {
    let issuer = &exchange.site.settings.issuer;
    redirect_with_error(&asked.redirect, error, asked.request.state.as_deref(), issuer)
}

async fn refuse(exchange: &Exchange<'_>, refused: Refused, headers: &HeaderMap) -> Response<Body> {
    let home = format!("{}/", exchange.site.settings.issuer);
    let (status, problem) = match refused {
        Refused::Ended => (StatusCode::BAD_REQUEST, Problem::state_expired(&home)),
        Refused::Unknown => {
            // The page is of use without it, too.
            let session = session(exchange, headers).await.ok().flatten();
            let login = session.as_ref().map(|session| session.facts.user.login.as_str());
            (StatusCode::BAD_REQUEST, Problem::state_reused(login, &home))
        }
        Refused::Gone => (StatusCode::BAD_REQUEST, Problem::flow_gone()),
        Refused::Store(error) => {
            let trouble = error.trouble();
            exchange.log(StatusCode::SERVICE_UNAVAILABLE, Some(trouble), &error);
            (StatusCode::SERVICE_UNAVAILABLE, Problem::store_away(trouble))
        }
    };
    refused_page(exchange, status, &problem)
}
