//! `POST /register` (RFC 7591). What becomes of a registration later is in [`super::client_configuration`].

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::Body;
use super::discovery::open_to_all;
use super::exchange::{Exchange, noted};
use super::form::{self, BodyReadError};
use super::limits::{self, Hit, Limit};
use super::reply::{self, WireError};
use crate::oauth::{
    Client, ClientId, ClientLimits, ClientMetadata, ErrorCode, OAuthError, RegistrationError, register,
};
use crate::secret::{self, Secret};
use crate::store::StoreError;
use crate::telemetry::{Audit, Event, Note};
use crate::trouble::Trouble;
use crate::upstream::RequestBody;

/// Most bytes of a registration: real ones have less than a tenth of it.
pub(super) const MOST: usize = 16 * 1024;

/// Why a registration is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Body(#[from] BodyReadError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// 429 (G8).
    #[error(transparent)]
    Limit(#[from] Hit),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WireError for Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Registration(_) => StatusCode::BAD_REQUEST,
            Self::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Body(_) => ErrorCode::InvalidClientMetadata,
            Self::Registration(error) => OAuthError::from(error).code,
            Self::Limit(_) | Self::Store(_) => ErrorCode::TemporarilyUnavailable,
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Body(error) => error.trouble(),
            Self::Registration(error) => trouble_of_registration(error),
            Self::Limit(_) => Some(Trouble::RateLimited),
            Self::Store(error) => Some(error.trouble()),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Body(_) | Self::Registration(_) => None,
            Self::Limit(hit) => Some(hit.wait),
            Self::Store(_) => Some(reply::STORE_RETRY),
        }
    }
}

/// What a person can do about a registration that is refused: something, if it is for where answers are to go.
pub(super) fn trouble_of_registration(error: &RegistrationError) -> Option<Trouble> {
    matches!(error, RegistrationError::Redirect { .. }).then_some(Trouble::RedirectInvalid)
}

/// The answer: all metadata as applied, the id, and how to change it (RFC 7592 §3). No secret, so no
/// `client_secret_expires_at` (G1).
#[derive(Serialize)]
pub(super) struct Registered<'a> {
    client_id: &'a ClientId,
    client_id_issued_at: u64,
    registration_access_token: &'a str,
    registration_client_uri: String,
    #[serde(flatten)]
    metadata: &'a ClientMetadata,
}

impl<'a> Registered<'a> {
    /// `token` is the one that manages `client`: the store has only its digest, so it comes from whoever has just made or shown it.
    pub(super) fn new(issuer: &str, client: &'a Client, token: &'a Secret) -> Self {
        Self {
            client_id: &client.id,
            client_id_issued_at: client.issued_at.seconds(),
            registration_access_token: token.expose(),
            registration_client_uri: format!("{issuer}/register/{}", client.id),
            metadata: &client.metadata,
        }
    }
}

/// Registers a client.
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: Request<RequestBody>) -> Response<Body> {
    if *request.method() != Method::POST {
        return open_to_all(reply::not_allowed("POST, OPTIONS"));
    }
    let reply = match create(exchange, request.into_body()).await {
        Ok((client, token)) => created(exchange, &client, &token),
        Err(refused) => reply::error(exchange, &refused),
    };
    open_to_all(reply)
}

async fn create(exchange: &Exchange<'_>, body: RequestBody) -> Result<(Client, Secret), Refused> {
    let settings = &exchange.site.settings;
    let store = &exchange.shared.store;
    let body = form::read(body, MOST).await?;
    let metadata = register(&body, &settings.redirects, ClientLimits::default())?;
    limits::count(exchange, Limit::Register).await??;
    let token = Secret::random();
    let client = Client {
        id: ClientId::issue(secret::random()),
        metadata,
        issued_at: exchange.now,
        expires: exchange.now.after(Client::UNUSED),
        registration_token: Some(token.digest()),
        secret: None,
    };
    let evicted = store.add_client(&client, settings.limits.unused_clients, exchange.now).await?;
    for id in &evicted {
        exchange.audit(&Audit {
            client: Some(id.as_str()),
            by: Some("gateway"),
            reason: Some("limits.unused_clients"),
            ..Audit::of(Event::ClientEvicted)
        });
    }
    exchange.audit(&Audit { client: Some(client.id.as_str()), ..Audit::of(Event::ClientRegistered) });
    Ok((client, token))
}

fn created(exchange: &Exchange<'_>, client: &Client, token: &Secret) -> Response<Body> {
    let answer = Registered::new(&exchange.site.settings.issuer, client, token);
    let note = Note { client: Some(client.id.to_string()), ..Note::default() };
    noted(reply::json(StatusCode::CREATED, &answer), note)
}
