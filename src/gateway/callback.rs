//! `GET /callback`: the browser comes back from the identity provider.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};

use super::authorize::to_client;
use super::consent::{self, Approved, flow_name, flow_part};
use super::cookies::Kind;
use super::exchange::{Exchange, refused_page};
use super::grants::{deadline, patiently};
use super::{Body, Service, clients, people, reply};
use crate::identity::{IdentityError, SignedIn};
use crate::oauth::{
    Approval, Client, ErrorCode, Facts, OAuthError, Parameters, RedirectUri, redirect_with_error,
};
use crate::pages::Problem;
use crate::policy::NotAllowed;
use crate::secret::Secret;
use crate::store::{Flow, Session, StoreError};
use crate::telemetry::{Audit, Event};
use crate::upstream::RequestBody;

/// Why the browser is not sent on.
enum Refused {
    /// No flow of this `state` in this browser: over ten minutes, used already, another browser's, or invented (C8).
    NoFlow,
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
    flow: Flow,
    client: Client,
    redirect: RedirectUri,
    service: Arc<Service>,
}

/// Finishes a sign-in.
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: &Request<RequestBody>) -> Response<Body> {
    if *request.method() != Method::GET {
        return reply::not_allowed("GET");
    }
    let query = request.uri().query().unwrap_or_default();
    let Ok(parameters) = Parameters::parse(query.as_bytes()) else {
        return refuse(exchange, &Refused::NoFlow);
    };
    let state = parameters.get("state").map(|state| Secret::new(state.to_owned()));
    let Some(state) = state else { return refuse(exchange, &Refused::NoFlow) };
    let jar = exchange.jar();
    let cookie = jar.read(request.headers(), Kind::Flow, &flow_part(&state));
    let before = jar.read(request.headers(), Kind::Session, "");
    let mut reply = match resume(exchange, &state, cookie.as_ref()).await {
        Ok(resumed) => finish(exchange, &resumed, &parameters, before).await,
        Err(refused) => refuse(exchange, &refused),
    };
    reply::add_cookie(reply.headers_mut(), &jar.clear(Kind::Flow, &flow_part(&state)));
    reply
}

/// Takes the flow: once, by the browser that began it.
async fn resume(
    exchange: &Exchange<'_>,
    state: &Secret,
    cookie: Option<&Secret>,
) -> Result<Resumed, Refused> {
    let store = &exchange.shared.store;
    let name = flow_name(state, cookie.ok_or(Refused::NoFlow)?);
    let flow = store.take_flow(&name, exchange.now).await?.ok_or(Refused::NoFlow)?;
    // The flow is taken: what follows must not fail for a moment without the store.
    let client =
        patiently(deadline(), || clients::find(exchange, &flow.client)).await?.ok_or(Refused::Gone)?;
    let redirect = client.redirect(&flow.redirect_uri).ok_or(Refused::Gone)?;
    let service = exchange.site.service(&flow.resource).cloned().ok_or(Refused::Gone)?;
    Ok(Resumed { flow, client, redirect, service })
}

async fn finish(
    exchange: &Exchange<'_>,
    resumed: &Resumed,
    parameters: &Parameters,
    before: Option<Secret>,
) -> Response<Body> {
    let signed_in = match (parameters.get("error"), parameters.get("code")) {
        (Some(error), _) => Err(exchange.shared.identity.refused(error)),
        (None, Some(code)) => ask_provider(exchange, code, &resumed.flow).await,
        (None, None) => Err(IdentityError::Answer),
    };
    let signed_in = match signed_in {
        Ok(signed_in) => signed_in,
        Err(error) => return not_signed_in(exchange, resumed, &error),
    };
    match admit(exchange, resumed, signed_in).await {
        Ok(reply) => {
            end_session(exchange, before).await;
            reply
        }
        Err(error) => refuse(exchange, &Refused::Store(error)),
    }
}

/// The browser has a new session; the one it came with is over.
async fn end_session(exchange: &Exchange<'_>, before: Option<Secret>) {
    let Some(before) = before else { return };
    if let Err(error) = exchange.shared.store.end_session(&before).await {
        tracing::warn!(%error, "the session before could not be ended; it ends by itself");
    }
}

/// On the control runtime, where the connections to the provider live, and to its end even if the browser goes away.
async fn ask_provider(exchange: &Exchange<'_>, code: &str, flow: &Flow) -> Result<SignedIn, IdentityError> {
    let identity = Arc::clone(&exchange.shared.identity);
    let (code, verifier) = (Secret::new(code.to_owned()), Secret::new(flow.verifier.clone()));
    let (asked, now) = (exchange.site.asked.clone(), exchange.now);
    let task =
        exchange.shared.control.spawn(async move { identity.finish(&code, &verifier, &asked, now).await });
    task.await.unwrap_or(Err(IdentityError::Answer))
}

/// The user is known: remember the browser, try the rules, write the grant.
async fn admit(
    exchange: &Exchange<'_>,
    resumed: &Resumed,
    signed_in: SignedIn,
) -> Result<Response<Body>, StoreError> {
    let rules = &resumed.service.settings.access;
    let hidden = people::hiding(rules, &signed_in.person.hidden).cloned();
    let facts = people::facts(exchange, signed_in).await?;
    exchange.audit(&Audit {
        subject: Some(facts.user.subject.as_str()),
        client: Some(resumed.client.id.as_str()),
        ..Audit::of(Event::LoginSucceeded)
    });
    let cookie = Secret::random();
    let life = exchange.site.settings.session_life;
    let session = Session { facts: facts.clone(), expires: exchange.now.after(life) };
    let store = &exchange.shared.store;
    // A browser whose user nothing here lets in is not remembered: it would have to sign in anew in any case, and strangers could
    // fill the store.
    let lets_in = exchange.site.services().any(|service| service.access.admit(&facts).is_ok());
    if lets_in {
        patiently(deadline(), || store.save_session(&cookie, &session)).await?;
    }
    let mut reply = match rules.admit(&facts) {
        Ok(()) => consent::grant(exchange, approved(resumed, facts)).await?,
        Err(refused) => not_allowed(exchange, resumed, (&facts, &refused), hidden.as_ref()),
    };
    if lets_in {
        let jar = exchange.jar();
        reply::add_cookie(reply.headers_mut(), &jar.set(Kind::Session, "", &cookie, life));
    }
    Ok(reply)
}

/// Nothing lets the user in; if an organisation hid whether it would, that is what they must be told.
fn not_allowed(
    exchange: &Exchange<'_>,
    resumed: &Resumed,
    refused: (&Facts, &NotAllowed),
    hidden: Option<&IdentityError>,
) -> Response<Body> {
    if let Some(error) = hidden {
        return not_signed_in(exchange, resumed, error);
    }
    let error = OAuthError::new(ErrorCode::AccessDenied, "this user is not let in by the access rules");
    consent::not_allowed(exchange, refused, &resumed.service, &back(exchange, resumed, &error))
}

fn approved(resumed: &Resumed, facts: Facts) -> Approved<'_> {
    Approved {
        client: &resumed.client,
        redirect: resumed.redirect.clone(),
        state: resumed.flow.state.as_deref(),
        approval: Approval {
            client: resumed.client.id.clone(),
            redirect: resumed.redirect.clone(),
            challenge: resumed.flow.challenge,
            resource: resumed.flow.resource.clone(),
            scopes: resumed.flow.scopes.clone(),
            facts,
        },
    }
}

/// What the client can understand goes to the client (F5); what the operator must mend is told on a page, from where
/// the client is one click away.
fn not_signed_in(exchange: &Exchange<'_>, resumed: &Resumed, error: &IdentityError) -> Response<Body> {
    let (code, operator) = match error {
        IdentityError::Denied | IdentityError::UnverifiedEmail | IdentityError::Suspended => {
            (ErrorCode::AccessDenied, None)
        }
        IdentityError::Unreachable | IdentityError::RateLimited => (ErrorCode::TemporarilyUnavailable, None),
        IdentityError::Code | IdentityError::Answer | IdentityError::TokenRejected => {
            (ErrorCode::ServerError, None)
        }
        IdentityError::Credentials => (ErrorCode::ServerError, Some(Problem::provider_credentials())),
        IdentityError::Callback => {
            let callback = format!("{}/callback", exchange.site.settings.issuer);
            (ErrorCode::ServerError, Some(Problem::provider_callback(&callback)))
        }
        IdentityError::SingleSignOn { org, url } => {
            (ErrorCode::AccessDenied, Some(Problem::single_sign_on(org, url.as_deref())))
        }
        IdentityError::Restricted { org } => (ErrorCode::AccessDenied, Some(Problem::org_restricted(org))),
    };
    let request_id = exchange.request_id.as_str();
    match error {
        IdentityError::Denied => tracing::info!(request_id, %error, "no sign-in"),
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
        | IdentityError::Answer => tracing::warn!(request_id, %error, "sign-in failed"),
    }
    let back = back(exchange, resumed, &OAuthError::new(code, error));
    match operator {
        None => to_client(&resumed.redirect, &back, resumed.client.metadata.client_name.as_deref()),
        Some(problem) => {
            let refused = code == ErrorCode::AccessDenied;
            let status = if refused { StatusCode::FORBIDDEN } else { StatusCode::BAD_GATEWAY };
            refused_page(exchange, status, &problem.with_link("Back to the application", &back))
        }
    }
}

fn back(exchange: &Exchange<'_>, resumed: &Resumed, error: &OAuthError) -> String {
    let issuer = &exchange.site.settings.issuer;
    redirect_with_error(&resumed.redirect, error, resumed.flow.state.as_deref(), issuer)
}

fn refuse(exchange: &Exchange<'_>, refused: &Refused) -> Response<Body> {
    let (status, problem) = match refused {
        Refused::NoFlow => (StatusCode::BAD_REQUEST, Problem::state_unknown()),
        Refused::Gone => (StatusCode::BAD_REQUEST, Problem::unknown_client()),
        Refused::Store(error) => {
            exchange.log(StatusCode::SERVICE_UNAVAILABLE, error);
            (StatusCode::SERVICE_UNAVAILABLE, Problem::store_away())
        }
    };
    refused_page(exchange, status, &problem)
}
