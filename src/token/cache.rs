//! The cache of verified tokens, keyed by SHA-256 of the token, bounded in entries. One a worker, so that no
//! lock is shared by cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

use super::Verified;
use crate::secret::Digest;

/// A verified token in the cache.
pub struct Remembered {
    verified: Verified,
    admitted: AtomicBool,
}

impl Remembered {
    /// What was verified.
    #[must_use]
    pub const fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Notes that the token was admitted; whether it is the first time. A refusal does not count: the token may be good a
    /// moment later, or elsewhere.
    #[must_use]
    pub fn admit(&self) -> bool {
        !self.admitted.swap(true, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.verified.fmt(f)
    }
}

/// Verified tokens by their digest. A hit proves the signature, nothing else: the caller checks expiry, audience,
/// access rules, revocation, and whether the key is still trusted.
pub struct TokenCache {
    entries: Cache<Digest, Arc<Remembered>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How often a token was there already, how often not, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Tokens that were there.
    pub hits: u64,
    /// Tokens that were not.
    pub misses: u64,
    /// How many are remembered.
    pub remembered: u64,
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
        let entries = Cache::with_options(options, weighter, hasher, lifecycle);
        Self { entries, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The token, if it was verified before.
    #[must_use]
    pub fn get(&self, token: &Digest) -> Option<Arc<Remembered>> {
        let found = self.entries.get(token);
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// What was counted so far.
    #[must_use]
    pub fn figures(&self) -> CacheFigures {
        CacheFigures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            remembered: self.entries.len() as u64,
        }
    }

    /// Remembers a verified token that was not admitted yet.
    #[must_use]
    pub fn insert(&self, token: Digest, verified: Verified) -> Arc<Remembered> {
        let remembered = Arc::new(Remembered { verified, admitted: AtomicBool::new(false) });
        self.entries.insert(token, Arc::clone(&remembered));
        remembered
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
        let remembered = cache.insert(digest(1), testing::verified(&testing::claims()));
        assert!(cache.get(&digest(1)).is_some_and(|found| Arc::ptr_eq(&found, &remembered)));
        assert!(cache.get(&digest(2)).is_none());
    }

    #[test]
    fn no_more_than_the_bound_is_kept_and_the_newest_stays() {
        let cache = TokenCache::new(10);
        let verified = testing::verified(&testing::claims());
        for number in 0..1000 {
            let _ = cache.insert(digest(number), verified.clone());
            assert!(cache.get(&digest(number)).is_some(), "{number}");
        }
        let kept = (0..1000).filter(|number| cache.get(&digest(*number)).is_some()).count();
        assert!((1..=10).contains(&kept), "{kept}");
    }

    #[test]
    fn tokens_that_were_there_and_those_that_were_not_are_counted() {
        let cache = TokenCache::new(10);
        let _ = cache.get(&digest(1));
        let _ = cache.insert(digest(1), testing::verified(&testing::claims()));
        for _ in 0..3 {
            let _ = cache.get(&digest(1));
        }
        assert_eq!(cache.figures(), CacheFigures { hits: 3, misses: 1, remembered: 1 });
    }

    #[test]
    fn only_the_first_admission_is_the_first() {
        let cache = TokenCache::new(10);
        let remembered = cache.insert(digest(1), testing::verified(&testing::claims()));
        assert!(remembered.admit());
        assert!(!remembered.admit());
        assert!(!cache.get(&digest(1)).unwrap().admit());
    }
}
