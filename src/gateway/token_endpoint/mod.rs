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
use super::exchange::{Exchange, noted};
use super::form::{self, BodyReadError};
use super::reply::{self, STORE_RETRY, WireError};
use super::{Body, Service, keys};
use crate::oauth::{
    CLIENT_CREDENTIALS, Client, ErrorCode, Grant, GrantState, OAuthError, Parameters, Resource, Scopes,
};
use crate::secret;
use crate::store::StoreError;
use crate::telemetry::{Event, Note};
use crate::token::{Claims, KeyError};
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
    Rule(OAuthError),
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
            Self::Missing(_) | Self::GrantType | Self::MayNot(_) | Self::Rule(_) | Self::Revoked(..) => {
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
            Self::Rule(error) | Self::Revoked(error, _) => error.code,
            Self::Store(_) | Self::Unconfirmed(_) => ErrorCode::TemporarilyUnavailable,
            Self::Key(_) => ErrorCode::ServerError,
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
            | Self::Rule(_)
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
            | Self::Rule(_)
            | Self::Revoked(..)
            | Self::Store(_)
            | Self::Unconfirmed(_)
            | Self::Key(_) => false,
        }
    }
}

impl Refused {
    fn unknown_service() -> Self {
        Self::Rule(OAuthError::new(
            ErrorCode::InvalidTarget,
            "the service of this grant is not configured here",
        ))
    }

    /// `invalid_grant`, nothing changed.
    fn grant(why: &str) -> Self {
        Self::Rule(OAuthError::new(ErrorCode::InvalidGrant, why))
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
            | GrantState::Dead { .. } => Err(Refused::grant("this grant has ended; sign in again")),
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
    let client = client_auth::authenticate(exchange, &headers, &parameters).await?;
    let told = |refused| audit::refused(exchange, &client, refused);
    let issue = match parameters.get("grant_type") {
        Some("authorization_code") => code::redeem(exchange, &client, &parameters).await,
        Some("refresh_token") => refresh::refresh(exchange, &client, &parameters).await,
        Some(CLIENT_CREDENTIALS) => credentials::issue(exchange, &client, &parameters).await,
        Some(_) => Err(Refused::GrantType),
        None => Err(Refused::Missing("grant_type")),
    };
    let issue = issue.map_err(told)?;
    keep_client(exchange, &client).await;
    keys::before_signing(exchange.shared).await;
    let tokens = issue_tokens(exchange, &client, &issue).map_err(told)?;
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
    found.map(Option::<&Resource>::cloned).map_err(|error| Refused::Rule(OAuthError::from(&error)))
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
