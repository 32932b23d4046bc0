//! The consent page, and what follows an approval.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Response, StatusCode};

use super::authorize::{Asked, Refused, to_client};
use super::exchange::{Exchange, also_noted, noted, refused_page};
use super::grants::{deadline, patiently};
use super::{Body, Service, connections, form_token, people, reply, sign_in};
use crate::oauth::{
    Approval, AttemptId, Client, Code, Facts, Grant, GrantId, Parameters, Resource, ResourceChoice,
    redirect_with_code,
};
use crate::pages::{self, Choice, Consent, Problem};
use crate::secret;
use crate::store::{FlowRequest, Session, StoreError};
use crate::telemetry::{Audit, Event, Note};
use crate::trouble::Trouble;

/// The form's own fields, which are no parameters of the request.
const OWN_FIELDS: [&str; 3] = ["form_token", "decision", "chosen_service"];
/// The one field that carries all parameters of the request. Browsers send each line break of a field as two bytes,
/// whatever it was, and `state` must come back byte for byte (A8): so it is base64url.
const CARRIED: &str = "carried";

/// What the person decided.
pub(super) enum Decision {
    Approve(Arc<Service>),
    OtherAccount(Arc<Service>),
    Deny,
}

/// What an approved request becomes a grant of.
pub(super) struct Approved<'a> {
    pub(super) client: &'a Client,
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
    let issued = form_token::issue(exchange, headers, session, &form(&asked.parameters));
    let name = asked.client.metadata.client_name.as_deref().map(pages::shortened);
    let redirect = &asked.request.redirect;
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
        scopes: connections::said(Some(&service.settings), scopes),
    });
    let identity = exchange.shared.identity();
    let shown = pages::consent(&Consent {
        client_name: name.as_deref(),
        verified: asked.verified.as_deref(),
        redirect_shown: &redirect.shown(),
        is_loopback: redirect.is_loopback(),
        app: if redirect.is_private_use() { pages::app_of(&redirect.shown()) } else { None },
        services: &choices.collect::<Vec<_>>(),
        provider: identity.name(),
        asked_of_provider: &identity.asks_for(&exchange.site.asked),
        signed_in_as: session.map(|session| session.facts.user.login.as_str()),
        carried: &URL_SAFE_NO_PAD.encode(query(&asked.parameters)),
        form_token: issued.token.expose(),
    });
    let mut reply = reply::page(StatusCode::OK, &shown);
    issued.keep(exchange, &mut reply);
    reply
}

/// The request that a form is the answer to: as our page carries it, or by its own parameters from what is no browser. The
/// form token proves either.
pub(super) fn carried(posted: &Parameters) -> Parameters {
    let text = posted.get(CARRIED).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let carried = text.and_then(|text| Parameters::parse(&text).ok());
    carried.unwrap_or_else(|| posted.without(&OWN_FIELDS))
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
    let token = posted.get("form_token");
    if !form_token::proves(exchange, headers, session, &form(&asked.parameters), token) {
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
    let Some(facts) = facts else {
        return sign_in::begin(exchange, Some(flow(&asked, service)), false).await;
    };
    let approved = Approved {
        client: &asked.client,
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

/// What a sign-in on the way to an approval must not forget.
pub(super) fn flow(asked: &Asked, service: &Service) -> FlowRequest {
    FlowRequest {
        client: asked.client.id.clone(),
        redirect_uri: asked.request.redirect.as_str().to_owned(),
        state: asked.request.state.clone(),
        challenge: asked.request.challenge,
        resource: service.settings.resource.clone(),
        scopes: service.grantable(&asked.request.scopes),
    }
}

/// Writes down that a person did not allow a client what it asked for.
pub(super) fn audit_denial(exchange: &Exchange<'_>, asked: &Asked, session: Option<&Session>) {
    exchange.audit(&Audit {
        subject: session.map(|session| session.facts.user.subject.as_str()),
        client: Some(asked.client.id.as_str()),
        resource: match &asked.request.resource {
            ResourceChoice::Named(resource) => Some(resource.as_str()),
            ResourceChoice::Ask(_) => None,
        },
        by: Some("person"),
        ..Audit::of(Event::ConsentDenied)
    });
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
    let redirect = approved.approval.redirect.clone();
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
    let url = redirect_with_code(&redirect, code.text().expose(), approved.state, issuer);
    let answer = to_client(&redirect, &url, approved.client.metadata.client_name.as_deref(), true);
    let (lately, client) = (&exchange.shared.lately, approved.client.id.as_str());
    if !lately.approved(exchange.now, subject.as_str(), client, grant.resource.as_str()) {
        return Ok(answer);
    }
    // Nothing is refused: only noticed, for whoever wonders about two tabs.
    let service = exchange.site.service(&grant.resource).map(|service| service.settings.name.clone());
    let (subject, client) = (Some(subject.to_string()), Some(client.to_owned()));
    Ok(noted(
        answer,
        Note { service, subject, client, reason: None, trouble: Some(Trouble::TwoClients), is_probe: false },
    ))
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
        by: Some("access rules"),
        reason: Some(&refused.to_string()),
        ..Audit::of(Event::LoginRefused)
    });
    let problem = Problem::not_allowed(
        exchange.shared.identity().name(),
        &facts.user.login,
        &service.settings.name,
        (&refused.users, &refused.orgs, &refused.teams),
    );
    let page =
        refused_page(exchange, StatusCode::FORBIDDEN, &problem.with_link("Back to the application", back));
    also_noted(page, |note| note.subject = Some(facts.user.subject.to_string()))
}

fn again(exchange: &Exchange<'_>, parameters: &Parameters) -> String {
    format!("{}/authorize?{}", exchange.site.settings.issuer, query(parameters))
}

fn query(parameters: &Parameters) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters.iter()).finish()
}

/// What the form token is for: every parameter, in order.
fn form(parameters: &Parameters) -> Vec<&str> {
    parameters.iter().flat_map(|(name, value)| [name, value]).collect()
}
