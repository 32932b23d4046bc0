//! Verbs for the keys that all processes share.

use super::backend::Expect;
use super::{Loaded, RingKind, Store, StoreError, StoredKey, Swap, schema};

impl Store {
    /// The keys of a ring, in no order. If there are none, `fresh` becomes the first; of several processes that start at once
    /// one wins, and all get the winner's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_ring(&self, kind: RingKind, fresh: StoredKey) -> Result<Vec<StoredKey>, StoreError> {
        self.read_or_begin(schema::ring(kind), &vec![fresh]).await
    }

    /// A ring to be replaced by [`Self::swap_ring`]; begun with `fresh` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn load_ring(
        &self,
        kind: RingKind,
        fresh: &StoredKey,
    ) -> Result<Loaded<Vec<StoredKey>>, StoreError> {
        self.load_or_begin(schema::ring(kind), &vec![fresh.clone()]).await
    }

    /// Replaces a ring, if it still is as it was loaded.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] the caller loads again: a ring with its own new key was written.
    pub async fn swap_ring(
        &self,
        kind: RingKind,
        old: &Loaded<Vec<StoredKey>>,
        new: Vec<StoredKey>,
    ) -> Result<Swap, StoreError> {
        self.write(schema::ring(kind), &new, None, Expect::Equal(old.bytes.clone())).await
    }
}
