//! A token or code taken apart: claim by claim, what is expected, what it says, and whether it would be accepted.

use serde::{Deserialize, Serialize};

use super::{Operator, Unknown};
use crate::gateway::guard::{self, Refusal};
use crate::gateway::{Service, clients, keys};
use crate::oauth::OAuthError;
use crate::oauth::{AttemptId, Code, Grant, GrantId, GrantState, Presented, Refresh, RefreshError};
use crate::policy::Judgement;
use crate::secret::Secret;
use crate::store::{RingKind, StoreError};
use crate::token::{self, Check, Claims, Finding, RefreshToken, TokenError};

/// What was inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// For services.
    AccessToken,
    /// For `/token`.
    RefreshToken,
    /// For `/token`, once.
    Code,
    /// Nothing that this gateway makes.
    Unknown,
}

/// What there is to say of a token. Nothing of it is secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inspection {
    /// What it is.
    pub kind: TokenKind,
    /// Where it was held against.
    pub at: String,
    /// Whether it would be accepted there now.
    pub accepted: bool,
    /// The verdict in a sentence.
    pub verdict: String,
    /// Check by check.
    pub checks: Vec<Check>,
}

impl Operator {
    /// Takes a token apart. Without a service an access token is held against the one it is for, everything else against
    /// `/token`.
    ///
    /// # Errors
    /// [`StoreError`] outside, [`Unknown::Service`] inside.
    pub async fn inspect(
        &self,
        token: &Secret,
        service: Option<&str>,
    ) -> Result<Result<Inspection, Unknown>, StoreError> {
        let service = match service.map(|name| self.service(name)).transpose() {
            Ok(service) => service,
            Err(unknown) => return Ok(Err(unknown)),
        };
        let text = token.expose();
        let (kind, checks) = if let Some(refresh) = RefreshToken::parse(text) {
            (TokenKind::RefreshToken, self.of_refresh_token(&refresh).await?)
        } else if let Some(code) = Code::parse(text) {
            (TokenKind::Code, self.of_code(&code).await?)
        } else if text.split('.').count() == 3 {
            return self.of_access_token(text, service).await.map(Ok);
        } else {
            return Ok(Ok(unknown(text, service)));
        };
        Ok(Ok(elsewhere(kind, checks, service)))
    }

    async fn of_access_token(
        &self,
        token: &str,
        service: Option<&std::sync::Arc<Service>>,
    ) -> Result<Inspection, StoreError> {
        let claims = token::claimed(token);
        let meant = claims.as_ref().and_then(|claims| self.site.service(&claims.resource));
        let Some(service) = service.or(meant) else { return Ok(self.of_no_service(token)) };
        let (mut checks, mut verdict) = guard::inspect(&self.site, &self.shared, service, token);
        if let Err(Refusal::Token(TokenError::UnknownKey(Some(_)))) = verdict {
            keys::reload(&self.shared, RingKind::Signing).await;
            (checks, verdict) = guard::inspect(&self.site, &self.shared, service, token);
        }
        if let Some(claims) = &claims {
            self.add_asides(claims, service, &mut checks).await?;
        }
        let name = &service.settings.name;
        let (accepted, verdict) = match verdict {
            _ if service.settings.public => (true, format!("{name} is public: it asks for no token")),
            Ok(()) => (true, format!("{name} accepts it")),
            Err(refusal) => {
                (false, format!("{name} refuses it with {}: {refusal}", refusal.status().as_u16()))
            }
        };
        Ok(Inspection { kind: TokenKind::AccessToken, at: name.clone(), accepted, verdict, checks })
    }

    /// A token whose audience is nobody here.
    fn of_no_service(&self, token: &str) -> Inspection {
        let keys = self.shared.signing.load();
        let checks = token::inspect(token, &keys, &self.site.settings.issuer, self.now());
        let found = token::claimed(token).map_or_else(String::new, |claims| claims.resource.to_string());
        let aud = Check::new("aud", "the URL of a service here", found, false);
        Inspection {
            kind: TokenKind::AccessToken,
            at: "any service".to_owned(),
            accepted: false,
            verdict: "no service here accepts it".to_owned(),
            checks: [checks, vec![aud]].concat(),
        }
    }

    /// What the guard does not ask on a request, and an operator wants to know.
    async fn add_asides(
        &self,
        claims: &Claims,
        service: &Service,
        checks: &mut Vec<Check>,
    ) -> Result<(), StoreError> {
        let grant = self.shared.store.grant(claims.grant, self.now()).await?.map(|loaded| loaded.value);
        let is_live = grant.as_ref().is_some_and(is_live);
        checks.push(Check::aside("grant", "in use", grant.as_ref().map_or("gone", state), is_live));
        // Of a client that acts on its own the configuration decides, which the guard has asked.
        if !claims.subject.is_client() {
            let (found, is_in) = told(self.judge(&service.settings.access, &claims.subject).await?);
            checks.push(Check::aside("sub", "let in by the access rules, for the next token", found, is_in));
        }
        let known = self.is_known(&claims.client).await?;
        let found = if known { claims.client.as_str() } else { "not registered (any more)" };
        checks.push(Check::aside("client_id", "a client that is known, for the next token", found, known));
        Ok(())
    }

    async fn is_known(&self, client: &crate::oauth::ClientId) -> Result<bool, StoreError> {
        Ok(client.as_str() == super::issue::CLIENT
            || clients::find_at((&self.site, &self.shared), client, self.now()).await?.is_some())
    }

    async fn of_refresh_token(&self, token: &RefreshToken) -> Result<Vec<Check>, StoreError> {
        let keys = keys::for_refresh_token(&self.shared, token).await;
        let key = if keys.knows(token) { "known" } else { "not known, or given up" };
        let mut checks = vec![Check::new("key", "known", key, keys.knows(token))];
        let Some(grant) = self.grant(token.grant(), &mut checks).await? else { return Ok(checks) };
        let Some(presented) = grant.salt().and_then(|salt| keys.check(token, &grant.client, salt)) else {
            checks.push(Check::new("mac", "ours", "not checked, or not ours", false));
            return Ok(checks);
        };
        checks.push(Check::new("mac", "ours", "ours", true));
        let (expected, found) = (current(&grant), presented.generation);
        checks.push(Check::aside("generation", expected, found, expected == found));
        let known = self.is_known(&grant.client).await?;
        checks.push(Check::new("client", "known", &grant.client, known));
        checks.push(self.of_rules(&grant).await?);
        checks.push(self.of_refresh(grant, presented));
        Ok(checks)
    }

    /// What `/token` would decide, as of now.
    fn of_refresh(&self, grant: Grant, presented: Presented) -> Check {
        let refresh = Refresh { client: grant.client.clone(), presented, scopes: None, resource: None };
        let attempt = AttemptId::new(crate::secret::random());
        let decided = grant.refresh(&refresh, attempt, self.lives(), self.now());
        let found = match &decided {
            Ok(outcome) if outcome.fact.writes() => "yields the next tokens".to_owned(),
            Ok(_) => "yields the newest tokens again".to_owned(),
            Err(RefreshError::Theft(_)) => "would end the grant: it was replaced, and comes again".to_owned(),
            Err(error) => OAuthError::from(error).description,
        };
        Check::new("refresh", "yields tokens", found, decided.is_ok())
    }

    async fn of_rules(&self, grant: &Grant) -> Result<Check, StoreError> {
        let Some(service) = self.site.service(&grant.resource) else {
            return Ok(Check::new("service", "configured", &grant.resource, false));
        };
        let subject = &grant.facts.user.subject;
        let (found, is_in) = told(self.judge(&service.settings.access, subject).await?);
        Ok(Check::new("user", "let in by the access rules", format!("{subject}, {found}"), is_in))
    }

    async fn of_code(&self, code: &Code) -> Result<Vec<Check>, StoreError> {
        let mut checks = Vec::new();
        let Some(grant) = self.grant(code.grant(), &mut checks).await? else { return Ok(checks) };
        let presented = code.text().digest();
        let (is_ours, found) = match &grant.state {
            GrantState::Pending { code, until, .. } => {
                let found = if self.now() < *until { "not used yet" } else { "expired" };
                (*code == presented && self.now() < *until, found)
            }
            GrantState::Active { code, .. } if *code == presented => {
                (false, "used already; a second use ends the grant")
            }
            GrantState::Dead { .. } => (false, "given up: it came with a wrong code_verifier"),
            GrantState::Active { .. } | GrantState::Issued { .. } => (false, "not this grant's"),
            GrantState::Revoked { .. } => (false, "its grant was revoked"),
        };
        checks.push(Check::new("code", "this grant's, not used and not expired", found, is_ours));
        let known = self.is_known(&grant.client).await?;
        checks.push(Check::new("client", "known", &grant.client, known));
        Ok(checks)
    }

    async fn grant(&self, id: GrantId, checks: &mut Vec<Check>) -> Result<Option<Grant>, StoreError> {
        let grant = self.shared.store.grant(id, self.now()).await?.map(|loaded| loaded.value);
        let found = grant.as_ref().map_or("gone, or never there", state);
        let is_good = grant.as_ref().is_some_and(is_live);
        checks.push(Check::new("grant", "in use", format!("{id}: {found}"), is_good));
        Ok(grant)
    }
}

/// What the access rules say, and whether tokens would be issued: who is in doubt is asked after at the refresh.
fn told(judgement: Judgement) -> (String, bool) {
    match judgement {
        Judgement::Admitted(_) => ("let in".to_owned(), true),
        Judgement::Unknown => ("the identity provider is asked at the next refresh".to_owned(), true),
        Judgement::Hidden(of) => (format!("{of} hides its members"), false),
        Judgement::Lost(refused) => (refused.to_string(), false),
    }
}

/// Something for `/token`, which no service accepts.
fn elsewhere(
    kind: TokenKind,
    mut checks: Vec<Check>,
    service: Option<&std::sync::Arc<Service>>,
) -> Inspection {
    let what = match kind {
        TokenKind::Code => "a code",
        TokenKind::RefreshToken => "a refresh token",
        TokenKind::AccessToken | TokenKind::Unknown => "no access token",
    };
    let good = checks.iter().all(|check| check.finding != Finding::Refused);
    let Some(service) = service else {
        let verdict = if good { "would accept" } else { "refuses" };
        let verdict = format!("this is {what}: /token {verdict} it");
        return Inspection { kind, at: "/token".to_owned(), accepted: good, verdict, checks };
    };
    let name = service.settings.name.clone();
    checks.insert(0, Check::new("kind", "an access token", what, false));
    let verdict = format!("this is {what}, for /token only: {name} refuses it");
    Inspection { kind, at: name, accepted: false, verdict, checks }
}

fn unknown(token: &str, service: Option<&std::sync::Arc<Service>>) -> Inspection {
    let parts = token.split('.').count();
    let found = format!("{parts} of them, {} characters", token.len());
    let expected = "an access token has 3 parts between dots, a refresh token 4, a code 2";
    let github = ["gho_", "ghp_", "ghu_", "ghs_", "ghr_", "github_pat_"];
    let hint = if github.iter().any(|prefix| token.starts_with(prefix)) {
        "this is a token of GitHub; services here accept only tokens of this gateway"
    } else {
        "this is neither an access token nor a refresh token nor a code of this gateway"
    };
    Inspection {
        kind: TokenKind::Unknown,
        at: service.map_or_else(|| "any service".to_owned(), |service| service.settings.name.clone()),
        accepted: false,
        verdict: hint.to_owned(),
        checks: vec![Check::new("form", expected, found, false)],
    }
}

const fn is_live(grant: &Grant) -> bool {
    match grant.state {
        GrantState::Pending { .. } | GrantState::Active { .. } | GrantState::Issued { .. } => true,
        GrantState::Revoked { .. } | GrantState::Dead { .. } => false,
    }
}

const fn state(grant: &Grant) -> &'static str {
    match grant.state {
        GrantState::Pending { .. } => "approved, its code not redeemed yet",
        GrantState::Active { .. } => "in use",
        GrantState::Issued { .. } => "in use, issued on the command line or to a client itself",
        GrantState::Revoked { .. } => "revoked",
        GrantState::Dead { .. } => "ended before it was in use",
    }
}

const fn current(grant: &Grant) -> u64 {
    match grant.state {
        GrantState::Active { generation, .. } => generation,
        GrantState::Pending { .. }
        | GrantState::Issued { .. }
        | GrantState::Revoked { .. }
        | GrantState::Dead { .. } => 0,
    }
}
