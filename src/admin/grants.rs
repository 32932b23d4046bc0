//! Grants: what people have allowed clients.

use serde::{Deserialize, Serialize};

use super::{Fault, clients, shown};
use crate::gateway::Operator;
use crate::oauth::{ClientId, Grant, GrantId, GrantState, Resource, RevocationReason, Subject};
use crate::store::{GrantsOf, Page};

/// Which grants: all that is named must fit.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Which {
    /// This one alone.
    pub grant: Option<String>,
    /// A user's: `github:583231`, or a login.
    pub user: Option<String>,
    /// A client's, by its id.
    pub client: Option<String>,
    /// Of the service of this name.
    pub service: Option<String>,
}

/// `grants/list`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct List {
    /// Which; all if nothing is named.
    pub which: Which,
    /// The `next` of the page before.
    pub from: Option<String>,
}

/// `grants/revoke`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Revoke {
    /// Which; something must be named.
    pub which: Which,
    /// Only tell which.
    pub dry_run: bool,
    /// The `next` of the page before.
    pub from: Option<String>,
}

/// Some of the grants.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// They; those that have been revoked, if that was asked.
    pub grants: Vec<Row>,
    /// Where to go on.
    pub next: Option<String>,
}

/// A grant.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its id: the tokens' `sid`.
    pub id: String,
    /// Whose.
    pub user: String,
    /// That user's login when the grant was made.
    pub login: String,
    /// Who may use it.
    pub client: String,
    /// The service's name, or its URL if it is not configured any more.
    pub service: String,
    /// What is allowed.
    pub scopes: String,
    /// `pending`: its code is not redeemed; `active`; `issued`: one token, not refreshed.
    pub state: String,
    /// When it was given.
    pub since: String,
    /// When tokens were asked for last.
    pub last_used: Option<String>,
    /// From where.
    pub from: Option<String>,
    /// When it ends, if nobody uses it meanwhile.
    pub until: String,
}

/// Which grants, resolved.
struct Filter {
    one: Option<GrantId>,
    user: Option<Subject>,
    client: Option<ClientId>,
    resource: Option<Resource>,
}

impl Filter {
    async fn of(operator: &Operator, which: &Which) -> Result<Self, Fault> {
        let grant = |text: &String| GrantId::parse(text).ok_or_else(|| Fault::NoId(text.clone(), "grant"));
        let user = match &which.user {
            Some(named) => Some(operator.user(named).await??),
            None => None,
        };
        Ok(Self {
            one: which.grant.as_ref().map(grant).transpose()?,
            user,
            client: which.client.as_deref().map(clients::id).transpose()?,
            resource: which.service.as_deref().map(|name| operator.resource(name)).transpose()?,
        })
    }

    fn fits(&self, grant: &Grant) -> bool {
        self.user.as_ref().is_none_or(|user| *user == grant.facts.user.subject)
            && self.client.as_ref().is_none_or(|client| *client == grant.client)
            && self.resource.as_ref().is_none_or(|resource| *resource == grant.resource)
    }

    async fn page(&self, operator: &Operator, from: Option<String>) -> Result<Page<Grant>, Fault> {
        let store = &operator.shared().store;
        if let Some(id) = self.one {
            let grant = store.grant(id, operator.now()).await?.map(|loaded| loaded.value);
            let live = grant.filter(|grant| state(grant).is_some() && self.fits(grant));
            let found = vec![live.ok_or_else(|| Fault::NoGrant(id.to_string()))?];
            return Ok(Page { found, next: None });
        }
        let of = match (&self.user, &self.client) {
            (Some(user), _) => GrantsOf::User(user.clone()),
            (None, Some(client)) => GrantsOf::Client(client.clone()),
            (None, None) => GrantsOf::All,
        };
        let mut page = store.page_of_grants(&of, from, operator.now()).await?;
        page.found.retain(|grant| self.fits(grant));
        Ok(page)
    }
}

pub(super) async fn list(operator: &Operator, asked: List) -> Result<Listed, Fault> {
    let page = Filter::of(operator, &asked.which).await?.page(operator, asked.from).await?;
    let grants = page.found.iter().map(|grant| row(operator, grant)).collect();
    Ok(Listed { grants, next: page.next })
}

pub(super) async fn revoke(operator: &Operator, asked: Revoke) -> Result<Listed, Fault> {
    let Which { grant, user, client, service } = &asked.which;
    if [grant, user, client, service].iter().all(|named| named.is_none()) {
        return Err(Fault::NothingNamed);
    }
    let page = Filter::of(operator, &asked.which).await?.page(operator, asked.from).await?;
    let mut grants = Vec::new();
    for grant in &page.found {
        // Told as it was: what it was ended from.
        if asked.dry_run || operator.revoke(grant.id, RevocationReason::Operator).await?.is_some() {
            grants.push(row(operator, grant));
        }
    }
    Ok(Listed { grants, next: page.next })
}

pub(super) fn row(operator: &Operator, grant: &Grant) -> Row {
    Row {
        id: grant.id.to_string(),
        user: grant.facts.user.subject.to_string(),
        login: grant.facts.user.login.clone(),
        client: grant.client.to_string(),
        service: operator.service_name(&grant.resource),
        scopes: grant.scopes.to_string(),
        state: state(grant).unwrap_or("ended").to_owned(),
        since: shown(grant.created),
        last_used: grant.used.as_ref().map(|last| shown(last.at)),
        from: grant.used.as_ref().map(|last| last.from.clone()),
        until: shown(grant.expires(operator.lives())),
    }
}

/// `None` once it has ended.
const fn state(grant: &Grant) -> Option<&'static str> {
    match grant.state {
        GrantState::Pending { .. } => Some("pending"),
        GrantState::Active { .. } => Some("active"),
        GrantState::Issued { .. } => Some("issued"),
        GrantState::Revoked { .. } | GrantState::Dead { .. } => None,
    }
}
