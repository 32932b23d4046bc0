//! `POST /introspect` (RFC 7662): a configured client that may asks whether a token would be believed, and what it says.
//!
//! Of an access token it is told what the guard would say, by the revocations that are known here (within two seconds of
//! the process that revoked); of a refresh token what the store says now. Nothing is told of a token that is not
//! active, whatever the reason.

use http::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::client_auth::{self, ClientError};
use super::exchange::{Exchange, noted};
use super::form::{self, BodyReadError};
use super::grants::{deadline, patiently};
use super::guard::{self, Refusal};
use super::reply::{self, WireError};
use super::{Body, clients, keys, revocation};
use crate::oauth::{AttemptId, ClientId, ErrorCode, Grant, GrantId, Refresh};
use crate::secret;
use crate::store::StoreError;
use crate::telemetry::Note;
use crate::token::{Claims, RefreshToken};
use crate::trouble::Trouble;
use crate::upstream::RequestBody;

/// Why nothing is told at all.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Body(#[from] BodyReadError),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// 403: authenticated, or public, and not one of those that may.
    #[error("this client may not introspect tokens (introspect in the configuration)")]
    MayNot,
    #[error("token is missing")]
    Missing,
    /// 503: whether the token is revoked is not known.
    #[error("revocations are not known")]
    Stale,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WireError for Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Client(error) => error.status(),
            Self::MayNot => StatusCode::FORBIDDEN,
            Self::Missing => StatusCode::BAD_REQUEST,
            Self::Stale | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Body(error) => error.code(),
            Self::Client(error) => error.code(),
            Self::MayNot => ErrorCode::UnauthorizedClient,
            Self::Missing => ErrorCode::InvalidRequest,
            Self::Stale | Self::Store(_) => ErrorCode::TemporarilyUnavailable,
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Body(error) => error.trouble(),
            Self::Client(error) => error.trouble(),
            Self::MayNot | Self::Missing => None,
            Self::Stale => Some(Trouble::RedisDown),
            Self::Store(error) => Some(error.trouble()),
        }
    }

    fn challenges_basic(&self) -> bool {
        match self {
            Self::Client(error) => error.challenges_basic(),
            Self::Body(_) | Self::MayNot | Self::Missing | Self::Stale | Self::Store(_) => false,
        }
    }
}

/// RFC 7662 §2.2. Of a token that is not active only that (V2).
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Active(Box<Content>),
    Inactive { active: bool },
}

/// What an active token says. A refresh token has no type, no `iat` and no `jti`.
#[derive(Serialize)]
struct Content {
    active: bool,
    scope: String,
    client_id: ClientId,
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    sub: String,
    aud: String,
    iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    sid: GrantId,
}

const INACTIVE: Told = Told::Inactive { active: false };

/// Answers a resource server.
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Response<Body> {
    if *request.method() != Method::POST {
        return reply::not_allowed("POST");
    }
    introspect(exchange, request).await.unwrap_or_else(|refused| reply::error(exchange, &refused))
}

async fn introspect(
    exchange: &Exchange<'_>,
    request: Request<RequestBody>,
) -> Result<Response<Body>, Refused> {
    let (headers, parameters) = form::parameters(request).await?;
    let client = client_auth::authenticate(exchange, &headers, &parameters).await?;
    if !exchange.site.configured.get(&client.id).is_some_and(|configured| configured.introspect) {
        return Err(Refused::MayNot);
    }
    // `token_type_hint` is not needed: the two kinds look different.
    let token = parameters.get("token").ok_or(Refused::Missing)?;
    let told = match RefreshToken::parse(token) {
        Some(token) => refresh_token(exchange, &token).await?,
        None => access_token(exchange, token).await?,
    };
    let note = Note { client: Some(client.id.to_string()), ..Note::default() };
    Ok(noted(reply::json(StatusCode::OK, &told), note))
}

async fn access_token(exchange: &Exchange<'_>, token: &str) -> Result<Told, Refused> {
    let Some(verified) = revocation::verified(exchange, token).await else { return Ok(INACTIVE) };
    let claims = verified.claims();
    let Some(service) = exchange.site.service(&claims.resource) else { return Ok(INACTIVE) };
    match guard::is_live(exchange.site, exchange.shared, claims, service) {
        Ok(()) => Ok(Told::Active(Box::new(Content::of_claims(claims)))),
        Err(Refusal::Stale) => Err(Refused::Stale),
        Err(
            Refusal::NoToken
            | Refusal::TwoMethods
            | Refusal::Token(_)
            | Refusal::Audience
            | Refusal::AccessChanged
            | Refusal::Revoked
            | Refusal::Scope { .. },
        ) => Ok(INACTIVE),
    }
}

/// What a refresh with this token would come to, without doing it.
async fn refresh_token(exchange: &Exchange<'_>, token: &RefreshToken) -> Result<Told, Refused> {
    let (store, now) = (&exchange.shared.store, exchange.now);
    let lives = &exchange.site.settings.lives;
    let Some(loaded) = patiently(deadline(), || store.grant(token.grant(), now)).await? else {
        return Ok(INACTIVE);
    };
    let grant = loaded.value;
    let keys = keys::for_refresh_token(exchange.shared, token).await;
    let presented = grant.salt().and_then(|salt| keys.check(token, &grant.client, salt));
    let Some(presented) = presented else { return Ok(INACTIVE) };
    let client = patiently(deadline(), || clients::find(exchange, &grant.client)).await?;
    let service = exchange.site.service(&grant.resource);
    let is_let_in = service.is_some_and(|service| service.settings.access.admit(&grant.facts).is_ok());
    if !is_let_in || !client.is_some_and(|client| client.may_refresh()) {
        return Ok(INACTIVE);
    }
    let refresh = Refresh { client: grant.client.clone(), presented, scopes: None, resource: None };
    // Pure: what it decides is thrown away.
    if grant.clone().refresh(&refresh, AttemptId::new(secret::random()), lives, now).is_err() {
        return Ok(INACTIVE);
    }
    let expires = grant.expires(lives).seconds();
    Ok(Told::Active(Box::new(Content::of_grant(grant, &exchange.site.settings.issuer, expires))))
}

impl Content {
    fn of_claims(claims: &Claims) -> Self {
        Self {
            active: true,
            scope: claims.scopes.to_string(),
            client_id: claims.client.clone(),
            username: claims.login.clone(),
            token_type: Some("Bearer"),
            exp: claims.expires.seconds(),
            iat: Some(claims.issued_at.seconds()),
            sub: claims.subject.to_string(),
            aud: claims.resource.to_string(),
            iss: claims.issuer.clone(),
            jti: Some(claims.token_id.clone()),
            sid: claims.grant,
        }
    }

    fn of_grant(grant: Grant, issuer: &str, expires: u64) -> Self {
        Self {
            active: true,
            scope: grant.scopes.to_string(),
            client_id: grant.client,
            username: grant.facts.user.login,
            token_type: None,
            exp: expires,
            iat: None,
            sub: grant.facts.user.subject.to_string(),
            aud: grant.resource.to_string(),
            iss: issuer.to_owned(),
            jti: None,
            sid: grant.id,
        }
    }
}
