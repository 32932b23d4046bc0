//! Which grants were revoked lately, as every request asks: no lock, no store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::oauth::{GrantId, ShardId};
use crate::store::Revocation;
use crate::time::Timestamp;

/// The set of revoked grants, and when it was last brought up to date. Clones share it.
#[derive(Clone)]
pub struct Revocations(Arc<Shards>);

struct Shards {
    all: Vec<Shard>,
    /// When the feed was read last, in seconds; 0 for never.
    read_at: AtomicU64,
    /// Whether the feed could not be read when that was tried last.
    missed: AtomicBool,
    /// Writers wait for each other; readers for nobody.
    writing: Mutex<()>,
}

struct Shard {
    revoked: ArcSwap<HashMap<GrantId, Revocation>>,
    changed: watch::Sender<()>,
}

impl Revocations {
    /// An empty set that is not up to date: nothing is believed before the first reading.
    #[must_use]
    pub fn new() -> Self {
        let all = ShardId::all()
            .map(|_| Shard { revoked: ArcSwap::default(), changed: watch::Sender::new(()) })
            .collect();
        let (read_at, missed) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Shards { all, read_at, missed, writing: Mutex::new(()) }))
    }

    /// Takes in what the feed read at `now`, forgets entries older than `keep` whose tokens have all ended, and wakes the
    /// streams concerned.
    pub fn update(&self, read: &[Revocation], keep: Duration, now: Timestamp) {
        let _one_writer = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, id) in self.0.all.iter().zip(ShardId::all()) {
            shard.take_in(read.iter().filter(|revocation| revocation.grant.shard() == id));
            shard.forget(|revocation| {
                now.since(revocation.at) > keep && revocation.until.is_none_or(|until| now > until)
            });
        }
        self.0.read_at.store(now.seconds(), Ordering::Release);
        self.0.missed.store(false, Ordering::Release);
    }

    /// The feed could not be read.
    pub fn miss(&self) {
        self.0.missed.store(true, Ordering::Release);
    }

    /// Whether the feed could not be read when that was tried last.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.0.missed.load(Ordering::Acquire)
    }

    /// How long ago the feed was read; `None` for never.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let read_at = self.0.read_at.load(Ordering::Acquire);
        (read_at != 0).then(|| now.since(Timestamp::from_seconds(read_at)))
    }

    /// Takes in a revocation made by this process, at once.
    pub fn insert(&self, revocation: Revocation) {
        let _one_writer = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.shard(revocation.grant.shard()).take_in([&revocation].into_iter());
    }

    /// Whether `grant` was revoked.
    #[must_use]
    pub fn contains(&self, grant: GrantId) -> bool {
        self.shard(grant.shard()).revoked.load().contains_key(&grant)
    }

    /// Whether the last reading is at most `staleness` old.
    #[must_use]
    pub fn is_fresh(&self, staleness: Duration, now: Timestamp) -> bool {
        self.age(now).is_some_and(|age| age <= staleness)
    }

    /// Wakes whenever a grant of this shard is revoked: for open streams.
    #[must_use]
    pub fn watch(&self, shard: ShardId) -> watch::Receiver<()> {
        self.shard(shard).changed.subscribe()
    }

    fn shard(&self, id: ShardId) -> &Shard {
        &self.0.all[usize::from(id.index())]
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl Shard {
    /// Adds what is new; the feed tells most of it many times over.
    fn take_in<'a>(&self, read: impl Iterator<Item = &'a Revocation>) {
        let known = self.revoked.load();
        let news: Vec<_> = read
            .filter(|revocation| !known.contains_key(&revocation.grant))
            .map(|revocation| (revocation.grant, *revocation))
            .collect();
        if news.is_empty() {
            return;
        }
        let mut all = HashMap::clone(&known);
        all.extend(news);
        self.revoked.store(Arc::new(all));
        self.changed.send_replace(());
    }

    fn forget(&self, is_old: impl Fn(&Revocation) -> bool) {
        let known = self.revoked.load();
        if known.values().any(&is_old) {
            let mut left = HashMap::clone(&known);
            left.retain(|_, revocation| !is_old(revocation));
            self.revoked.store(Arc::new(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const HOUR: Duration = Duration::from_hours(1);

    fn revocation(byte: u8, at: Timestamp) -> Revocation {
        Revocation { grant: GrantId::new([byte; 16]), at, until: None }
    }

    #[test]
    fn nothing_is_fresh_before_the_first_reading() {
        let revocations = Revocations::new();
        assert!(!revocations.is_fresh(Duration::MAX, NOW));
        revocations.insert(revocation(1, NOW));
        assert!(!revocations.is_fresh(Duration::MAX, NOW), "one of our own is no reading");
        revocations.update(&[], HOUR, NOW);
        assert!(revocations.is_fresh(HOUR, NOW.after(HOUR)));
        assert!(!revocations.is_fresh(HOUR, NOW.after(HOUR).after(Duration::from_secs(1))));
    }

    #[test]
    fn a_feed_is_missing_from_a_failed_reading_to_the_next_good_one_and_grows_old_meanwhile() {
        let revocations = Revocations::new();
        assert_eq!((revocations.is_missing(), revocations.age(NOW)), (false, None));
        revocations.update(&[], HOUR, NOW);
        revocations.miss();
        let seen = |now| (revocations.is_missing(), revocations.age(now));
        assert_eq!(seen(NOW.after(HOUR)), (true, Some(HOUR)));
        revocations.update(&[], HOUR, NOW.after(HOUR));
        assert_eq!(seen(NOW.after(HOUR)), (false, Some(Duration::ZERO)));
    }

    // R14
    #[test]
    fn a_revocation_of_our_own_holds_at_once() {
        let revocations = Revocations::new();
        revocations.insert(revocation(1, NOW));
        assert!(revocations.contains(GrantId::new([1; 16])));
        assert!(!revocations.contains(GrantId::new([2; 16])));
        assert!(!revocations.contains(GrantId::new([33; 16])), "same shard, another grant");
    }

    #[test]
    fn what_the_feed_read_is_revoked_until_it_is_old() {
        let revocations = Revocations::new();
        revocations.update(&[revocation(1, NOW), revocation(2, NOW.after(HOUR))], HOUR, NOW);
        let both_known = NOW.after(HOUR);
        revocations.update(&[], HOUR, both_known);
        assert!(revocations.contains(GrantId::new([1; 16])));
        revocations.update(&[], HOUR, both_known.after(Duration::from_secs(1)));
        assert!(!revocations.contains(GrantId::new([1; 16])));
        assert!(revocations.contains(GrantId::new([2; 16])));
    }

    // R14
    #[test]
    fn a_long_token_that_was_revoked_stays_so_until_its_end() {
        let revocations = Revocations::new();
        let ends = NOW.after(10 * HOUR);
        revocations.update(&[Revocation { until: Some(ends), ..revocation(1, NOW) }], HOUR, NOW);
        revocations.update(&[], HOUR, ends);
        assert!(revocations.contains(GrantId::new([1; 16])));
        revocations.update(&[], HOUR, ends.after(Duration::from_secs(1)));
        assert!(!revocations.contains(GrantId::new([1; 16])));
    }

    #[test]
    fn only_news_wakes_and_only_its_shard() {
        let revocations = Revocations::new();
        let mut here = revocations.watch(GrantId::new([1; 16]).shard());
        let elsewhere = revocations.watch(GrantId::new([2; 16]).shard());
        revocations.update(&[revocation(1, NOW)], HOUR, NOW);
        assert!(here.has_changed().unwrap());
        here.mark_unchanged();
        revocations.update(&[revocation(1, NOW)], HOUR, NOW);
        assert!(!here.has_changed().unwrap(), "told a second time");
        assert!(!elsewhere.has_changed().unwrap());
    }
}
