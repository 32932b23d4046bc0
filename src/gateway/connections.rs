//! "Your connections", at the issuer's root: what a person has allowed, and what they do about it. GET changes nothing but the
//! form cookie; signing in, signing out and disconnecting are posted, with a form token.

use std::collections::HashMap;

use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::authorize::{Refused, is_same_origin, refuse, session};
use super::cookies::Kind;
use super::exchange::{Exchange, also_noted, noted, refused_page};
use super::grants::{self, Step, deadline, patiently};
use super::{Body, ServiceSettings, clients, form, form_token, people, reply, sign_in};
use crate::oauth::{
    AttemptId, Client, ClientId, DocumentUrl, Grant, GrantId, GrantState, Parameters, RevocationReason,
    Scopes, Subject,
};
use crate::pages::{
    self, Connect, Connection, Home, Moment, Person, Problem, Said, Trace, Wrong, WrongCount,
};
use crate::secret;
use crate::store::{Session, StoreError};
use crate::telemetry::{Audit, Event, Note, Remembered, TWINS, Told};
use crate::upstream::RequestBody;

/// What the form tokens of these pages are for.
const FORM: [&str; 1] = ["connections"];

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    SignIn,
    SignOut,
    Disconnect,
}

/// A person's live grants, and the clients they are for.
struct Given {
    grants: Vec<Grant>,
    clients: HashMap<ClientId, Client>,
}

/// The issuer's root.
pub(super) async fn page(exchange: &Exchange<'_>, request: &Request<RequestBody>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return reply::not_allowed("GET, HEAD");
    }
    let headers = request.headers();
    match show(exchange, headers).await {
        Ok(page) => page,
        Err(error) => refuse(exchange, error.into(), false),
    }
}

/// What a form of the page posts. A browser that comes back to such an address by GET is shown the page.
pub(super) async fn act(
    exchange: &Exchange<'_>,
    action: Action,
    request: Request<RequestBody>,
) -> Response<Body> {
    match *request.method() {
        Method::GET | Method::HEAD => home(exchange),
        Method::POST => {
            let done = submit(exchange, action, request).await;
            done.unwrap_or_else(|refused| refuse(exchange, refused, false))
        }
        _ => reply::not_allowed("GET, HEAD, POST"),
    }
}

async fn show(exchange: &Exchange<'_>, headers: &HeaderMap) -> Result<Response<Body>, StoreError> {
    let session = session(exchange, headers).await?;
    let given = match &session {
        Some(session) => Some(given(exchange, &session.facts.user.subject).await?),
        None => None,
    };
    let person = session.as_ref().zip(given.as_ref()).map(|(session, given)| Person {
        login: &session.facts.user.login,
        connections: given.grants.iter().map(|grant| connection(exchange, given, grant)).collect(),
    });
    let services: Vec<_> = exchange
        .site
        .services()
        .filter(|service| session.as_ref().is_none_or(|session| may_use(session, service)))
        .map(connect)
        .collect();
    let wrong = match &session {
        Some(session) if people::is_admin(exchange, &session.facts).await? => {
            Some(went_wrong(&exchange.shared.lately.told()))
        }
        Some(_) | None => None,
    };
    let issued = form_token::issue(exchange, headers, session.as_ref(), &FORM);
    let shown = pages::home(&Home {
        host: &exchange.site.issuer_host,
        provider: exchange.shared.identity().name(),
        services: &services,
        person,
        wrong,
        form_token: issued.token.expose(),
    });
    let mut page = reply::page(StatusCode::OK, &shown);
    issued.keep(exchange, &mut page);
    let subject = session.map(|session| session.facts.user.subject.to_string());
    Ok(noted(page, Note { subject, ..Note::default() }))
}

/// How many failures of each kind an administrator is shown; `portcullis status --json` has them all.
const SHOWN: usize = 20;

/// What an administrator is shown.
fn went_wrong(told: &Told) -> Wrong {
    let counts = told.counts.iter().map(|count| WrongCount {
        trouble: count.trouble,
        times: count.times,
        last: Moment::of(count.last.seconds()),
    });
    let kinds = [
        ("Sign-ins", &told.logins),
        ("Tokens", &told.tokens),
        ("Servers behind", &told.upstreams),
        ("Everything else", &told.others),
    ];
    let kinds = kinds.into_iter().filter(|(_, remembered)| !remembered.is_empty());
    let kinds = kinds.map(|(title, remembered)| (title, remembered.iter().take(SHOWN).map(trace).collect()));
    Wrong { counts: counts.collect(), kinds: kinds.collect() }
}

fn trace(Remembered { failure, times }: &Remembered) -> Trace {
    let shown = |text: &Option<String>| text.as_deref().map(pages::shortened);
    let facts = [
        ("service", shown(&failure.service)),
        ("user", shown(&failure.subject)),
        ("client", shown(&failure.client)),
        ("from", Some(failure.network.clone())),
        ("request", Some(failure.request_id.clone())),
    ];
    Trace {
        at: Moment::of(failure.at.seconds()),
        trouble: failure.trouble,
        status: failure.status,
        times: *times,
        facts: facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    }
}

/// How people connect to a service.
pub(super) fn connect(service: &ServiceSettings) -> Connect<'_> {
    Connect { name: &service.name, url: service.resource.as_str(), public: service.public }
}

/// A scope as pages tell it.
pub(super) fn said<'a>(service: Option<&'a ServiceSettings>, scopes: &'a Scopes) -> Vec<Said<'a>> {
    let words = |scope: &str| service.and_then(|service| service.describe.get(scope)).map(String::as_str);
    scopes.iter().map(|scope| Said { scope: scope.as_str(), words: words(scope.as_str()) }).collect()
}

fn may_use(session: &Session, service: &ServiceSettings) -> bool {
    service.public || service.access.admit(&session.facts).is_ok()
}

/// What a person has allowed and what is in use, the newest first.
async fn given(exchange: &Exchange<'_>, subject: &Subject) -> Result<Given, StoreError> {
    let mut grants = exchange.shared.store.grants_of_user(subject, exchange.now).await?;
    grants.retain(is_in_use);
    grants.sort_by_key(|grant| std::cmp::Reverse(grant.created));
    let mut found = HashMap::new();
    for grant in &grants {
        if !found.contains_key(&grant.client)
            && let Some(client) = clients::find(exchange, &grant.client).await?
        {
            found.insert(grant.client.clone(), client);
        }
    }
    Ok(Given { grants, clients: found })
}

const fn is_in_use(grant: &Grant) -> bool {
    match grant.state {
        GrantState::Active { .. } | GrantState::Issued { .. } => true,
        GrantState::Pending { .. } | GrantState::Revoked { .. } | GrantState::Dead { .. } => false,
    }
}

fn connection<'a>(exchange: &Exchange<'a>, given: &'a Given, grant: &'a Grant) -> Connection<'a> {
    let service = exchange.site.service(&grant.resource).map(|service| &service.settings);
    let named = given.clients.get(&grant.client).and_then(|client| client.metadata.client_name.as_deref());
    let document = DocumentUrl::parse(&grant.client).ok();
    let is_twin = |other: &Grant| {
        let apart = other.created.seconds().abs_diff(grant.created.seconds());
        other.client != grant.client && other.resource == grant.resource && apart <= TWINS
    };
    Connection {
        id: grant.id.to_string(),
        client: pages::shortened(named.unwrap_or(grant.client.as_str())),
        verified: document.map(|url| url.host().to_owned()),
        service: service.map_or(grant.resource.as_str(), |service| &service.name),
        scopes: said(service, &grant.scopes),
        since: Moment::of(grant.created.seconds()),
        used: grant.used.as_ref().map(|used| (Moment::of(used.at.seconds()), used.from.as_str())),
        has_twin: given.grants.iter().any(is_twin),
    }
}

async fn submit(
    exchange: &Exchange<'_>,
    action: Action,
    request: Request<RequestBody>,
) -> Result<Response<Body>, Refused> {
    if !is_same_origin(request.headers(), &exchange.site.settings.issuer) {
        return Err(Refused::ForeignOrigin);
    }
    let (headers, posted) = form::parameters(request).await.map_err(Refused::Body)?;
    let session = session(exchange, &headers).await?;
    // Who is signed out is where signing out leads to, whatever form they have.
    if action == Action::SignOut && session.is_none() {
        return Ok(signed_out(exchange));
    }
    if !form_token::proves(exchange, &headers, session.as_ref(), &FORM, posted.get("form_token")) {
        return Err(Refused::Page);
    }
    match (action, session) {
        (Action::SignIn, _) => sign_in::begin(exchange, None, posted.get("account") == Some("other")).await,
        (Action::SignOut, Some(session)) => Ok(sign_out(exchange, &headers, &session).await?),
        (Action::SignOut, None) => Ok(signed_out(exchange)),
        (Action::Disconnect, Some(session)) => disconnect(exchange, &session, &posted).await,
        (Action::Disconnect, None) => Err(Refused::Page),
    }
}

async fn sign_out(
    exchange: &Exchange<'_>,
    headers: &HeaderMap,
    session: &Session,
) -> Result<Response<Body>, StoreError> {
    if let Some(cookie) = exchange.jar().read(headers, Kind::Session, "") {
        patiently(deadline(), || exchange.shared.store.end_session(&cookie)).await?;
    }
    let subject = Some(session.facts.user.subject.as_str());
    exchange.audit(&Audit { subject, by: Some("person"), ..Audit::of(Event::Logout) });
    Ok(signed_out(exchange))
}

fn signed_out(exchange: &Exchange<'_>) -> Response<Body> {
    let mut reply = home(exchange);
    reply::add_cookie(reply.headers_mut(), &exchange.jar().clear(Kind::Session, ""));
    reply
}

/// Ends a grant of the person's own. One that has ended already is what was wanted.
async fn disconnect(
    exchange: &Exchange<'_>,
    session: &Session,
    posted: &Parameters,
) -> Result<Response<Body>, Refused> {
    let subject = &session.facts.user.subject;
    let id = posted.get("grant").and_then(GrantId::parse).ok_or(Refused::NoConnection)?;
    let attempt = AttemptId::new(secret::random());
    let lives = &exchange.site.settings.lives;
    let decided = grants::decide(exchange.shared, lives, (id, exchange.now), |grant| {
        if grant.facts.user.subject != *subject {
            return Step::Answer(None);
        }
        if grant.attempt == attempt {
            // Ended by this very attempt, whose answer from the store was lost.
            return Step::Answer(Some(Some(grant)));
        }
        match grant.revoke(RevocationReason::Person, attempt, exchange.now) {
            Some(ended) => Step::Write(Box::new(ended.clone()), Some(Some(ended))),
            None => Step::Answer(Some(None)),
        }
    });
    let ended = decided.await?.flatten().ok_or(Refused::NoConnection)?;
    if let Some(grant) = ended {
        exchange.audit(&Audit {
            subject: Some(subject.as_str()),
            client: Some(grant.client.as_str()),
            grant: Some(grant.id),
            resource: Some(grant.resource.as_str()),
            by: Some("person"),
            ..Audit::of(Event::GrantRevoked)
        });
    }
    Ok(home(exchange))
}

/// 303 to the issuer's root.
pub(super) fn home(exchange: &Exchange<'_>) -> Response<Body> {
    reply::see_other(&format!("{}/", exchange.site.settings.issuer))
}

/// A page for who signed in here and is let in by nothing.
pub(super) fn let_in_nowhere(exchange: &Exchange<'_>, subject: &Subject, login: &str) -> Response<Body> {
    exchange.audit(&Audit {
        subject: Some(subject.as_str()),
        reason: Some("no service lets this user in"),
        by: Some("access rules"),
        ..Audit::of(Event::LoginRefused)
    });
    let home = format!("{}/", exchange.site.settings.issuer);
    let problem = Problem::let_in_nowhere(exchange.shared.identity().name(), login, &home);
    let page = refused_page(exchange, StatusCode::FORBIDDEN, &problem);
    also_noted(page, |note| note.subject = Some(subject.to_string()))
}
