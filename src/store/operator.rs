//! Verbs for the operator: everything there is, a page at a time, so that a large store is never held in memory whole.

use std::collections::BTreeSet;
use std::ops::Bound;

use tokio::task::JoinSet;

use super::backend::{Cursor, Name, Prefix};
use super::grants::has_ended;
use super::schema::{self, Pin, Record};
use super::{Store, StoreError};
use crate::oauth::{Client, ClientId, Grant, GrantId, Subject};
use crate::time::Timestamp;

/// How many grants of an index make one page.
const HINTED_AT_ONCE: usize = 1000;
/// How many records are read side by side.
const READ_AT_ONCE: usize = 64;

/// Some of what there is.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What was found; one may come on two pages while others are written.
    pub found: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// Whose grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantsOf {
    /// A user's, by the index, in the order of their ids.
    User(Subject),
    /// A client's, likewise.
    Client(ClientId),
    /// Everybody's, in any order.
    All,
}

impl Store {
    /// Grants that have not ended. `from` is the `next` of the page before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page_of_grants(
        &self,
        of: &GrantsOf,
        from: Option<String>,
        now: Timestamp,
    ) -> Result<Page<Grant>, StoreError> {
        let (ids, next) = match of {
            GrantsOf::User(subject) => self.page_of_hints(schema::grants_of_user(subject), from).await?,
            GrantsOf::Client(id) => self.page_of_hints(schema::grants_of_client(id), from).await?,
            GrantsOf::All => self.page_of_ids(from).await?,
        };
        let mut found: Vec<Grant> = self.records(ids.into_iter().map(schema::grant), now).await?;
        found.retain(|grant| {
            !has_ended(grant)
                && match of {
                    GrantsOf::User(subject) => grant.facts.user.subject == *subject,
                    GrantsOf::Client(id) => grant.client == *id,
                    GrantsOf::All => true,
                }
        });
        found.sort_by_key(|grant| (grant.created, grant.id));
        Ok(Page { found, next })
    }

    /// Clients: registered ones, and those that were approved by their documents.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page_of_clients(
        &self,
        from: Option<String>,
        now: Timestamp,
    ) -> Result<Page<Client>, StoreError> {
        let prefix = Prefix { text: "client:", sharded: false };
        let page = self.backend.scan(prefix, from.map(Cursor)).await?;
        let mut found: Vec<Client> = self.records(page.names.into_iter().map(Name::new), now).await?;
        found.sort_by_key(|client| client.issued_at);
        Ok(Page { found, next: page.next.map(|Cursor(next)| next) })
    }

    /// Whose a login of the access rules is, if somebody has signed in with it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pinned(&self, login: &str) -> Result<Option<Subject>, StoreError> {
        let name = schema::pin(&login.to_lowercase());
        let Some(bytes) = self.backend.get(&name).await? else { return Ok(None) };
        Ok(Some(schema::read::<Pin>(&name, &bytes, &self.sealer)?.value.subject))
    }

    async fn page_of_ids(&self, from: Option<String>) -> Result<(Vec<GrantId>, Option<String>), StoreError> {
        let prefix = Prefix { text: GRANT, sharded: true };
        let page = self.backend.scan(prefix, from.map(Cursor)).await?;
        let id = |name: &String| GrantId::parse(name.strip_prefix(GRANT)?);
        Ok((page.names.iter().filter_map(id).collect(), page.next.map(|Cursor(next)| next)))
    }

    /// The ids in an index. It is read whole, a few bytes an entry; the page goes on behind the last id of the one before.
    async fn page_of_hints(
        &self,
        log: Name,
        from: Option<String>,
    ) -> Result<(Vec<GrantId>, Option<String>), StoreError> {
        let hints = self.backend.read_logs(&[log], 0).await?.entries;
        let ids: BTreeSet<_> =
            hints.iter().filter_map(|hint| GrantId::parse(std::str::from_utf8(hint).ok()?)).collect();
        let after = from.and_then(|from| GrantId::parse(&from)).map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = ids.range((after, Bound::Unbounded)).copied();
        let page: Vec<_> = rest.by_ref().take(HINTED_AT_ONCE).collect();
        let next = page.last().filter(|_| rest.next().is_some()).map(ToString::to_string);
        Ok((page, next))
    }

    /// The records of these names that have not ended. One that cannot be read is told to the log, and hides no other.
    async fn records<T: Record + Send + 'static>(
        &self,
        names: impl Iterator<Item = Name>,
        now: Timestamp,
    ) -> Result<Vec<T>, StoreError> {
        let mut names = names.peekable();
        let mut found = Vec::new();
        while names.peek().is_some() {
            let mut reading = JoinSet::new();
            for name in names.by_ref().take(READ_AT_ONCE) {
                let store = self.clone();
                reading.spawn(async move { store.read::<T>(&name, now).await });
            }
            while let Some(read) = reading.join_next().await {
                match read.map_err(StoreError::away)? {
                    Ok(record) => found.extend(record.map(|loaded| loaded.value)),
                    Err(error @ StoreError::Damaged { .. }) => tracing::warn!(%error, "passed over"),
                    Err(error @ (StoreError::Away(_) | StoreError::Contended)) => return Err(error),
                }
            }
        }
        Ok(found)
    }
}

/// How the names of grants begin.
const GRANT: &str = "grant:";
