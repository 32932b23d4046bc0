//! `grant_type=authorization_code` (RFC 6749 §4.1.3): a code is redeemed, once.

use super::{Issue, Refused, resource};
use crate::gateway::exchange::Exchange;
use crate::gateway::grants::{self, Step};
use crate::oauth::{
    AttemptId, Client, Code, CodeVerifier, Grant, OAuthError, Parameters, Redeemed, Redemption,
    RedemptionError,
};
use crate::secret;
use crate::trouble::Trouble;

/// Redeems the code of a request.
pub(super) async fn redeem(
    exchange: &Exchange<'_>,
    client: &Client,
    parameters: &Parameters,
) -> Result<Issue, Refused> {
    let code = parameters.get("code").ok_or(Refused::Missing("code"))?;
    let code = Code::parse(code).ok_or_else(|| Refused::code("this is no code of ours"))?;
    let verifier = parameters.get("code_verifier").ok_or(Refused::Missing("code_verifier"))?;
    let redemption = Redemption {
        client: client.id.clone(),
        // An ill-formed verifier leaves the code untouched (T2).
        verifier: CodeVerifier::parse(verifier)
            .map_err(|error| Refused::rule(error.into(), Trouble::ExchangeFailed))?,
        redirect_uri: parameters.get("redirect_uri").map(str::to_owned),
        resource: resource(exchange, parameters)?,
        code,
    };
    let (salt, attempt) = (secret::random(), AttemptId::new(secret::random()));
    let target = (redemption.code.grant(), exchange.now);
    let lives = &exchange.site.settings.lives;
    let decided = grants::decide(exchange.shared, lives, target, |grant| {
        let used = Some(exchange.seen());
        step(grant.redeem(&redemption, salt, attempt, exchange.now).map(|redeemed| match redeemed {
            Redeemed::Active(grant) => Redeemed::Active(Grant { used, ..grant }),
            ours @ Redeemed::AlreadyOurs(_) => ours,
        }))
    });
    decided.await?.unwrap_or_else(|| Err(Refused::code("this code is unknown or has expired")))
}

fn step(redeemed: Result<Redeemed, RedemptionError>) -> Step<Result<Issue, Refused>> {
    let error = match redeemed {
        Ok(Redeemed::Active(grant)) => return Step::Write(Box::new(grant.clone()), issue(grant)),
        Ok(Redeemed::AlreadyOurs(grant)) => return Step::Answer(issue(grant)),
        Err(error) => error,
    };
    let told = OAuthError::from(&error);
    match error {
        RedemptionError::Invalid(_) | RedemptionError::Target => {
            Step::Answer(Err(Refused::rule(told, Trouble::ExchangeFailed)))
        }
        RedemptionError::WrongVerifier(grant) => {
            Step::Write(grant, Err(Refused::rule(told, Trouble::ExchangeFailed)))
        }
        RedemptionError::Reused(grant) => Step::Write(grant.clone(), Err(Refused::Revoked(told, grant))),
    }
}

fn issue(grant: Grant) -> Result<Issue, Refused> {
    Issue::of(grant.scopes.clone(), grant)
}
