//! `POST /token` (RFC 6749 §3.2): a code, a refresh token or a client's own proof becomes an access token.

mod audit;
mod code;
mod credentials;
mod refresh;

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::client_auth::{self, ClientError};
use super::discovery::open_to_all;
use super::exchange::{Exchange, also_noted, noted};
use super::form::{self, BodyReadError};
use super::reply::{self, STORE_RETRY, WireError};
use super::{Body, Service, keys};
use crate::oauth::{
    CLIENT_CREDENTIALS, Client, ErrorCode, Grant, GrantState, OAuthError, Parameters, Resource,
    RevocationReason, Scopes,
};
use crate::secret;
use crate::store::StoreError;
use crate::telemetry::{Event, Note};
use crate::token::{Claims, KeyError};
use crate::trouble::{Trouble, probes};
use crate::upstream::RequestBody;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Body(#[from] BodyReadError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("grant_type must be authorization_code, refresh_token or client_credentials")]
    GrantType,
    /// T13.
    #[error("this client may not use the grant type {0}")]
    MayNot(&'static str),
    /// By a rule of OAuth; the sentence says which.
    #[error("{}", .0.description)]
    Rule(OAuthError, Trouble),
    /// The same, and the grant has been revoked for it (T3, T9).
    #[error("{}", .0.description)]
    Revoked(OAuthError, Box<Grant>),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The identity provider has been away for too long to believe its last answer; when to try again (T12).
    #[error("the identity provider cannot say just now whether this user may still come in; try again later")]
    Unconfirmed(Duration),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl WireError for Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Client(error) => error.status(),
            Self::Store(_) | Self::Unconfirmed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Key(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Missing(_) | Self::GrantType | Self::MayNot(_) | Self::Rule(..) | Self::Revoked(..) => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Body(error) => error.code(),
            Self::Client(error) => error.code(),
            Self::Missing(_) => ErrorCode::InvalidRequest,
            Self::GrantType => ErrorCode::UnsupportedGrantType,
            Self::MayNot(_) => ErrorCode::UnauthorizedClient,
            Self::Rule(error, _) | Self::Revoked(error, _) => error.code,
            Self::Store(_) | Self::Unconfirmed(_) => ErrorCode::TemporarilyUnavailable,
            Self::Key(_) => ErrorCode::ServerError,
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Body(error) => error.trouble(),
            Self::Client(error) => error.trouble(),
            Self::Missing(_) | Self::GrantType | Self::MayNot(_) | Self::Key(_) => None,
            Self::Rule(_, trouble) => Some(*trouble),
            Self::Revoked(_, grant) => Some(why_ended(&grant.state)),
            Self::Store(error) => Some(error.trouble()),
            Self::Unconfirmed(_) => Some(Trouble::GithubUnreachable),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unconfirmed(wait) => Some(*wait),
            Self::Client(error) => error.retry_after(),
            Self::Store(_) => Some(STORE_RETRY),
            Self::Body(_)
            | Self::Missing(_)
            | Self::GrantType
            | Self::MayNot(_)
            | Self::Rule(..)
            | Self::Revoked(..)
            | Self::Key(_) => None,
        }
    }

    fn challenges_basic(&self) -> bool {
        match self {
            Self::Client(error) => error.challenges_basic(),
            Self::Body(_)
            | Self::Missing(_)
            | Self::GrantType
            | Self::MayNot(_)
            | Self::Rule(..)
            | Self::Revoked(..)
            | Self::Store(_)
            | Self::Unconfirmed(_)
            | Self::Key(_) => false,
        }
    }
}

impl Refused {
    fn unknown_service() -> Self {
        let error =
            OAuthError::new(ErrorCode::InvalidTarget, "the service of this grant is not configured here");
        Self::rule(error, Trouble::WrongUrl)
    }

    /// By a rule of OAuth, where people have the trouble `here` if the error does not say another one by itself.
    const fn rule(error: OAuthError, here: Trouble) -> Self {
        let trouble = reply::trouble_of(error.code, here);
        Self::Rule(error, trouble)
    }

    /// `invalid_grant` for a code, nothing changed.
    fn code(why: &str) -> Self {
        Self::rule(OAuthError::new(ErrorCode::InvalidGrant, why), Trouble::ExchangeFailed)
    }

    /// `invalid_grant` for a refresh token, nothing changed.
    fn refresh(why: &str) -> Self {
        Self::rule(OAuthError::new(ErrorCode::InvalidGrant, why), Trouble::RefreshFailed)
    }
}

/// What a grant's end is for who still asks for its tokens.
const fn why_ended(state: &GrantState) -> Trouble {
    match state {
        GrantState::Revoked { reason: RevocationReason::AccessLost, .. } => Trouble::NotAllowed,
        GrantState::Revoked { reason: RevocationReason::CodeReused, .. } | GrantState::Pending { .. } => {
            Trouble::ExchangeFailed
        }
        GrantState::Revoked {
            reason:
                RevocationReason::RefreshReused
                | RevocationReason::Client
                | RevocationReason::Person
                | RevocationReason::Operator
                | RevocationReason::ClientDeleted,
            ..
        }
        | GrantState::Active { .. }
        | GrantState::Issued { .. }
        | GrantState::Dead { .. } => Trouble::RefreshFailed,
    }
}

/// RFC 6749 §5.1; `scope` always (T1).
#[derive(Serialize)]
struct Tokens {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    scope: String,
}

/// What all grant types come to: a grant, and what its new tokens say.
struct Issue {
    grant: Grant,
    generation: u64,
    /// Of an active grant; without one there is nothing to refresh with.
    salt: Option<[u8; 16]>,
    scopes: Scopes,
    /// What the operator is told of it once it is answered.
    events: &'static [Event],
}

impl Issue {
    /// The newest tokens of `grant`.
    fn of(scopes: Scopes, grant: Grant) -> Result<Self, Refused> {
        match grant.state {
            GrantState::Active { salt, generation, .. } => {
                Ok(Self { grant, generation, salt: Some(salt), scopes, events: &[Event::TokenIssued] })
            }
            GrantState::Pending { .. }
            | GrantState::Issued { .. }
            | GrantState::Revoked { .. }
            | GrantState::Dead { .. } => Err(Refused::refresh("this grant has ended; sign in again")),
        }
    }
}

/// Answers a token request.
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Response<Body> {
    if *request.method() != Method::POST {
        return open_to_all(reply::not_allowed("POST, OPTIONS"));
    }
    open_to_all(answer(exchange, request).await.unwrap_or_else(|refused| reply::error(exchange, &refused)))
}

async fn answer(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Result<Response<Body>, Refused> {
    let (headers, parameters) = form::parameters(request).await?;
    let client = match client_auth::authenticate(exchange, &headers, &parameters).await {
        Ok(client) => client,
        Err(error) => {
            let is_probe = parameters.get("client_id") == Some(probes::UNKNOWN_CLIENT);
            let told = reply::error(exchange, &Refused::from(error));
            return Ok(also_noted(told, |note| note.is_probe = is_probe));
        }
    };
    let answered = grant(exchange, &client, &parameters).await;
    Ok(answered.unwrap_or_else(|refused| refuse(exchange, &client, &refused)))
}

/// Tells a client that is known here why it gets no tokens, and remembers whose they would have been.
fn refuse(exchange: &Exchange<'_>, client: &Client, refused: &Refused) -> Response<Body> {
    also_noted(reply::error(exchange, refused), |note| {
        note.client = Some(client.id.to_string());
        let Refused::Revoked(_, grant) = refused else { return };
        note.subject = Some(grant.facts.user.subject.to_string());
        let service = exchange.site.service(&grant.resource);
        note.service = service.map(|service| service.settings.name.clone());
    })
}

/// The tokens of an authenticated client.
async fn grant(
    exchange: &Exchange<'_>,
    client: &Client,
    parameters: &Parameters,
) -> Result<Response<Body>, Refused> {
    let told = |refused| audit::refused(exchange, client, refused);
    let issue = match parameters.get("grant_type") {
        Some("authorization_code") => code::redeem(exchange, client, parameters).await,
        Some("refresh_token") => refresh::refresh(exchange, client, parameters).await,
        Some(CLIENT_CREDENTIALS) => credentials::issue(exchange, client, parameters).await,
        Some(_) => Err(Refused::GrantType),
        None => Err(Refused::Missing("grant_type")),
    };
    let issue = issue.map_err(told)?;
    keep_client(exchange, client).await;
    keys::before_signing(exchange.shared).await;
    let tokens = issue_tokens(exchange, client, &issue).map_err(told)?;
    audit::issued(exchange, &issue);
    let note = Note {
        subject: Some(issue.grant.facts.user.subject.to_string()),
        client: Some(client.id.to_string()),
        ..Note::default()
    };
    Ok(noted(reply::json(StatusCode::OK, &tokens), note))
}

fn resource(exchange: &Exchange<'_>, parameters: &Parameters) -> Result<Option<Resource>, Refused> {
    let found = Resource::find(parameters.all("resource"), exchange.site.resources.iter());
    let refused = |error| Refused::rule(OAuthError::from(&error), Trouble::WrongUrl);
    found.map(Option::<&Resource>::cloned).map_err(refused)
}

/// A used registration outlives its grants; that it cannot be prolonged now is no reason to refuse tokens.
async fn keep_client(exchange: &Exchange<'_>, client: &Client) {
    let lives = &exchange.site.settings.lives;
    let until = exchange.now.after(lives.idle).after(lives.idle);
    if client.expires > exchange.now.after(lives.idle) {
        return;
    }
    if let Err(error) = exchange.shared.store.keep_client(&client.id, until, exchange.now).await {
        tracing::warn!(%error, client = %client.id, "the client's registration could not be prolonged");
    }
}

fn issue_tokens(exchange: &Exchange<'_>, client: &Client, issue: &Issue) -> Result<Tokens, Refused> {
    let service = exchange.site.service(&issue.grant.resource).ok_or_else(Refused::unknown_service)?;
    let lives = &exchange.site.settings.lives;
    let claims = claims(exchange, service, issue);
    let refresh = exchange.shared.refresh.load();
    let salt = issue.salt.as_ref().filter(|_| client.may_refresh());
    let refresh_token =
        salt.map(|salt| refresh.mint(issue.grant.id, &client.id, issue.generation, salt).expose().to_owned());
    Ok(Tokens {
        access_token: exchange.shared.signing.load().mint(&claims)?.expose().to_owned(),
        token_type: "Bearer",
        expires_in: lives.access.as_secs(),
        refresh_token,
        scope: issue.scopes.to_string(),
    })
}

fn claims(exchange: &Exchange<'_>, service: &Service, issue: &Issue) -> Claims {
    let user = &issue.grant.facts.user;
    Claims {
        issuer: exchange.site.settings.issuer.clone(),
        subject: user.subject.clone(),
        resource: issue.grant.resource.clone(),
        client: issue.grant.client.clone(),
        scopes: issue.scopes.clone(),
        issued_at: exchange.now,
        expires: exchange.now.after(exchange.site.settings.lives.access),
        token_id: secret::to_base64url(&secret::random::<16>()),
        grant: issue.grant.id,
        generation: issue.generation,
        access: service.access.clone(),
        login: user.login.clone(),
        email: user.email.clone().filter(|_| service.settings.forward_email),
    }
}
