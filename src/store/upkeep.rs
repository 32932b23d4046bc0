//! Verbs that keep the store itself in order: the check of its schema, sweeps, counters, and whether it answers.

use std::time::Duration;

use super::schema::{self, SCHEMA};
use super::{OpenError, Store, StoreError};
use crate::oauth::ShardId;
use crate::time::Timestamp;

impl Store {
    /// Refuses a store that a newer version wrote.
    pub(super) async fn check_schema(&self) -> Result<(), OpenError> {
        let found = self.read_or_begin(schema::schema(), &SCHEMA).await?;
        if found > SCHEMA { Err(OpenError::Schema { found, known: SCHEMA }) } else { Ok(()) }
    }

    /// Drops log entries older than `older_than` and, on the embedded store, expired records. Called now and then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(&self, older_than: Duration, now: Timestamp) -> Result<(), StoreError> {
        for shard in ShardId::all() {
            self.backend.trim(&schema::revoked(shard), older_than).await?;
            self.backend.trim(&schema::revoked_issued(shard), super::ISSUED_KEPT).await?;
        }
        while self.backend.collect(now).await? {}
        Ok(())
    }

    /// Counts one more event of `name` in the current window of `window` length; how many there are now. Windows follow
    /// each other from the epoch on, so all processes share them.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] the event may have been counted.
    pub async fn count(&self, name: &str, window: Duration, now: Timestamp) -> Result<u64, StoreError> {
        let length = window.as_secs().max(1);
        let number = now.seconds() / length;
        let end = Timestamp::from_seconds((number + 1).saturating_mul(length));
        self.backend.increment(&schema::count(name, number), end).await
    }

    /// Whether the store answers: `/ready` and the health of the internal listener will ask.
    ///
    /// # Errors
    /// [`StoreError::Away`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.backend.ping().await
    }
}
