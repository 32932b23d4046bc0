//! The counting of one process: GCRA, the leaky bucket that needs one number for each limit and network, in a map of
//! bounded size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

use super::{Limit, Rate};
use crate::time::Timestamp;

/// Networks that a process remembers, each with each of its limits; about 200 bytes each. Those that ask most stay. A network
/// that is forgotten has its whole allowance again: whoever has more networks than that has as many allowances anyway,
/// and what makes the store grow is counted there as well.
const REMEMBERED: usize = 50_000;
/// How often a limit that an address has reached is told.
const TOLD_EVERY: u64 = 60;
const NANOS: u64 = 1_000_000_000;

/// Who has asked how much lately.
pub struct Buckets {
    asked: Cache<(Limit, String), Arc<Bucket>>,
}

#[derive(Default)]
struct Bucket {
    /// GCRA's theoretical arrival time, in nanoseconds from the epoch on: when all that was used has come back.
    whole_at: AtomicU64,
    /// When it was told last that the limit was reached, in seconds from the epoch on.
    told_at: AtomicU64,
}

impl Buckets {
    /// Nobody has asked for anything.
    ///
    /// # Panics
    /// Never: every option the map is made with is set here.
    #[must_use]
    pub fn new() -> Self {
        Self::with_room(REMEMBERED)
    }

    fn with_room(room: usize) -> Self {
        // One shard: the bound is then exact, and who holds its lock holds it for a moment.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(room)
            .weight_capacity(room as u64)
            .build()
            .expect("capacities are set");
        let (weighter, hasher, lifecycle) =
            (UnitWeighter, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { asked: Cache::with_options(options, weighter, hasher, lifecycle) }
    }

    /// Counts one more of `limit` by `network`.
    ///
    /// # Errors
    /// How long to wait, in whole seconds: one second earlier is too early.
    pub(super) fn take(
        &self,
        limit: Limit,
        network: String,
        rate: Rate,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let bucket = self.bucket(limit, network);
        let now = now.seconds().saturating_mul(NANOS);
        let each = (nanos(rate.period) / u64::from(rate.count.get())).max(1);
        let latest = now.saturating_add(each.saturating_mul(u64::from(rate.count.get())));
        let next = |whole_at: u64| whole_at.max(now).saturating_add(each);
        let taken = bucket.whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |whole_at| {
            Some(next(whole_at)).filter(|next| *next <= latest)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(whole_at) => {
                // A clock that went back, or a rate that a reload has changed, must not lock anybody out for longer.
                bucket.whole_at.fetch_min(latest, Ordering::Relaxed);
                Err(Duration::from_secs(next(whole_at.min(latest)).saturating_sub(latest).div_ceil(NANOS)))
            }
        }
    }

    /// Whether it is to be told now that `network` has reached `limit`: once a minute.
    pub(super) fn tells(&self, limit: Limit, network: String, now: Timestamp) -> bool {
        let told = self.bucket(limit, network).told_at.fetch_update(
            Ordering::Relaxed,
            Ordering::Relaxed,
            |told_at| Some(now.seconds()).filter(|now| now.abs_diff(told_at) >= TOLD_EVERY),
        );
        told.is_ok()
    }

    fn bucket(&self, limit: Limit, network: String) -> Arc<Bucket> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::default());
        match self.asked.get_or_insert_with(&(limit, network), fresh) {
            Ok(bucket) => bucket,
            Err(never) => match never {},
        }
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self::new()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_800_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(START + seconds)
    }

    fn take(buckets: &Buckets, rate: Rate, seconds: u64) -> Result<(), u64> {
        let taken = buckets.take(Limit::Token, "192.0.2.1".to_owned(), rate, at(seconds));
        taken.map_err(|wait| wait.as_secs())
    }

    // G8
    #[test]
    fn all_may_come_at_once_and_then_one_after_the_other() {
        let (buckets, rate) = (Buckets::new(), Rate::new(3, Duration::from_mins(1)));
        for _ in 0..3 {
            assert_eq!(take(&buckets, rate, 0), Ok(()));
        }
        assert_eq!(take(&buckets, rate, 0), Err(20));
        assert_eq!(take(&buckets, rate, 7), Err(13));
        assert_eq!(take(&buckets, rate, 19), Err(1));
        assert_eq!(take(&buckets, rate, 20), Ok(()));
        assert_eq!(take(&buckets, rate, 20), Err(20));
        assert_eq!(take(&buckets, rate, 60), Ok(()));
        assert_eq!(take(&buckets, rate, 60), Ok(()));
        assert_eq!(take(&buckets, rate, 60), Err(20), "refusals cost nothing");
    }

    #[test]
    fn limits_and_networks_do_not_disturb_each_other() {
        let (buckets, rate) = (Buckets::new(), Rate::new(1, Duration::from_mins(1)));
        for (limit, network) in [
            (Limit::Token, "192.0.2.1"),
            (Limit::Token, "192.0.2.2"),
            (Limit::Revoke, "192.0.2.1"),
            (Limit::Token, "2001:db8:0:1::/64"),
        ] {
            assert_eq!(buckets.take(limit, network.to_owned(), rate, at(0)), Ok(()));
            assert!(buckets.take(limit, network.to_owned(), rate, at(0)).is_err());
        }
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        let (buckets, rate) = (Buckets::new(), Rate::new(1, Duration::from_mins(1)));
        assert_eq!(take(&buckets, rate, 7200), Ok(()));
        assert_eq!(take(&buckets, rate, 0), Err(60));
        assert_eq!(take(&buckets, rate, 59), Err(1));
        assert_eq!(take(&buckets, rate, 60), Ok(()));
    }

    #[test]
    fn a_rate_that_was_raised_holds_at_once() {
        let buckets = Buckets::new();
        assert_eq!(take(&buckets, Rate::new(1, Duration::from_hours(24)), 0), Ok(()));
        let raised = Rate::new(60, Duration::from_mins(1));
        assert_eq!(take(&buckets, raised, 0), Err(1));
        assert_eq!(take(&buckets, raised, 1), Ok(()));
    }

    // G8
    #[test]
    fn no_more_networks_are_remembered_than_there_is_room_and_those_that_ask_most_stay() {
        let (buckets, rate) = (Buckets::with_room(100), Rate::new(1000, Duration::from_hours(1)));
        let loud = || buckets.take(Limit::Register, "loud".to_owned(), rate, at(0));
        for number in 0..10_000 {
            assert_eq!(
                buckets.take(Limit::Register, format!("2001:db8:0:{number:x}::/64"), rate, at(0)),
                Ok(())
            );
            let _ = loud();
        }
        assert!(buckets.asked.len() <= 100, "{}", buckets.asked.len());
        assert!(loud().is_err(), "a flood of others does not make it forgotten");
    }

    #[test]
    fn a_limit_is_told_once_a_minute_for_a_network() {
        let buckets = Buckets::new();
        let tells = |network: &str, seconds| buckets.tells(Limit::Token, network.to_owned(), at(seconds));
        assert!(tells("a", 0) && !tells("a", 0) && !tells("a", 59));
        assert!(tells("b", 1), "another network");
        assert!(buckets.tells(Limit::Revoke, "a".to_owned(), at(1)), "another limit");
        assert!(tells("a", 60) && !tells("a", 61));
    }

    /// The arithmetic of config/portcullis.yaml.
    #[test]
    fn five_thousand_people_behind_one_address_do_not_notice() {
        let buckets = Buckets::new();
        let all = |limit: Limit, times: u64, within: u64| {
            (0..times).all(|number| {
                let now = at(number * within / times);
                buckets.take(limit, "192.0.2.1".to_owned(), limit.default_rate(), now).is_ok()
            })
        };
        assert!(all(Limit::Register, 20_000, 1), "four clients each, at once");
        assert!(all(Limit::SignIn, 20_000, 1));
        assert!(all(Limit::Authorize, 40_000, 7 * 60), "each page is shown and posted");
        assert!(all(Limit::Callback, 20_000, 7 * 60));
        assert!(all(Limit::Token, 150_000, 5 * 60), "50,000 connections wake up and try three times");
    }

    proptest! {
        // G8: the wait is exact, and no second of any run sees more than all at once and what came back.
        #[test]
        fn whoever_waits_as_told_is_let_through_and_a_second_earlier_is_not(
            count in 1u32..50,
            period in 1u64..5000,
            steps in proptest::collection::vec((0u64..300, 1usize..20), 1..30),
        ) {
            let (buckets, rate) = (Buckets::new(), Rate::new(count, Duration::from_secs(period)));
            let (mut now, mut through) = (0, 0u64);
            for (pause, times) in steps {
                now += pause;
                for _ in 0..times {
                    match take(&buckets, rate, now) {
                        Ok(()) => through += 1,
                        Err(wait) => {
                            prop_assert!(wait >= 1);
                            if wait > 1 {
                                prop_assert!(take(&buckets, rate, now + wait - 1).is_err());
                            }
                            now += wait;
                            prop_assert_eq!(take(&buckets, rate, now), Ok(()));
                            through += 1;
                        }
                    }
                    let most = u64::from(count) + now * u64::from(count) / period + 1;
                    prop_assert!(through <= most, "{} of {}", through, most);
                }
            }
        }
    }
}
