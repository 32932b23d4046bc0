//! Verbs for grants, their indexes and their revocations.

use std::collections::BTreeSet;
use std::time::Duration;

use super::backend::{Append, Expect, Name, Put};
use super::{Damage, FeedPosition, Loaded, Revocation, Store, StoreError, Swap, schema};
use crate::oauth::{ClientId, Grant, GrantId, GrantState, ShardId, Subject, TokenLives};
use crate::time::Timestamp;

/// How far each reading of the feed goes back: replicas' clocks differ, and a write may become visible late.
const OVERLAP: Duration = Duration::from_mins(2);

impl Store {
    /// Writes a new grant, which must not exist yet; and hints for the indexes by user and by client. Writing the very same record a
    /// second time (its first answer was lost) is no error.
    ///
    /// # Errors
    /// [`StoreError`]; `Damaged` if another grant has this id.
    pub async fn begin_grant(&self, grant: &Grant, lives: &TokenLives) -> Result<(), StoreError> {
        let by_user = schema::grants_of_user(&grant.facts.user.subject);
        for log in [by_user, schema::grants_of_client(&grant.client)] {
            let entry = grant.id.to_string().into_bytes();
            self.backend.append(Append { log, entry, keep: Some(longest(lives)) }).await?;
        }
        let name = schema::grant(grant.id);
        match self.write(name.clone(), grant, Some(grant.expires(lives)), Expect::Absent).await? {
            Swap::Done => Ok(()),
            Swap::Conflict => Err(StoreError::damaged(&name, Damage::NameTaken)),
        }
    }

    /// Reads a grant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn grant(&self, id: GrantId, now: Timestamp) -> Result<Option<Loaded<Grant>>, StoreError> {
        self.read(&schema::grant(id), now).await
    }

    /// Replaces a grant's record by compare-and-swap. A record whose new state is `Revoked` also goes to the
    /// revocation log of its shard, in the same atomic write.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] the caller loads again: a record with its own attempt id was written.
    pub async fn swap_grant(
        &self,
        old: &Loaded<Grant>,
        new: &Grant,
        lives: &TokenLives,
    ) -> Result<Swap, StoreError> {
        let name = schema::grant(new.id);
        let expires = Some(new.expires(lives));
        let bytes = schema::write(&name, new, expires, &self.sealer);
        let expect = Expect::Equal(old.bytes.clone());
        self.backend.put(Put { name, bytes, expect, expires, append: log_entry(new, lives) }).await
    }

    /// The grants of a user that have not ended, oldest first: what the connections page will list.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn grants_of_user(&self, subject: &Subject, now: Timestamp) -> Result<Vec<Grant>, StoreError> {
        let grants = self.hinted(schema::grants_of_user(subject), now).await?;
        Ok(grants.into_iter().filter(|grant| grant.facts.user.subject == *subject).collect())
    }

    /// The grants of a client that have not ended, oldest first: what `portcullis client` will list and end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn grants_of_client(&self, id: &ClientId, now: Timestamp) -> Result<Vec<Grant>, StoreError> {
        let grants = self.hinted(schema::grants_of_client(id), now).await?;
        Ok(grants.into_iter().filter(|grant| grant.client == *id).collect())
    }

    /// Every revocation since `since` by the store's own clock (two minutes of overlap included), and the position for the next
    /// call. `None` reads everything there is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revocations(
        &self,
        since: Option<FeedPosition>,
    ) -> Result<(Vec<Revocation>, FeedPosition), StoreError> {
        let logs: Vec<Name> =
            ShardId::all().map(schema::revoked).chain(ShardId::all().map(schema::revoked_issued)).collect();
        let mut page = self.backend.read_logs(&logs, from(since.map(|since| since.0))).await?;
        // A failover to a store whose clock is behind: what it wrote meanwhile lies before our position.
        if since.is_some_and(|since| page.now < since.0) {
            page = self.backend.read_logs(&logs, from(Some(page.now))).await?;
        }
        let read = page.entries.iter().map(|entry| schema::read_revocation(entry));
        Ok((read.collect::<Result<_, _>>()?, FeedPosition(page.now)))
    }

    /// The live grants that an index speaks of; hints of others are passed over.
    async fn hinted(&self, log: Name, now: Timestamp) -> Result<Vec<Grant>, StoreError> {
        let mut seen = BTreeSet::new();
        let mut grants = Vec::new();
        for hint in self.backend.read_logs(&[log], 0).await?.entries {
            let id = std::str::from_utf8(&hint).ok().and_then(GrantId::parse);
            let Some(id) = id.filter(|id| seen.insert(*id)) else { continue };
            let found = self.grant(id, now).await?;
            grants.extend(found.map(|loaded| loaded.value).filter(|grant| !has_ended(grant)));
        }
        Ok(grants)
    }
}

/// Where a reading begins that goes on from `position`.
pub(super) fn from(position: Option<u64>) -> u64 {
    let overlap = u64::try_from(OVERLAP.as_millis()).unwrap_or(u64::MAX);
    position.map_or(0, |position| position.saturating_sub(overlap))
}

/// How long a grant's record can be there at most: its life, and as a tombstone.
pub(super) fn longest(lives: &TokenLives) -> Duration {
    lives.absolute + lives.code + 2 * lives.access + super::COLLECT_AFTER
}

/// The log entry that a record's write carries along.
fn log_entry(grant: &Grant, lives: &TokenLives) -> Option<Append> {
    match grant.state {
        GrantState::Revoked { at, until, .. } => {
            let shard = grant.id.shard();
            let until = until.filter(|until| *until > at.after(lives.tombstone()));
            let entry = schema::write_revocation(Revocation { grant: grant.id, at, until });
            Some(match until {
                None => Append { log: schema::revoked(shard), entry, keep: None },
                Some(_) => {
                    Append { log: schema::revoked_issued(shard), entry, keep: Some(super::ISSUED_KEPT) }
                }
            })
        }
        GrantState::Pending { .. }
        | GrantState::Active { .. }
        | GrantState::Issued { .. }
        | GrantState::Dead { .. } => None,
    }
}

pub(super) fn has_ended(grant: &Grant) -> bool {
    match grant.state {
        GrantState::Revoked { .. } | GrantState::Dead { .. } => true,
        GrantState::Pending { .. } | GrantState::Active { .. } | GrantState::Issued { .. } => false,
    }
}
