//! `grant_type=refresh_token` (RFC 6749 §6): the MAC first, then the access rules, then the generations.

use super::{Issue, Refused, resource};
use crate::gateway::exchange::Exchange;
use crate::gateway::grants::{self, Step};
use crate::oauth::{
    AttemptId, Client, ErrorCode, Grant, GrantState, OAuthError, Parameters, Refresh, RefreshError,
    RefreshOutcome, Resource, RevocationReason, Scopes,
};
use crate::secret;
use crate::telemetry::{Audit, Event};
use crate::token::RefreshToken;

const ENDED: &str = "this grant has ended; sign in again";

/// What a request asks for.
struct Asked<'a> {
    exchange: &'a Exchange<'a>,
    client: &'a Client,
    token: RefreshToken,
    scopes: Option<Scopes>,
    resource: Option<Resource>,
    attempt: AttemptId,
}

/// Refreshes by the token of a request.
pub(super) async fn refresh(
    exchange: &Exchange<'_>,
    client: &Client,
    parameters: &Parameters,
) -> Result<Issue, Refused> {
    let token = parameters.get("refresh_token").ok_or(Refused::Missing("refresh_token"))?;
    if !client.may_refresh() {
        return Err(Refused::MayNot("refresh_token"));
    }
    let asked = Asked {
        token: RefreshToken::parse(token)
            .ok_or_else(|| Refused::grant("this is no refresh token of ours"))?,
        scopes: parameters.get("scope").map(Scopes::parse),
        resource: resource(exchange, parameters)?,
        attempt: AttemptId::new(secret::random()),
        exchange,
        client,
    };
    let target = (asked.token.grant(), exchange.now);
    let lives = &exchange.site.settings.lives;
    let decided = grants::decide(exchange.shared, lives, target, |grant| asked.decide(grant));
    decided.await?.unwrap_or_else(|| Err(Refused::grant("this grant is unknown or has ended; sign in again")))
}

impl Asked<'_> {
    fn decide(&self, grant: Grant) -> Step<Result<Issue, Refused>> {
        let now = self.exchange.now;
        let Some(salt) = grant.salt() else { return Step::Answer(Err(self.ended(grant))) };
        let Some(presented) = self.exchange.shared.refresh.load().check(&self.token, &self.client.id, salt)
        else {
            return Step::Answer(Err(Refused::grant("this refresh token is not one of this client")));
        };
        // A service that is not configured here is no reason to end its grants: it may be back in a minute.
        let Some(service) = self.exchange.site.service(&grant.resource) else {
            return Step::Answer(Err(Refused::unknown_service()));
        };
        // By what was known at the sign-in.
        if service.settings.access.admit(&grant.facts).is_err() {
            let ended = grant.revoke(RevocationReason::AccessLost, self.attempt, now).map(Box::new);
            return match ended {
                Some(ended) => Step::Write(ended.clone(), Err(access_lost(ended))),
                None => Step::Answer(Err(Refused::grant(ENDED))),
            };
        }
        let refresh = Refresh {
            client: self.client.id.clone(),
            presented,
            scopes: self.scopes.clone(),
            resource: self.resource.clone(),
        };
        match grant.refresh(&refresh, self.attempt, &self.exchange.site.settings.lives, now) {
            Ok(outcome) => self.advanced(outcome),
            Err(error) => refused(error),
        }
    }

    fn advanced(&self, outcome: RefreshOutcome) -> Step<Result<Issue, Refused>> {
        let RefreshOutcome { grant, write, scopes, generation, store_lost_write } = outcome;
        if store_lost_write {
            self.exchange.audit(&Audit { grant: Some(grant.id), ..Audit::of(Event::StoreLostWrite) });
        }
        let record = write.then(|| Box::new(grant.clone()));
        let issue = Issue::of(scopes, grant).map(|issue| Issue { generation, ..issue });
        match record {
            Some(record) => Step::Write(record, issue),
            None => Step::Answer(issue),
        }
    }

    /// What is said of a grant that is not active: that it has ended; or, if this very attempt ended it and only the
    /// store's answer was lost, why.
    fn ended(&self, grant: Grant) -> Refused {
        match grant.state {
            GrantState::Revoked { reason, .. } if grant.attempt == self.attempt => match reason {
                RevocationReason::AccessLost => access_lost(Box::new(grant)),
                RevocationReason::RefreshReused
                | RevocationReason::CodeReused
                | RevocationReason::Client
                | RevocationReason::Person
                | RevocationReason::Operator
                | RevocationReason::ClientDeleted => theft(Box::new(grant)),
            },
            GrantState::Pending { .. }
            | GrantState::Active { .. }
            | GrantState::Issued { .. }
            | GrantState::Revoked { .. }
            | GrantState::Dead { .. } => Refused::grant(ENDED),
        }
    }
}

fn refused(error: RefreshError) -> Step<Result<Issue, Refused>> {
    let told = OAuthError::from(&error);
    match error {
        RefreshError::Invalid(_) | RefreshError::Scope | RefreshError::Target => {
            Step::Answer(Err(Refused::Rule(told)))
        }
        RefreshError::Theft(grant) => Step::Write(grant.clone(), Err(theft(grant))),
    }
}

fn theft(grant: Box<Grant>) -> Refused {
    let error = RefreshError::Theft(grant.clone());
    Refused::Revoked(OAuthError::from(&error), grant)
}

fn access_lost(grant: Box<Grant>) -> Refused {
    let why = "the access rules no longer let this user in; the grant is revoked";
    Refused::Revoked(OAuthError::new(ErrorCode::InvalidGrant, why), grant)
}
