//! `POST /token` (RFC 6749 §3.2): a code or a refresh token becomes an access token.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use super::client_auth::{self, ClientError};
use super::discovery::open_to_all;
use super::exchange::{Exchange, Note, noted};
use super::form::{self, BodyReadError};
use super::grants::{self, Step};
use super::reply::{self, WireError};
use super::{Body, Service};
use crate::oauth::{
    AttemptId, Client, Code, CodeVerifier, ErrorCode, Grant, GrantState, OAuthError, Parameters, Redeemed,
    Redemption, RedemptionError, Refresh, RefreshError, Resource, RevocationReason, Scopes,
};
use crate::secret;
use crate::store::StoreError;
use crate::telemetry::audit;
use crate::token::{Claims, KeyError, RefreshToken};

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Body(#[from] BodyReadError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("grant_type must be authorization_code or refresh_token")]
    GrantType,
    /// T13.
    #[error("this client did not register the grant type refresh_token")]
    MayNotRefresh,
    /// By a rule of OAuth; the sentence says which.
    #[error("{}", .0.description)]
    Rule(OAuthError),
    /// The same, and the grant is revoked (T3, T9).
    #[error("{}", .0.description)]
    Revoked(OAuthError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl WireError for Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Client(error) => error.status(),
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Key(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Missing(_) | Self::GrantType | Self::MayNotRefresh | Self::Rule(_) | Self::Revoked(_) => {
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
            Self::MayNotRefresh => ErrorCode::UnauthorizedClient,
            Self::Rule(error) | Self::Revoked(error) => error.code,
            Self::Store(_) => ErrorCode::TemporarilyUnavailable,
            Self::Key(_) => ErrorCode::ServerError,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(reply::STORE_RETRY)
    }

    fn challenges_basic(&self) -> bool {
        match self {
            Self::Client(error) => error.challenges_basic(),
            Self::Body(_)
            | Self::Missing(_)
            | Self::GrantType
            | Self::MayNotRefresh
            | Self::Rule(_)
            | Self::Revoked(_)
            | Self::Store(_)
            | Self::Key(_) => false,
        }
    }
}

impl Refused {
    /// `invalid_grant`, nothing changed.
    fn grant(why: &str) -> Self {
        Self::Rule(OAuthError::new(ErrorCode::InvalidGrant, why))
    }

    fn access_lost() -> Self {
        let why = "the access rules no longer let this user in; the grant is revoked";
        Self::Revoked(OAuthError::new(ErrorCode::InvalidGrant, why))
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

/// What both grant types come to.
struct Issue {
    grant: Grant,
    generation: u64,
    salt: [u8; 16],
    scopes: Scopes,
}

/// Answers a token request.
pub(super) async fn endpoint(exchange: &Exchange<'_>, request: Request<Incoming>) -> Response<Body> {
    if *request.method() != Method::POST {
        return open_to_all(reply::not_allowed("POST, OPTIONS"));
    }
    open_to_all(answer(exchange, request).await.unwrap_or_else(|refused| reply::error(&refused)))
}

async fn answer(exchange: &Exchange<'_>, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
    let (headers, parameters) = form::parameters(request).await?;
    let client = client_auth::authenticate(exchange, &headers, &parameters).await?;
    let issue = match parameters.get("grant_type").ok_or(Refused::Missing("grant_type"))? {
        "authorization_code" => redeem(exchange, &client, &parameters).await?,
        "refresh_token" => refresh(exchange, &client, &parameters).await?,
        _ => return Err(Refused::GrantType),
    };
    let tokens = issue_tokens(exchange, &client, &issue)?;
    let note = Note {
        subject: Some(issue.grant.facts.user.subject.to_string()),
        client: Some(client.id.to_string()),
        ..Note::default()
    };
    Ok(noted(reply::json(StatusCode::OK, &tokens), note))
}

async fn redeem(exchange: &Exchange<'_>, client: &Client, parameters: &Parameters) -> Result<Issue, Refused> {
    let code = parameters.get("code").ok_or(Refused::Missing("code"))?;
    let code = Code::parse(code).ok_or_else(|| Refused::grant("this is no code of ours"))?;
    let verifier = parameters.get("code_verifier").ok_or(Refused::Missing("code_verifier"))?;
    let redemption = Redemption {
        client: client.id.clone(),
        verifier: CodeVerifier::parse(verifier).map_err(|error| Refused::Rule(error.into()))?,
        redirect_uri: parameters.get("redirect_uri").map(str::to_owned),
        resource: resource(exchange, parameters)?,
        code,
    };
    let (salt, attempt) = (secret::random(), AttemptId::new(secret::random()));
    let lives = &exchange.site.settings.lives;
    let target = (redemption.code.grant(), exchange.now);
    let decided = grants::decide(exchange.shared, lives, target, |grant| {
        match grant.redeem(&redemption, salt, attempt, exchange.now) {
            Ok(Redeemed::Active(grant)) => Step::Write(Box::new(grant.clone()), Ok(grant)),
            Ok(Redeemed::AlreadyOurs(grant)) => Step::Answer(Ok(grant)),
            Err(error) => {
                let told = OAuthError::from(&error);
                match error {
                    RedemptionError::Invalid(_) | RedemptionError::Target => {
                        Step::Answer(Err(Refused::Rule(told)))
                    }
                    RedemptionError::WrongVerifier(grant) => Step::Write(grant, Err(Refused::Rule(told))),
                    RedemptionError::Reused(grant) => Step::Write(grant, Err(Refused::Revoked(told))),
                }
            }
        }
    });
    let grant = decided.await?.unwrap_or_else(|| Err(Refused::grant("this code is unknown or has expired")));
    let grant = grant.inspect_err(|refused| audit_refusal(exchange, client, refused))?;
    keep_client(exchange, client).await;
    let (salt, generation) = active(&grant).ok_or_else(|| Refused::grant("this grant has ended"))?;
    Ok(Issue { scopes: grant.scopes.clone(), salt, generation, grant })
}

async fn refresh(
    exchange: &Exchange<'_>,
    client: &Client,
    parameters: &Parameters,
) -> Result<Issue, Refused> {
    let token = parameters.get("refresh_token").ok_or(Refused::Missing("refresh_token"))?;
    if !client.may_refresh() {
        return Err(Refused::MayNotRefresh);
    }
    let token =
        RefreshToken::parse(token).ok_or_else(|| Refused::grant("this is no refresh token of ours"))?;
    let scopes = parameters.get("scope").map(Scopes::parse);
    let resource = resource(exchange, parameters)?;
    let attempt = AttemptId::new(secret::random());
    let lives = &exchange.site.settings.lives;
    let target = (token.grant(), exchange.now);
    let decided = grants::decide(exchange.shared, lives, target, |grant| {
        let Some((salt, _)) = active(&grant) else {
            return Step::Answer(Err(Refused::grant("this grant has ended; sign in again")));
        };
        let Some(presented) = exchange.shared.refresh.load().check(&token, &client.id, &salt) else {
            return Step::Answer(Err(Refused::grant("this refresh token is not one of this client")));
        };
        if !still_allowed(exchange, &grant) {
            return match grant.revoke(RevocationReason::AccessLost, attempt, exchange.now) {
                Some(grant) => Step::Write(Box::new(grant), Err(Refused::access_lost())),
                None => Step::Answer(Err(Refused::grant("this grant has ended; sign in again"))),
            };
        }
        let refresh = Refresh {
            client: client.id.clone(),
            presented,
            scopes: scopes.clone(),
            resource: resource.clone(),
        };
        decide_refresh(grant, &refresh, attempt, exchange)
    });
    let issue = decided
        .await?
        .unwrap_or_else(|| Err(Refused::grant("this grant is unknown or has ended; sign in again")));
    let issue = issue.inspect_err(|refused| audit_refusal(exchange, client, refused))?;
    keep_client(exchange, client).await;
    Ok(issue)
}

fn decide_refresh(
    grant: Grant,
    refresh: &Refresh,
    attempt: AttemptId,
    exchange: &Exchange<'_>,
) -> Step<Result<Issue, Refused>> {
    match grant.refresh(refresh, attempt, &exchange.site.settings.lives, exchange.now) {
        Ok(outcome) => {
            if outcome.store_lost_write {
                tracing::warn!(target: "audit", grant = %outcome.grant.id, "the store had lost a refresh");
            }
            let Some((salt, _)) = active(&outcome.grant) else {
                return Step::Answer(Err(Refused::grant("this grant has ended; sign in again")));
            };
            let issue =
                Issue { grant: outcome.grant, generation: outcome.generation, salt, scopes: outcome.scopes };
            if outcome.write {
                Step::Write(Box::new(issue.grant.clone()), Ok(issue))
            } else {
                Step::Answer(Ok(issue))
            }
        }
        Err(error) => {
            let told = OAuthError::from(&error);
            match error {
                RefreshError::Invalid(_) | RefreshError::Scope | RefreshError::Target => {
                    Step::Answer(Err(Refused::Rule(told)))
                }
                RefreshError::Theft(grant) => Step::Write(grant, Err(Refused::Revoked(told))),
            }
        }
    }
}

/// Whether the access rules of the grant's service still let its user in, by what was known at the sign-in.
fn still_allowed(exchange: &Exchange<'_>, grant: &Grant) -> bool {
    let service = exchange.site.service(&grant.resource);
    service.is_some_and(|service| service.settings.access.admit(&grant.facts).is_ok())
}

fn active(grant: &Grant) -> Option<([u8; 16], u64)> {
    match &grant.state {
        GrantState::Active { salt, generation, .. } => Some((*salt, *generation)),
        GrantState::Pending { .. } | GrantState::Revoked { .. } | GrantState::Dead { .. } => None,
    }
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
    let service = exchange
        .site
        .service(&issue.grant.resource)
        .ok_or_else(|| Refused::grant("the service of this grant is no longer here"))?;
    let lives = &exchange.site.settings.lives;
    let claims = claims(exchange, service, issue);
    let refresh = exchange.shared.refresh.load();
    let refresh_token = client
        .may_refresh()
        .then(|| refresh.mint(issue.grant.id, &client.id, issue.generation, &issue.salt).expose().to_owned());
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

fn audit_refusal(exchange: &Exchange<'_>, client: &Client, refused: &Refused) {
    if let Refused::Revoked(reason) = refused {
        audit("grant revoked", None, Some(client.id.as_str()), Some(exchange.address), &reason.description);
    }
}
