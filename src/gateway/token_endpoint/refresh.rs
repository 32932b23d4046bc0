//! `grant_type=refresh_token` (RFC 6749 §6): the MAC first, so that nobody else's token makes us ask the identity provider;
//! then the access rules, by what it says now (T12); then the generations.

use std::sync::Arc;

use super::{Issue, Refused, audit, resource, why_ended};
use crate::gateway::exchange::Exchange;
use crate::gateway::grants::{self, Step, deadline, patiently};
use crate::gateway::keys;
use crate::gateway::people::{self, Access};
use crate::oauth::{
    AttemptId, Client, ErrorCode, Grant, GrantState, OAuthError, Parameters, Presented, Refresh,
    RefreshError, RefreshFact, RefreshOutcome, Resource, RevocationReason, Scopes,
};
use crate::secret;
use crate::store::StoreError;
use crate::token::{RefreshKeys, RefreshToken};
use crate::trouble::Trouble;

const ENDED: &str = "this grant has ended; sign in again";
/// Of a grant that is not there: its record went when its time was over, or a while after it was revoked.
const EXPIRED: &str = "this grant has expired, was revoked a while ago, or is not known here; sign in again";

/// What a request asks for.
struct Asked<'a> {
    exchange: &'a Exchange<'a>,
    client: &'a Client,
    token: RefreshToken,
    keys: Arc<RefreshKeys>,
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
    let token =
        RefreshToken::parse(token).ok_or_else(|| Refused::refresh("this is no refresh token of ours"))?;
    let asked = Asked {
        keys: keys::for_refresh_token(exchange.shared, &token).await,
        token,
        scopes: parameters.get("scope").map(Scopes::parse),
        resource: resource(exchange, parameters)?,
        attempt: AttemptId::new(secret::random()),
        exchange,
        client,
    };
    let access = asked.access().await?;
    let target = (asked.token.grant(), exchange.now);
    let lives = &exchange.site.settings.lives;
    let mut before = None;
    let decided = grants::decide(exchange.shared, lives, target, |grant| {
        asked.decide(grant, access.as_ref(), &mut before)
    });
    decided.await?.unwrap_or_else(|| Err(Refused::refresh(EXPIRED)))
}

impl Asked<'_> {
    /// Whether the service still lets the grant's user in; `None` if this request gets no tokens anyway.
    async fn access(&self) -> Result<Option<Access>, StoreError> {
        let Exchange { shared, site, now, .. } = self.exchange;
        let load = || shared.store.grant(self.token.grant(), *now);
        let Some(grant) = patiently(deadline(), load).await?.map(|loaded| loaded.value) else {
            return Ok(None);
        };
        let (Some(_), Some(service)) = (self.presented(&grant), site.service(&grant.resource)) else {
            return Ok(None);
        };
        let rules = &service.settings.access;
        people::access(self.exchange, rules, &grant.facts, grant.created).await.map(Some)
    }

    /// What the token says, if it is one of this grant and this client.
    fn presented(&self, grant: &Grant) -> Option<Presented> {
        self.keys.check(&self.token, &self.client.id, grant.salt()?)
    }

    fn decide(
        &self,
        grant: Grant,
        access: Option<&Access>,
        before: &mut Option<RefreshFact>,
    ) -> Step<Result<Issue, Refused>> {
        if grant.salt().is_none() {
            return Step::Answer(Err(self.ended(grant)));
        }
        let Some(presented) = self.presented(&grant) else {
            return Step::Answer(Err(Refused::refresh("this refresh token is not one of this client")));
        };
        // A service that is not configured here is no reason to end its grants: it may be back in a minute.
        if self.exchange.site.service(&grant.resource).is_none() {
            return Step::Answer(Err(Refused::unknown_service()));
        }
        let facts = match access {
            Some(Access::Admitted(facts)) => facts.clone(),
            Some(Access::Lost) => return self.lost(grant),
            Some(Access::SignInAgain(why)) => return Step::Answer(Err(Refused::refresh(why))),
            Some(Access::Unavailable(wait)) => return Step::Answer(Err(Refused::Unconfirmed(*wait))),
            // The grant was another one a moment ago.
            None => return Step::Answer(Err(StoreError::Contended.into())),
        };
        // What is written anyway says when and from where, too; a replay writes nothing.
        let (used, now) = (Some(self.exchange.seen()), self.exchange.now);
        let grant = Grant { facts, used, ..grant };
        let refresh = Refresh {
            client: self.client.id.clone(),
            presented,
            scopes: self.scopes.clone(),
            resource: self.resource.clone(),
        };
        match grant.refresh(&refresh, self.attempt, &self.exchange.site.settings.lives, now) {
            Ok(outcome) => advanced(outcome, before),
            Err(error) => refused(error),
        }
    }

    fn lost(&self, grant: Grant) -> Step<Result<Issue, Refused>> {
        let ended = grant.revoke(RevocationReason::AccessLost, self.attempt, self.exchange.now).map(Box::new);
        match ended {
            Some(ended) => Step::Write(ended.clone(), Err(access_lost(ended))),
            None => Step::Answer(Err(Refused::refresh(ENDED))),
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
            GrantState::Revoked { reason, .. } if grant.client == self.client.id => {
                let error = OAuthError::new(ErrorCode::InvalidGrant, revoked(reason));
                Refused::Rule(error, why_ended(&grant.state))
            }
            GrantState::Pending { .. }
            | GrantState::Active { .. }
            | GrantState::Issued { .. }
            | GrantState::Revoked { .. }
            | GrantState::Dead { .. } => Refused::refresh(ENDED),
        }
    }
}

/// What is said to the client of a grant that has been revoked before.
const fn revoked(reason: RevocationReason) -> &'static str {
    match reason {
        RevocationReason::Client => "the application has revoked this grant; sign in again",
        RevocationReason::CodeReused => {
            "the code of this grant was used twice, so it is revoked; sign in again"
        }
        RevocationReason::RefreshReused => {
            "an old refresh token of this grant was used again, so it is revoked; sign in again"
        }
        RevocationReason::AccessLost => "the access rules no longer let this user in; the grant is revoked",
        RevocationReason::Person => "the person has disconnected this application; sign in again",
        RevocationReason::Operator => "the operator has revoked this grant; sign in again",
        RevocationReason::ClientDeleted => {
            "the registration of this client was deleted, and its grants with it"
        }
    }
}

/// A refresh that succeeds. `before` is what this attempt has decided so far: of a commit whose answer from the store was
/// lost, the record says only that it is ours.
fn advanced(outcome: RefreshOutcome, before: &mut Option<RefreshFact>) -> Step<Result<Issue, Refused>> {
    let RefreshOutcome { grant, scopes, generation, fact } = outcome;
    let record = fact.writes().then(|| Box::new(grant.clone()));
    let fact = match fact {
        RefreshFact::Ours => before.unwrap_or(fact),
        RefreshFact::Advanced | RefreshFact::LostWrite | RefreshFact::Replayed => fact,
    };
    *before = Some(fact);
    let issue = Issue::of(scopes, grant);
    let issue = issue.map(|issue| Issue { generation, events: audit::of_refresh(fact), ..issue });
    match record {
        Some(record) => Step::Write(record, issue),
        None => Step::Answer(issue),
    }
}

fn refused(error: RefreshError) -> Step<Result<Issue, Refused>> {
    let told = OAuthError::from(&error);
    match error {
        RefreshError::Invalid(_) | RefreshError::Scope | RefreshError::Target => {
            Step::Answer(Err(Refused::rule(told, Trouble::RefreshFailed)))
        }
        RefreshError::Theft(grant) => Step::Write(grant.clone(), Err(theft(grant))),
    }
}

fn theft(grant: Box<Grant>) -> Refused {
    let error = RefreshError::Theft(grant.clone());
    Refused::Revoked(OAuthError::from(&error), grant)
}

fn access_lost(grant: Box<Grant>) -> Refused {
    let error = OAuthError::new(ErrorCode::InvalidGrant, revoked(RevocationReason::AccessLost));
    Refused::Revoked(error, grant)
}
