//! What an operator asks of a running gateway: who a user is, grants ended, tokens taken apart and issued.

mod inspect;
mod issue;

use std::sync::Arc;

use super::grants::{self, Step};
use super::{Service, Shared, Site};
use crate::oauth::{
    AttemptId, Client, ClientId, Grant, GrantId, Known, Resource, RevocationReason, Subject, TokenLives, User,
};
use crate::policy::{AccessRules, Judgement};
use crate::secret;
use crate::store::{GrantsOf, StoreError};
use crate::telemetry::{Audit, Event};
use crate::time::Timestamp;

pub use inspect::{Inspection, TokenKind};
pub use issue::{IssueError, Issued, Wanted};

/// The gateway as its operator works with it.
pub struct Operator {
    site: Arc<Site>,
    shared: Arc<Shared>,
}

/// What an operator named and is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No such service; those that there are.
    #[error("there is no service {0}; there is {1}")]
    Service(String, String),
    /// Nobody is known by this login.
    #[error("nobody with the login {0} has a grant here; write the user's id, such as github:583231")]
    Login(String),
    /// The login belonged to several people over time.
    #[error("{0} was the login of several users; write one of {1}")]
    Several(String, String),
}

impl Operator {
    pub(super) const fn new(site: Arc<Site>, shared: Arc<Shared>) -> Self {
        Self { site, shared }
    }

    /// What all workers share.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How long tokens live.
    #[must_use]
    pub fn lives(&self) -> &TokenLives {
        &self.site.settings.lives
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The URL of the service of this name.
    ///
    /// # Errors
    /// [`Unknown::Service`].
    pub fn resource(&self, name: &str) -> Result<Resource, Unknown> {
        self.service(name).map(|service| service.settings.resource.clone())
    }

    /// The name of the service at a URL; the URL itself if none is there any more.
    #[must_use]
    pub fn service_name(&self, resource: &Resource) -> String {
        let named = self.site.services().find(|service| service.resource == *resource);
        named.map_or_else(|| resource.to_string(), |service| service.name.clone())
    }

    fn service(&self, name: &str) -> Result<&Arc<Service>, Unknown> {
        let named = self.site.services().find(|service| service.name == name);
        named.and_then(|settings| self.site.service(&settings.resource)).ok_or_else(|| {
            let all: Vec<_> = self.site.services().map(|service| service.name.as_str()).collect();
            Unknown::Service(name.to_owned(), all.join(", "))
        })
    }

    /// Who `github:583231` or a login is. A login is the one that an access rule names, if it is pinned; else that of the people
    /// who have a grant.
    ///
    /// # Errors
    /// [`StoreError`] outside, [`Unknown`] inside.
    pub async fn user(&self, named: &str) -> Result<Result<Subject, Unknown>, StoreError> {
        if named.contains(':') {
            return Ok(Ok(Subject::from_text(named.to_owned())));
        }
        if let Some(subject) = self.shared.store.pinned(named).await? {
            return Ok(Ok(subject));
        }
        let mut found: Vec<Subject> = Vec::new();
        let mut from = None;
        loop {
            let page = self.shared.store.page_of_grants(&GrantsOf::All, from, self.now()).await?;
            let users = page.found.into_iter().map(|grant| grant.facts.user);
            found
                .extend(users.filter(|user| user.login.eq_ignore_ascii_case(named)).map(|user| user.subject));
            found.sort();
            found.dedup();
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        Ok(match found.as_slice() {
            [] => Err(Unknown::Login(named.to_owned())),
            [one] => Ok(one.clone()),
            several => {
                let several: Vec<_> = several.iter().map(Subject::as_str).collect();
                Err(Unknown::Several(named.to_owned(), several.join(", ")))
            }
        })
    }

    /// What access rules say of a user, by what is known without asking the identity provider.
    async fn judge(&self, rules: &AccessRules, subject: &Subject) -> Result<Judgement, StoreError> {
        let pinned = self.shared.store.pins(subject).await?;
        let known = self.known(subject, &pinned).await?;
        Ok(self.site.settings.freshness.judge(rules, &known, pinned, self.now()))
    }

    /// Of the newest sign-in, or else of the newest grant; of somebody who never came, the name alone.
    async fn known(&self, subject: &Subject, pinned: &[String]) -> Result<Known, StoreError> {
        let (store, now) = (&self.shared.store, self.now());
        if let Some(record) = store.user(subject, now).await? {
            return Ok(record.value.known);
        }
        let grants = store.grants_of_user(subject, now).await?;
        if let Some(newest) = grants.into_iter().max_by_key(|grant| grant.created) {
            return Ok(Known::by_facts(&newest.facts, newest.created));
        }
        let login = pinned.first().map_or(subject.bare(), String::as_str).to_owned();
        let user = User { subject: subject.clone(), login, email: None };
        Ok(Known { user, standings: Vec::new(), answered: Timestamp::from_seconds(0), tried: now })
    }

    /// Ends a grant: here at once, elsewhere within two seconds. The grant as it is now; `None` if there was none to end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke(&self, id: GrantId, reason: RevocationReason) -> Result<Option<Grant>, StoreError> {
        let (attempt, now) = (AttemptId::new(secret::random()), self.now());
        let ended = grants::decide(&self.shared, self.lives(), (id, now), |grant| {
            if grant.attempt == attempt {
                // Ended by this very attempt, whose answer from the store was lost.
                return Step::Answer(Some(grant));
            }
            match grant.revoke(reason, attempt, now) {
                Some(grant) => Step::Write(Box::new(grant.clone()), Some(grant)),
                None => Step::Answer(None),
            }
        });
        let ended = ended.await?.flatten();
        if let Some(grant) = &ended {
            Audit { by: Some("operator"), ..Audit::of_grant(Event::GrantRevoked, grant) }.write_alone();
        }
        Ok(ended)
    }

    /// Ends the grants of a client and forgets it; how many grants those were. `None` if there is no such client.
    ///
    /// # Errors
    /// [`StoreError`]. What was not done yet is done when it is asked for again.
    pub async fn delete_client(&self, id: &ClientId) -> Result<Option<usize>, StoreError> {
        let Some(client) = self.client(id).await? else { return Ok(None) };
        let mut ended = self.revoke_all_of(&client.id).await?;
        self.shared.store.delete_client(&client.id).await?;
        // One that was begun meanwhile.
        ended += self.revoke_all_of(&client.id).await?;
        Audit { client: Some(id.as_str()), by: Some("operator"), ..Audit::of(Event::ClientDeleted) }
            .write_alone();
        Ok(Some(ended))
    }

    /// Gives a login of the access rules free, and tells whose it was; `None` if it was nobody's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_login(&self, login: &str) -> Result<Option<Subject>, StoreError> {
        let owner = self.shared.store.forget_login(login).await?;
        if let Some(owner) = &owner {
            Audit { subject: Some(owner.as_str()), by: Some("operator"), ..Audit::of(Event::LoginUnpinned) }
                .write_alone();
        }
        Ok(owner)
    }

    /// Whether a client stands in the configuration, where alone it can be changed.
    #[must_use]
    pub fn is_configured(&self, id: &ClientId) -> bool {
        self.site.configured.get(id).is_some()
    }

    /// A client that is stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.shared.store.client(id, self.now()).await
    }

    async fn revoke_all_of(&self, id: &ClientId) -> Result<usize, StoreError> {
        let (of, mut from, mut ended) = (GrantsOf::Client(id.clone()), None, 0);
        loop {
            let page = self.shared.store.page_of_grants(&of, from, self.now()).await?;
            for grant in page.found {
                ended += usize::from(self.revoke(grant.id, RevocationReason::ClientDeleted).await?.is_some());
            }
            from = page.next;
            if from.is_none() {
                return Ok(ended);
            }
        }
    }
}
