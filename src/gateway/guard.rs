//! The guard: no request reaches a server behind without the [`Admission`] that only this module makes.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::{Revocations, Service, ServiceSettings, Shared, Site, Worker, bearer};
use crate::oauth::{GrantId, Scopes};
use crate::secret::Digest;
use crate::time::Timestamp;
use crate::token::{self, Check, Claims, Finding, Remembered, SigningKeys, TokenCache, TokenError};
use crate::trouble::Trouble;

/// The proof that a request may go to a service.
#[derive(Clone, Debug)]
pub(super) enum Admission {
    /// By a token for this service.
    Token(TokenAdmission),
    /// The service is public.
    Public(PublicAdmission),
}

/// A verified token for this service, whose grant is not revoked.
#[derive(Clone, Debug)]
pub(super) struct TokenAdmission {
    token: Arc<Remembered>,
    is_first: bool,
}

/// The service says `public: true`.
#[derive(Clone, Debug)]
pub(super) struct PublicAdmission {
    _made_by_the_guard: (),
}

impl Admission {
    /// The token's claims; `None` at a public service.
    #[must_use]
    pub(super) fn claims(&self) -> Option<&Claims> {
        match self {
            Self::Token(admission) => Some(admission.claims()),
            Self::Public(_) => None,
        }
    }
}

impl TokenAdmission {
    /// The token's claims.
    #[must_use]
    pub(super) fn claims(&self) -> &Claims {
        self.token.verified().claims()
    }

    /// Grant and generation of a token that this worker has not admitted before: its client got the answer to its refresh,
    /// so the generation is confirmed.
    #[must_use]
    pub(super) fn confirms(&self) -> Option<(GrantId, u64)> {
        self.is_first.then(|| (self.claims().grant, self.claims().generation))
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// No `Authorization: Bearer`: 401 and a challenge without `error` (R1).
    #[error("no token")]
    NoToken,
    /// A token in the query as well as in the header, or several `Authorization` headers: 400 `invalid_request` (R6).
    #[error("more than one way of sending a token")]
    TwoMethods,
    /// 401 `invalid_token` (R4).
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A token for another service: 401 `invalid_token` (R5).
    #[error("the token is for another service")]
    Audience,
    /// The access rules have changed since, or what the configuration lets a client do on its own: 401 `invalid_token`, so that
    /// the client asks for a new one.
    #[error("the access rules have changed")]
    AccessChanged,
    /// The grant was revoked: 401 `invalid_token` (R14).
    #[error("the grant was revoked")]
    Revoked,
    /// 403 `insufficient_scope` with the union of granted and needed scopes (R7, R8).
    #[error("the token lacks a scope")]
    Scope {
        /// Granted and needed.
        union: Scopes,
    },
    /// The revocation feed has been away too long: 503 with `Retry-After`.
    #[error("revocations are not known")]
    Stale,
}

impl Refusal {
    /// The answer's status (RFC 6750 §3.1).
    #[must_use]
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::TwoMethods => StatusCode::BAD_REQUEST,
            Self::NoToken | Self::Token(_) | Self::Audience | Self::AccessChanged | Self::Revoked => {
                StatusCode::UNAUTHORIZED
            }
            Self::Scope { .. } => StatusCode::FORBIDDEN,
            Self::Stale => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What people read to help themselves; none of a request without a token, with which every client begins.
    #[must_use]
    pub(super) const fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::NoToken | Self::TwoMethods => None,
            Self::Token(_) | Self::Audience | Self::AccessChanged | Self::Revoked => {
                Some(Trouble::TokenUnaccepted)
            }
            Self::Scope { .. } => Some(Trouble::ScopeMissing),
            Self::Stale => Some(Trouble::RedisDown),
        }
    }

    /// The challenge's `error`; none where no credentials came (R1) and where they are not at fault.
    #[must_use]
    pub(super) const fn code(&self) -> Option<&'static str> {
        match self {
            Self::NoToken | Self::Stale => None,
            Self::TwoMethods => Some("invalid_request"),
            Self::Token(_) | Self::Audience | Self::AccessChanged | Self::Revoked => Some("invalid_token"),
            Self::Scope { .. } => Some("insufficient_scope"),
        }
    }

    /// The value of `WWW-Authenticate`; `None` where a token would not help (R1, R2, R7, R8).
    #[must_use]
    pub(super) fn challenge(&self, service: &Service) -> Option<String> {
        let description = self.to_string();
        let scope = match self {
            Self::Stale => return None,
            Self::Scope { union } => union,
            Self::NoToken
            | Self::TwoMethods
            | Self::Token(_)
            | Self::Audience
            | Self::AccessChanged
            | Self::Revoked => &service.settings.scopes,
        }
        .to_string();
        let mut parameters = vec![("resource_metadata", service.metadata_url.as_str()), ("scope", &scope)];
        if let Some(code) = self.code() {
            parameters.extend([("error", code), ("error_description", &description)]);
        }
        Some(bearer::challenge(&parameters))
    }
}

/// Decides on a request to `service` by its headers and query. Reads no body, asks no store. After
/// [`TokenError::UnknownKey`] it is worth trying again with reloaded keys.
///
/// # Errors
/// [`Refusal`].
pub(super) fn admit(
    site: &Site,
    shared: &Shared,
    worker: &Worker,
    service: &Service,
    (headers, query): (&HeaderMap, Option<&str>),
) -> Result<Admission, Refusal> {
    if service.settings.public {
        return Ok(Admission::Public(PublicAdmission { _made_by_the_guard: () }));
    }
    let token = bearer::token(headers, query)?;
    Checks::of(site, shared)
        .admit(token, &shared.signing.load(), &worker.tokens, service)
        .map(Admission::Token)
}

/// Whether a verified token would still be believed at `service`, whatever its scopes allow there: what an introspection
/// tells (RFC 7662 §2.2).
///
/// # Errors
/// [`Refusal`].
pub(super) fn is_live(
    site: &Site,
    shared: &Shared,
    claims: &Claims,
    service: &Service,
) -> Result<(), Refusal> {
    Checks::of(site, shared).is_live(claims, service)
}

/// What every token is held against.
struct Checks<'a> {
    issuer: &'a str,
    staleness: Duration,
    revocations: &'a Revocations,
    now: Timestamp,
}

impl<'a> Checks<'a> {
    fn of(site: &'a Site, shared: &'a Shared) -> Self {
        Self {
            issuer: &site.settings.issuer,
            staleness: site.settings.revocation_staleness,
            revocations: &shared.revocations,
            now: shared.clock.now(),
        }
    }

    fn admit(
        &self,
        token: &str,
        keys: &SigningKeys,
        cache: &TokenCache,
        service: &Service,
    ) -> Result<TokenAdmission, Refusal> {
        let digest = Digest::of(token.as_bytes());
        // A key that was given away is trusted no more, whatever it signed and whenever that was verified.
        let remembered = cache.get(&digest).filter(|remembered| keys.trusts(remembered.verified().key()));
        let token = match remembered {
            Some(remembered) => remembered,
            None => cache.insert(digest, token::verify(token, keys, self.issuer, self.now)?),
        };
        self.hold_against(token.verified().claims(), service)?;
        let is_first = token.admit();
        Ok(TokenAdmission { token, is_first })
    }

    /// What a cached signature does not say. The token's own faults come first: a client can mend those.
    fn hold_against(&self, claims: &Claims, service: &Service) -> Result<(), Refusal> {
        self.is_live(claims, service)?;
        let settings = &service.settings;
        if !suffice(&claims.scopes, service) {
            return Err(Refusal::Scope {
                union: claims.scopes.without_offline_access().union(&settings.scopes),
            });
        }
        Ok(())
    }

    fn is_live(&self, claims: &Claims, service: &Service) -> Result<(), Refusal> {
        let settings = &service.settings;
        if claims.issuer != self.issuer {
            return Err(TokenError::Issuer.into());
        }
        if claims.expires <= self.now {
            return Err(TokenError::Expired.into());
        }
        if claims.resource != settings.resource {
            return Err(Refusal::Audience);
        }
        if claims.access != service.access || !service.still_lets_act(claims) {
            return Err(Refusal::AccessChanged);
        }
        if self.revocations.contains(claims.grant) {
            return Err(Refusal::Revoked);
        }
        if !self.revocations.is_fresh(self.staleness, self.now) {
            return Err(Refusal::Stale);
        }
        Ok(())
    }
}

/// Whether a token's scopes are what a service needs. The hierarchy makes a copy of the set; most tokens have what is needed
/// as they are.
fn suffice(scopes: &Scopes, service: &Service) -> bool {
    let ServiceSettings { scopes: needed, implies, .. } = &service.settings;
    scopes.contains_all(needed) || implies.expand(scopes).contains_all(needed)
}

/// Every check of a token at a service by itself, and the verdict, which is [`admit`]'s own.
pub(super) fn inspect(
    site: &Site,
    shared: &Shared,
    service: &Service,
    token: &str,
) -> (Vec<Check>, Result<(), Refusal>) {
    let checks = Checks::of(site, shared);
    checks.inspect(token, &shared.signing.load(), service)
}

impl Checks<'_> {
    fn inspect(
        &self,
        token: &str,
        keys: &SigningKeys,
        service: &Service,
    ) -> (Vec<Check>, Result<(), Refusal>) {
        let mut told = token::inspect(token, keys, self.issuer, self.now);
        if let Some(claims) = token::claimed(token) {
            self.tell(&claims, service, &mut told);
        }
        // A cache of its own: looking at a token is not using it.
        let verdict = self.admit(token, keys, &TokenCache::new(1), service).map(drop);
        if let Err(refusal) = &verdict
            && told.iter().all(|check| check.finding != Finding::Refused)
        {
            told.push(Check::new("token", "accepted", refusal, false));
        }
        (told, verdict)
    }

    /// What [`Self::hold_against`] asks, one by one.
    fn tell(&self, claims: &Claims, service: &Service, told: &mut Vec<Check>) {
        let settings = &service.settings;
        let is_here = claims.resource == settings.resource;
        told.push(Check::new("aud", &settings.resource, &claims.resource, is_here));
        let rules = format!("{}, of the access rules as they are now", service.access);
        told.push(Check::new("acc", rules, &claims.access, claims.access == service.access));
        if claims.subject.is_client() {
            let found = &claims.scopes;
            let allowed = "scopes that the configuration gives this client at this service";
            told.push(Check::new("sub", allowed, found, service.still_lets_act(claims)));
        }
        let revoked = self.revocations.contains(claims.grant);
        let found = format!("{}{}", claims.grant, if revoked { ", revoked" } else { "" });
        told.push(Check::new("sid", "a grant that was not revoked", found, !revoked));
        let fresh = self.revocations.is_fresh(self.staleness, self.now);
        let found = if fresh { "read" } else { "not read for too long: the store is away" };
        told.push(Check::new("revocations", "read lately", found, fresh));
        let needed = format!("{}, or what contains that", settings.scopes);
        told.push(Check::new("scope", needed, &claims.scopes, suffice(&claims.scopes, service)));
    }
}

#[cfg(test)]
pub(super) mod tests;
