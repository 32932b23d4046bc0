//! Verbs for the keys that all processes share.

use super::{RingKind, Store, StoreError, StoredKey, schema};

impl Store {
    /// The keys of a ring, newest first. If there are none, `fresh` becomes the first; of several processes that start at once
    /// one wins, and all get the winner's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_ring(&self, kind: RingKind, fresh: StoredKey) -> Result<Vec<StoredKey>, StoreError> {
        self.read_or_begin(schema::ring(kind), &vec![fresh]).await
    }
}
