//! `POST /revoke` (RFC 7009): either token ends its grant.

use http::{Method, Request, Response, StatusCode};

use super::client_auth::{self, ClientError};
use super::discovery::open_to_all;
use super::exchange::Exchange;
use super::form::{self, BodyReadError};
use super::grants::{self, Step};
use super::reply::{self, WireError};
use super::{Body, keys};
use crate::oauth::{AttemptId, Client, ErrorCode, Grant, GrantId, RevocationReason};
use crate::secret;
use crate::store::{RingKind, StoreError};
use crate::telemetry::{Audit, Event};
use crate::token::{RefreshToken, TokenError, Verified, verify};
use crate::trouble::Trouble;
use crate::upstream::RequestBody;

/// Why nothing is revoked.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Body(#[from] BodyReadError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("token is missing")]
    Missing,
    /// RFC 7009 §2.1.
    #[error("this token was issued to another client")]
    Foreign,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WireError for Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Client(error) => error.status(),
            Self::Missing | Self::Foreign => StatusCode::BAD_REQUEST,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Body(error) => error.code(),
            Self::Client(error) => error.code(),
            Self::Missing => ErrorCode::InvalidRequest,
            Self::Foreign => ErrorCode::InvalidGrant,
            Self::Store(_) => ErrorCode::TemporarilyUnavailable,
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Body(error) => error.trouble(),
            Self::Client(error) => error.trouble(),
            Self::Missing | Self::Foreign => None,
            Self::Store(error) => Some(error.trouble()),
        }
    }

    fn challenges_basic(&self) -> bool {
        match self {
            Self::Client(error) => error.challenges_basic(),
            Self::Body(_) | Self::Missing | Self::Foreign | Self::Store(_) => false,
        }
    }
}

/// Revokes a grant; 200 for a token that is not known (V1).
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Response<Body> {
    if *request.method() != Method::POST {
        return open_to_all(reply::not_allowed("POST, OPTIONS"));
    }
    let reply = match revoke(exchange, request).await {
        Ok(()) => reply::json(StatusCode::OK, &serde_json::json!({})),
        Err(refused) => reply::error(exchange, &refused),
    };
    open_to_all(reply)
}

async fn revoke(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Result<(), Refused> {
    let (headers, parameters) = form::parameters(request).await?;
    let client = client_auth::authenticate(exchange, &headers, &parameters).await?;
    let token = parameters.get("token").ok_or(Refused::Missing)?;
    if let Some(token) = RefreshToken::parse(token) {
        let keys = keys::for_refresh_token(exchange.shared, &token).await;
        let proven =
            |grant: &Grant| grant.salt().is_some_and(|salt| keys.check(&token, &client.id, salt).is_some());
        return end(exchange, &client, token.grant(), proven).await;
    }
    let Some(verified) = verified(exchange, token).await else { return Ok(()) };
    if verified.claims().client != client.id {
        return Err(Refused::Foreign);
    }
    end(exchange, &client, verified.claims().grant, |_| true).await
}

/// The access token, once more with fresh keys if it names one that another process made.
pub(super) async fn verified(exchange: &Exchange<'_>, token: &str) -> Option<Verified> {
    let issuer = &exchange.site.settings.issuer;
    let verify = || verify(token, &exchange.shared.signing.load(), issuer, exchange.now);
    match verify() {
        Err(TokenError::UnknownKey(Some(_))) => {
            keys::reload(exchange.shared, RingKind::Signing).await;
            verify().ok()
        }
        known => known.ok(),
    }
}

async fn end(
    exchange: &Exchange<'_>,
    client: &Client,
    grant: GrantId,
    proven: impl Fn(&Grant) -> bool,
) -> Result<(), Refused> {
    let attempt = AttemptId::new(secret::random());
    let lives = &exchange.site.settings.lives;
    let ended = grants::decide(exchange.shared, lives, (grant, exchange.now), |grant| {
        if grant.attempt == attempt {
            // Revoked by this very attempt, whose answer from the store was lost.
            return Step::Answer(Some(grant));
        }
        if grant.client != client.id || !proven(&grant) {
            return Step::Answer(None);
        }
        match grant.revoke(RevocationReason::Client, attempt, exchange.now) {
            Some(grant) => Step::Write(Box::new(grant.clone()), Some(grant)),
            None => Step::Answer(None),
        }
    });
    if let Some(grant) = ended.await?.flatten() {
        let by = Some(RevocationReason::Client.by());
        exchange.audit(&Audit { by, ..Audit::of_grant(Event::GrantRevoked, &grant) });
    }
    Ok(())
}
