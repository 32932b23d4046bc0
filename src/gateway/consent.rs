//! The consent page, the form token that ties it to one browser and one request, and what follows an approval.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};

use super::authorize::{Asked, Refused, to_client};
use super::cookies::Kind;
use super::exchange::{Exchange, refused_page};
use super::grants::{deadline, patiently};
use super::limits::{self, Limit};
use super::{Body, Service, people, reply};
use crate::oauth::{
    Approval, AttemptId, Client, Code, Facts, Grant, GrantId, Parameters, RedirectUri, Resource,
    ResourceChoice, Scope, redirect_with_code,
};
use crate::pages::{self, Choice, Consent, Problem};
use crate::seal;
use crate::secret::{self, Key, Secret};
use crate::store::{Flow, Session, StoreError};
use crate::telemetry::{Audit, Event};
use crate::time::Timestamp;

/// The form's own fields, which are no parameters of the request.
pub(super) const OWN_FIELDS: [&str; 3] = ["form_token", "decision", "chosen_service"];

/// What the key of form tokens is derived for.
const FORM_TOKEN: &str = "form token v1";
/// How long a page may stay open before its form is refused.
const FORM_LIFE: Duration = Duration::from_hours(1);
/// How long a sign-in at the identity provider may take (C7).
pub(super) const FLOW_LIFE: Duration = Duration::from_mins(10);

/// How far the clock of another process, which made the page, may be ahead.
const SKEW: Duration = Duration::from_secs(30);
/// Characters of a client's name that a page shows: a name, and no room for a letter of its own.
const SHOWN_NAME: usize = 100;

/// What the person decided.
pub(super) enum Decision {
    Approve(Arc<Service>),
    OtherAccount(Arc<Service>),
    Deny,
}

/// What an approved request becomes a grant of.
pub(super) struct Approved<'a> {
    pub(super) client: &'a Client,
    pub(super) redirect: RedirectUri,
    pub(super) state: Option<&'a str>,
    pub(super) approval: Approval,
}

/// The page. Several tabs share one form cookie, which lives on with each page.
pub(super) fn page(
    exchange: &Exchange<'_>,
    asked: &Asked,
    session: Option<&Session>,
    headers: &HeaderMap,
) -> Response<Body> {
    let jar = exchange.jar();
    let cookie = jar.read(headers, Kind::Form, "").unwrap_or_else(Secret::random);
    let key = exchange.shared.sealer.derive(FORM_TOKEN);
    let token = form_token(&key, (&cookie, session), &asked.parameters, exchange.now);
    let name = asked.client.metadata.client_name.as_ref().map(|name| shortened(name));
    let services: Vec<_> = match &asked.request.resource {
        ResourceChoice::Named(resource) => exchange.site.service(resource).into_iter().collect(),
        ResourceChoice::Ask(resources) => {
            resources.iter().filter_map(|one| exchange.site.service(one)).collect()
        }
    };
    let scopes: Vec<_> = services.iter().map(|one| one.grantable(&asked.request.scopes)).collect();
    let choices = services.iter().zip(&scopes).map(|(service, scopes)| Choice {
        name: &service.settings.name,
        url: service.settings.resource.as_str(),
        scopes: scopes.iter().map(Scope::as_str).collect(),
    });
    let shown = pages::consent(&Consent {
        client_name: name.as_deref(),
        verified: asked.verified.as_deref(),
        redirect_shown: &asked.request.redirect.shown(),
        is_loopback: asked.request.redirect.is_loopback(),
        services: &choices.collect::<Vec<_>>(),
        provider: exchange.shared.identity.name(),
        asked_of_provider: &exchange.shared.identity.asks_for(),
        signed_in_as: session.map(|session| session.facts.user.login.as_str()),
        parameters: &asked.parameters.iter().collect::<Vec<_>>(),
        form_token: token.expose(),
    });
    let mut reply = reply::page(StatusCode::OK, &shown);
    reply::add_cookie(reply.headers_mut(), &jar.set(Kind::Form, "", &cookie, FORM_LIFE));
    reply
}

/// Reads the decision, once the form token proves that it was taken on our page, in this browser, for this request, and by
/// the user whom the page named.
///
/// # Errors
/// [`Refused::Form`].
pub(super) fn read(
    exchange: &Exchange<'_>,
    asked: &Asked,
    session: Option<&Session>,
    headers: &HeaderMap,
    posted: &Parameters,
) -> Result<Decision, Refused> {
    let refused = || Refused::Form { again: again(exchange, &asked.parameters) };
    let cookie = exchange.jar().read(headers, Kind::Form, "").ok_or_else(refused)?;
    let token = posted.get("form_token").ok_or_else(refused)?;
    let made = token.split_once('.').and_then(|(made, _)| made.parse().ok()).map(Timestamp::from_seconds);
    let made =
        made.filter(|made| *made <= exchange.now.after(SKEW) && exchange.now.since(*made) <= FORM_LIFE);
    let made = made.ok_or_else(refused)?;
    let token = Secret::new(token.to_owned());
    let mut keys = exchange.shared.sealer.derived(FORM_TOKEN);
    if !keys.any(|key| form_token(&key, (&cookie, session), &asked.parameters, made) == token) {
        return Err(refused());
    }
    let service = || match &asked.request.resource {
        ResourceChoice::Named(resource) => exchange.site.service(resource).cloned(),
        ResourceChoice::Ask(among) => {
            let chosen = Resource::from_canonical(posted.get("chosen_service")?.to_owned());
            among.contains(&chosen).then(|| exchange.site.service(&chosen).cloned()).flatten()
        }
    };
    match posted.get("decision") {
        Some("approve") => service().map(Decision::Approve).ok_or_else(refused),
        Some("other-account") => service().map(Decision::OtherAccount).ok_or_else(refused),
        Some("deny") => Ok(Decision::Deny),
        Some(_) | None => Err(refused()),
    }
}

/// A session whose user the service lets in now is enough; whoever it does not let in may sign in anew.
pub(super) async fn approve(
    exchange: &Exchange<'_>,
    asked: Asked,
    service: &Service,
    session: Option<Session>,
) -> Result<Response<Body>, Refused> {
    let facts = people::let_in(exchange, service, session).await?;
    let Some(facts) = facts else { return sign_in(exchange, &asked, service, false).await };
    let approved = Approved {
        client: &asked.client,
        redirect: asked.request.redirect.clone(),
        state: asked.request.state.as_deref(),
        approval: Approval {
            client: asked.client.id.clone(),
            redirect: asked.request.redirect.clone(),
            challenge: asked.request.challenge,
            resource: service.settings.resource.clone(),
            scopes: service.grantable(&asked.request.scopes),
            facts,
        },
    };
    Ok(grant(exchange, approved).await?)
}

/// Stores the flow and sends the browser to the identity provider; the flow's cookie is set on this answer only (C7).
pub(super) async fn sign_in(
    exchange: &Exchange<'_>,
    asked: &Asked,
    service: &Service,
    other_account: bool,
) -> Result<Response<Body>, Refused> {
    limits::take(exchange, Limit::SignIn)?;
    limits::count(exchange, Limit::SignIn).await??;
    let state = Secret::random();
    let cookie = Secret::random();
    let start = exchange.shared.identity.start(&state, other_account);
    let flow = Flow {
        client: asked.client.id.clone(),
        redirect_uri: asked.request.redirect.as_str().to_owned(),
        state: asked.request.state.clone(),
        challenge: asked.request.challenge,
        resource: service.settings.resource.clone(),
        scopes: service.grantable(&asked.request.scopes),
        verifier: start.verifier.expose().to_owned(),
        expires: exchange.now.after(FLOW_LIFE),
    };
    let most = exchange.site.settings.limits.open_sign_ins;
    exchange.shared.store.begin_flow(&flow_name(&state, &cookie), &flow, most).await?;
    let mut reply = reply::see_other(&start.url);
    let jar = exchange.jar();
    reply::add_cookie(reply.headers_mut(), &jar.set(Kind::Flow, &flow_part(&state), &cookie, FLOW_LIFE));
    Ok(reply)
}

/// What a flow is stored under: `state` and the browser's cookie together, so that whoever has the one without the other finds
/// nothing, and takes nothing (C7, C8).
pub(super) fn flow_name(state: &Secret, cookie: &Secret) -> Secret {
    Secret::new(format!("{}.{}", state.expose(), cookie.expose()))
}

/// What tells one flow's cookie from another's, so that two logins in two tabs do not disturb each other.
pub(super) fn flow_part(state: &Secret) -> String {
    state.digest().to_base64url().chars().take(8).collect()
}

/// Writes the grant and carries its code to the client.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn grant(
    exchange: &Exchange<'_>,
    approved: Approved<'_>,
) -> Result<Response<Body>, StoreError> {
    if !is_kept(exchange, approved.client).await? {
        return Ok(refused_page(exchange, StatusCode::BAD_REQUEST, &Problem::unknown_client()));
    }
    let lives = &exchange.site.settings.lives;
    let code = Code::issue(GrantId::new(secret::random()), secret::random());
    let subject = approved.approval.facts.user.subject.clone();
    let grant = Grant::begin(approved.approval, &code, AttemptId::new(secret::random()), lives, exchange.now);
    patiently(deadline(), || exchange.shared.store.begin_grant(&grant, lives)).await?;
    exchange.audit(&Audit {
        subject: Some(subject.as_str()),
        client: Some(approved.client.id.as_str()),
        grant: Some(grant.id),
        resource: Some(grant.resource.as_str()),
        ..Audit::of(Event::ConsentGiven)
    });
    let issuer = &exchange.site.settings.issuer;
    let url = redirect_with_code(&approved.redirect, code.text().expose(), approved.state, issuer);
    Ok(to_client(&approved.redirect, &url, approved.client.metadata.client_name.as_deref()))
}

/// A registration that somebody consents to is used from now on, and evicted no more; until its code is redeemed it is
/// kept for another two days. False if it has just gone. Clients that did not register here are never evicted.
async fn is_kept(exchange: &Exchange<'_>, client: &Client) -> Result<bool, StoreError> {
    let until = exchange.now.after(2 * Client::UNUSED);
    if !client.id.is_issued() {
        return Ok(true);
    }
    patiently(deadline(), || exchange.shared.store.keep_client(&client.id, until, exchange.now)).await
}

/// Tells a person whom the rules do not let in who they are, what was tried, and the way back to the client.
pub(super) fn not_allowed(
    exchange: &Exchange<'_>,
    (facts, refused): (&Facts, &crate::policy::NotAllowed),
    service: &Service,
    back: &str,
) -> Response<Body> {
    exchange.audit(&Audit {
        subject: Some(facts.user.subject.as_str()),
        resource: Some(service.settings.resource.as_str()),
        ..Audit::of(Event::LoginRefused)
    });
    let problem = Problem::not_allowed(
        exchange.shared.identity.name(),
        &facts.user.login,
        &service.settings.name,
        (&refused.users, &refused.orgs, &refused.teams),
    );
    refused_page(exchange, StatusCode::FORBIDDEN, &problem.with_link("Back to the application", back))
}

fn shortened(name: &str) -> String {
    let mut characters = name.chars();
    let start: String = characters.by_ref().take(SHOWN_NAME).collect();
    if characters.next().is_some() { start + "…" } else { start }
}

fn again(exchange: &Exchange<'_>, parameters: &Parameters) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters.iter());
    format!("{}/authorize?{}", exchange.site.settings.issuer, query.finish())
}

/// `time . MAC` over the browser's cookie, the session's user, and every parameter in order.
fn form_token(
    key: &Key,
    (cookie, session): (&Secret, Option<&Session>),
    parameters: &Parameters,
    made: Timestamp,
) -> Secret {
    let time = made.seconds().to_string();
    let subject = session.map_or("", |session| session.facts.user.subject.as_str());
    let mut parts = vec![cookie.expose().as_bytes(), subject.as_bytes(), time.as_bytes()];
    for (name, value) in parameters.iter() {
        parts.extend([name.as_bytes(), value.as_bytes()]);
    }
    Secret::new(format!("{time}.{}", seal::mac(key, &parts).expose()))
}
