//! `/register/<client id>` (RFC 7592): a registered client reads, changes or deletes its own registration, by the token that came
//! with it.
//!
//! Of a client that is unknown, deleted or expired, of one that did not register, and of a wrong token the answer is the same 401:
//! who asks learns nothing about other clients.
//!
//! An update takes effect at once: a sign-in that is under way to a redirect URI that is gone ends with an error page. A code that
//! was sent there before stays good for its minute, since it was bound to that URI when it was issued (RFC 6749 §4.1.3), and only
//! who holds the verifier can redeem it.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::discovery::open_to_all;
use super::exchange::{Exchange, noted};
use super::form::{self, BodyReadError};
use super::grants::{self, Step, deadline, patiently};
use super::guard::Refusal;
use super::registration::{MOST, Registered, trouble_of_registration};
use super::reply::{self, WireError};
use super::{Body, bearer};
use crate::oauth::{
    AttemptId, Client, ClientId, ClientLimits, ClientMetadata, ErrorCode, GrantId, OAuthError,
    RegistrationError, RevocationReason, update,
};
use crate::secret::{self, Secret};
use crate::store::{Loaded, StoreError, Swap};
use crate::telemetry::{Audit, Event, Note};
use crate::trouble::Trouble;
use crate::upstream::RequestBody;

/// What is answered here.
pub(super) const METHODS: &str = "GET, PUT, DELETE, OPTIONS";

/// How often an update that meets another one is tried again.
const ATTEMPTS: usize = 5;

/// Why a registration is neither shown nor changed.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// 401 without `error`: no token came (RFC 6750 §3.1).
    #[error("the registration access token is missing; send it as Authorization: Bearer")]
    NoToken,
    /// 401 `invalid_token`.
    #[error("this is not the registration access token of a client that is registered here")]
    Token,
    /// 400 `invalid_request`: a token in more than one place.
    #[error("the registration access token came in more than one way; send it as Authorization: Bearer")]
    TwoMethods,
    #[error(transparent)]
    Body(#[from] BodyReadError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WireError for Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::Token => StatusCode::UNAUTHORIZED,
            Self::TwoMethods | Self::Registration(_) => StatusCode::BAD_REQUEST,
            Self::Body(error) => error.status(),
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::NoToken | Self::Token => ErrorCode::InvalidToken,
            Self::TwoMethods => ErrorCode::InvalidRequest,
            Self::Body(_) => ErrorCode::InvalidClientMetadata,
            Self::Registration(error) => OAuthError::from(error).code,
            Self::Store(_) => ErrorCode::TemporarilyUnavailable,
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Token => Some(Trouble::ClientUnknown),
            Self::NoToken | Self::TwoMethods => None,
            Self::Body(error) => error.trouble(),
            Self::Registration(error) => trouble_of_registration(error),
            Self::Store(error) => Some(error.trouble()),
        }
    }
}

impl Refused {
    /// The value of `WWW-Authenticate`.
    fn challenge(&self) -> Option<String> {
        let realm = ("realm", "client registration");
        match self {
            Self::NoToken => Some(bearer::challenge(&[realm])),
            Self::Token => Some(bearer::challenge(&[realm, ("error", "invalid_token")])),
            Self::TwoMethods | Self::Body(_) | Self::Registration(_) | Self::Store(_) => None,
        }
    }
}

/// Answers a request of `client` about its registration.
pub(super) async fn endpoint(
    exchange: &Exchange<'_>,
    client: &ClientId,
    request: Request<RequestBody>,
) -> Response<Body> {
    let answer = match *request.method() {
        Method::GET => show(exchange, client, &request).await,
        Method::PUT => change(exchange, client, request).await,
        Method::DELETE => delete(exchange, client, &request).await,
        _ => return open_to_all(reply::not_allowed(METHODS)),
    };
    open_to_all(answer.unwrap_or_else(|refused| refuse(exchange, &refused)))
}

async fn show(
    exchange: &Exchange<'_>,
    id: &ClientId,
    request: &Request<RequestBody>,
) -> Result<Response<Body>, Refused> {
    let token = token(request.headers(), request.uri().query())?;
    let loaded = load(exchange, id, &token).await?;
    Ok(shown(exchange, &loaded.value, &token))
}

async fn change(
    exchange: &Exchange<'_>,
    id: &ClientId,
    request: Request<RequestBody>,
) -> Result<Response<Body>, Refused> {
    let token = token(request.headers(), request.uri().query())?;
    let mut loaded = load(exchange, id, &token).await?;
    let body = form::read(request.into_body(), MOST).await?;
    let metadata = update(&body, id, &exchange.site.settings.redirects, ClientLimits::default())?;
    for _ in 0..ATTEMPTS {
        // How it proves who it is came with it, and is not the client's to change.
        let method = loaded.value.metadata.token_endpoint_auth_method.clone();
        let metadata = ClientMetadata { token_endpoint_auth_method: method, ..metadata.clone() };
        let new = Client { metadata, ..loaded.value.clone() };
        let swap = patiently(deadline(), || exchange.shared.store.swap_client(&loaded, &new));
        if swap.await? == Swap::Done {
            exchange.audit(&Audit {
                client: Some(id.as_str()),
                by: Some("client"),
                ..Audit::of(Event::ClientUpdated)
            });
            return Ok(shown(exchange, &new, &token));
        }
        // Used, changed or deleted meanwhile: look again.
        loaded = load(exchange, id, &token).await?;
    }
    Err(StoreError::Contended.into())
}

/// Its grants end before the record goes, so that a deletion that breaks off can be sent again; and once more after it, for a
/// grant that began in between.
async fn delete(
    exchange: &Exchange<'_>,
    id: &ClientId,
    request: &Request<RequestBody>,
) -> Result<Response<Body>, Refused> {
    let token = token(request.headers(), request.uri().query())?;
    load(exchange, id, &token).await?;
    end_grants(exchange, id).await?;
    patiently(deadline(), || exchange.shared.store.delete_client(id)).await?;
    exchange.audit(&Audit {
        client: Some(id.as_str()),
        by: Some("client"),
        ..Audit::of(Event::ClientDeleted)
    });
    end_grants(exchange, id).await?;
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    reply::set(&mut reply, http::header::CACHE_CONTROL, "no-store");
    Ok(noted(reply, note(id)))
}

async fn end_grants(exchange: &Exchange<'_>, id: &ClientId) -> Result<(), StoreError> {
    let store = &exchange.shared.store;
    for grant in patiently(deadline(), || store.grants_of_client(id, exchange.now)).await? {
        end(exchange, grant.id).await?;
    }
    Ok(())
}

async fn end(exchange: &Exchange<'_>, grant: GrantId) -> Result<(), StoreError> {
    let attempt = AttemptId::new(secret::random());
    let lives = &exchange.site.settings.lives;
    let ended = grants::decide(exchange.shared, lives, (grant, exchange.now), |grant| {
        if grant.attempt == attempt {
            // Revoked by this very attempt, whose answer from the store was lost.
            return Step::Answer(Some(grant));
        }
        match grant.revoke(RevocationReason::ClientDeleted, attempt, exchange.now) {
            Some(grant) => Step::Write(Box::new(grant.clone()), Some(grant)),
            None => Step::Answer(None),
        }
    });
    if let Some(grant) = ended.await?.flatten() {
        exchange.audit(&Audit {
            subject: Some(grant.facts.user.subject.as_str()),
            client: Some(grant.client.as_str()),
            grant: Some(grant.id),
            resource: Some(grant.resource.as_str()),
            by: Some("client"),
            reason: Some("the client deleted its registration"),
            ..Audit::of(Event::GrantRevoked)
        });
    }
    Ok(())
}

/// The registration that `token` manages.
async fn load(exchange: &Exchange<'_>, id: &ClientId, token: &Secret) -> Result<Loaded<Client>, Refused> {
    let store = &exchange.shared.store;
    // A configured client is the operator's to change, also where an older registration has its name.
    let registered = exchange.site.configured.get(id).is_none();
    let loaded = patiently(deadline(), || store.loaded_client(id, exchange.now)).await?;
    loaded.filter(|loaded| registered && loaded.value.is_managed_by(token)).ok_or(Refused::Token)
}

fn token(headers: &HeaderMap, query: Option<&str>) -> Result<Secret, Refused> {
    match bearer::token(headers, query) {
        Ok(token) => Ok(Secret::new(token.to_owned())),
        Err(Refusal::NoToken) => Err(Refused::NoToken),
        Err(Refusal::TwoMethods) => Err(Refused::TwoMethods),
        Err(
            Refusal::Token(_)
            | Refusal::Audience
            | Refusal::AccessChanged
            | Refusal::Revoked
            | Refusal::Scope { .. }
            | Refusal::Stale,
        ) => Err(Refused::Token),
    }
}

fn shown(exchange: &Exchange<'_>, client: &Client, token: &Secret) -> Response<Body> {
    let answer = Registered::new(&exchange.site.settings.issuer, client, token);
    noted(reply::json(StatusCode::OK, &answer), note(&client.id))
}

fn note(client: &ClientId) -> Note {
    Note { client: Some(client.to_string()), ..Note::default() }
}

fn refuse(exchange: &Exchange<'_>, refused: &Refused) -> Response<Body> {
    let mut reply = reply::error(exchange, refused);
    if let Some(challenge) = refused.challenge().and_then(|text| HeaderValue::from_str(&text).ok()) {
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    reply
}
