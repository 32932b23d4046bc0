//! `grant_type=client_credentials` (RFC 6749 §4.4): a configured client acts on its own, within what the configuration gives
//! it. The grant is one access token long: listed and revocable as any other, and nothing to refresh it with.

use super::{Issue, Refused, resource};
use crate::gateway::Service;
use crate::gateway::configured::ClientSettings;
use crate::gateway::exchange::Exchange;
use crate::gateway::grants::{deadline, patiently};
use crate::oauth::{
    AttemptId, Client, ErrorCode, Facts, Grant, GrantId, Issuance, OAuthError, Parameters, Resource, Scope,
    Scopes, Subject, User,
};
use crate::secret;
use crate::telemetry::Event;
use crate::trouble::Trouble;

/// Begins a grant of an authenticated client to itself.
pub(super) async fn issue(
    exchange: &Exchange<'_>,
    client: &Client,
    parameters: &Parameters,
) -> Result<Issue, Refused> {
    let configured = exchange.site.configured.get(&client.id).filter(|one| one.client.may_act_alone());
    let configured = configured.ok_or(Refused::MayNot("client_credentials"))?;
    let (resource, allowed) = target(configured, resource(exchange, parameters)?)?;
    let service = exchange.site.service(resource).ok_or_else(Refused::unknown_service)?;
    let scopes = grantable(service, allowed, parameters.get("scope"))?;
    let issuance = Issuance {
        id: GrantId::new(secret::random()),
        client: client.id.clone(),
        facts: facts(client),
        resource: resource.clone(),
        scopes: scopes.clone(),
    };
    let (lives, now) = (&exchange.site.settings.lives, exchange.now);
    let grant = Grant::issue(issuance, AttemptId::new(secret::random()), now, now.after(lives.access));
    patiently(deadline(), || exchange.shared.store.begin_grant(&grant, lives)).await?;
    Ok(Issue { grant, generation: 0, salt: None, scopes, events: &[Event::TokenIssued] })
}

/// The service that is asked for, or the only one there is, and the scopes that the configuration lists there.
fn target(configured: &ClientSettings, asked: Option<Resource>) -> Result<(&Resource, &Scopes), Refused> {
    let refused =
        |why: &str| Refused::rule(OAuthError::new(ErrorCode::InvalidTarget, why), Trouble::WrongUrl);
    let mut services = configured.services.iter();
    match (asked, services.next(), services.next()) {
        (Some(asked), ..) => configured
            .services
            .get_key_value(&asked)
            .ok_or_else(|| refused("this client may not use this service")),
        (None, Some(only), None) => Ok(only),
        (None, ..) => Err(refused("this client may use several services; name one with resource")),
    }
}

/// What is granted: what is asked for and what every request needs, or all that is listed. What is listed implies more, which
/// may be asked for too. `offline_access`, which clients add to whatever they ask for, grants nothing here and is passed over.
fn grantable(service: &Service, listed: &Scopes, asked: Option<&str>) -> Result<Scopes, Refused> {
    let refused =
        |why: &str| Refused::rule(OAuthError::new(ErrorCode::InvalidScope, why), Trouble::ScopeMissing);
    let Some(asked) = asked else { return Ok(listed.clone()) };
    let asked: Option<Scopes> =
        asked.split_ascii_whitespace().filter(|one| *one != "offline_access").map(Scope::parse).collect();
    let asked = asked.ok_or_else(|| refused("scope has characters that no scope has"))?;
    if asked.is_empty() {
        return Ok(listed.clone());
    }
    let allowed = service.settings.implies.expand(listed);
    if !allowed.contains_all(&asked) {
        return Err(refused("this client may not have one of these scopes at this service"));
    }
    Ok(asked.union(&service.settings.scopes))
}

/// The client, where otherwise a person stands.
fn facts(client: &Client) -> Facts {
    let login = client.metadata.client_name.clone().unwrap_or_else(|| client.id.to_string());
    let user = User { subject: Subject::of_client(&client.id), login, email: None };
    Facts { user, pinned: Vec::new(), orgs: Vec::new(), teams: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::reply::WireError;
    use crate::gateway::testing::service;

    fn granted(listed: &str, asked: Option<&str>) -> Result<String, &'static str> {
        let granted = grantable(&service(), &Scopes::parse(listed), asked);
        granted.map(|scopes| scopes.to_string()).map_err(|error| error.code().as_str())
    }

    #[test]
    fn no_more_is_granted_than_is_listed_and_never_less_than_every_request_needs() {
        for (listed, asked, scopes) in [
            ("todo:read", None, Ok("todo:read")),
            ("todo:read todo:write", None, Ok("todo:read todo:write")),
            ("todo:read todo:write", Some("todo:read"), Ok("todo:read")),
            ("todo:write", Some(" todo:read "), Ok("todo:read")),
            ("todo:read todo:write", Some("todo:write offline_access"), Ok("todo:read todo:write")),
            ("todo:read", Some("offline_access"), Ok("todo:read")),
            ("todo:read", Some("todo:write"), Err("invalid_scope")),
            ("todo:read", Some("todo:read unheard-of"), Err("invalid_scope")),
            ("todo:read", Some("todo:read \\"), Err("invalid_scope")),
        ] {
            assert_eq!(granted(listed, asked), scopes.map(str::to_owned), "{listed}: {asked:?}");
        }
    }
}
