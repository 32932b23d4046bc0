//! The cache of verified tokens, keyed by SHA-256 of the token, bounded in entries. One a worker, so that no
//! lock is shared by cores.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

use super::Verified;
use crate::secret::Digest;

/// Verified tokens by their digest. A hit proves the signature, nothing else: the caller checks expiry, audience,
/// access rules and revocation again.
pub struct TokenCache {
    entries: Cache<Digest, Arc<Verified>>,
}

impl TokenCache {
    /// A cache of at most `entries` tokens.
    ///
    /// # Panics
    /// Never: every option it is made with is set here.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        // One shard: a worker has the cache for itself, and the bound is then exact.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(entries)
            .weight_capacity(entries as u64)
            .build()
            .expect("capacities are set");
        let (weighter, hasher, lifecycle) =
            (UnitWeighter, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { entries: Cache::with_options(options, weighter, hasher, lifecycle) }
    }

    /// The token's claims, if it was verified before.
    #[must_use]
    pub fn get(&self, token: &Digest) -> Option<Arc<Verified>> {
        self.entries.get(token)
    }

    /// Remembers a verified token.
    pub fn insert(&self, token: Digest, verified: Arc<Verified>) {
        self.entries.insert(token, verified);
    }

    /// Forgets everything: when signing keys go.
    pub fn clear(&self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn a_token_is_found_under_its_own_digest_only() {
        let cache = TokenCache::new(10);
        let verified = testing::verified(&testing::claims());
        cache.insert(digest(1), Arc::clone(&verified));
        assert!(cache.get(&digest(1)).is_some_and(|found| Arc::ptr_eq(&found, &verified)));
        assert!(cache.get(&digest(2)).is_none());
    }

    #[test]
    fn no_more_than_the_bound_is_kept_and_the_newest_stays() {
        let cache = TokenCache::new(10);
        let verified = testing::verified(&testing::claims());
        for number in 0..1000 {
            cache.insert(digest(number), Arc::clone(&verified));
            assert!(cache.get(&digest(number)).is_some(), "{number}");
        }
        let kept = (0..1000).filter(|number| cache.get(&digest(*number)).is_some()).count();
        assert!((1..=10).contains(&kept), "{kept}");
        assert_eq!(Arc::strong_count(&verified), kept + 1);
    }

    #[test]
    fn a_cleared_cache_is_empty() {
        let cache = TokenCache::new(10);
        cache.insert(digest(1), testing::verified(&testing::claims()));
        cache.clear();
        assert!(cache.get(&digest(1)).is_none());
    }
}
