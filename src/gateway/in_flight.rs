//! Requests that are open at each service, by user: as many as one may have, and streams that stand open apart from them, so
//! that neither takes the other's room. Each process counts for itself.
//!
//! The counts are atomic. A lock is taken to find a user's, for the moment of a look into one of many maps, and none at
//! the end of a request.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::ServiceSettings;
use super::streams::Life;
use crate::telemetry::RequestRefusal;

/// How much may be open at a service at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// The most bytes of a request's body.
    pub body: u64,
    /// Requests of all users.
    pub requests: usize,
    /// Requests of one user, or of one address where nobody signs in.
    pub user_requests: usize,
    /// Streams of all users: those that have no end of their own.
    pub streams: usize,
    /// Streams of one user.
    pub user_streams: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        // The SDKs of TypeScript and Kotlin read 4 MB, Python's did for long; servers that set a limit of their own set 10.
        Self { body: 10_000_000, requests: 2_000, user_requests: 100, streams: 20_000, user_streams: 1_000 }
    }
}

/// Everything that is open in this process.
#[derive(Default)]
pub struct InFlight {
    /// By the service's name: a reload keeps what is open. It only grows by services that were configured once.
    services: ArcSwap<HashMap<String, Arc<Usage>>>,
}

/// Maps of users for one service.
const SHARDS: usize = 16;
/// Users of a map before those who have nothing open are looked for.
const FEW: usize = 64;

#[derive(Default)]
struct Usage {
    all: Counts,
    users: [Mutex<Users>; SHARDS],
    hasher: RandomState,
}

#[derive(Default)]
struct Users {
    by_name: HashMap<Arc<str>, Arc<Counts>>,
    sweep_at: usize,
}

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    streams: AtomicUsize,
}

/// One more would be too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{most} {what} are open already; more are not let in at once ({key})")]
pub(super) struct Full {
    pub(super) why: RequestRefusal,
    what: &'static str,
    /// In the service's configuration.
    key: &'static str,
    most: usize,
}

/// A request that is open until this is dropped.
pub(super) struct Permit {
    usage: Arc<Usage>,
    user: Arc<Counts>,
    life: Life,
}

impl InFlight {
    /// Nothing is open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a request of `user` at `service`, or a stream that lives as long as its token.
    ///
    /// # Errors
    /// [`Full`]: the user has, or all have, as much open as they may.
    pub(super) fn enter(&self, service: &ServiceSettings, user: &str, life: Life) -> Result<Permit, Full> {
        let (usage, limits) = (self.usage(&service.name), &service.limits);
        let (user_full, all_full) = match life {
            Life::Answer => (
                Full {
                    why: RequestRefusal::UserRequests,
                    what: "requests of this user",
                    key: "max_requests_per_user",
                    most: limits.user_requests,
                },
                Full {
                    why: RequestRefusal::ServiceRequests,
                    what: "requests",
                    key: "max_requests",
                    most: limits.requests,
                },
            ),
            Life::Token => (
                Full {
                    why: RequestRefusal::UserStreams,
                    what: "streams of this user",
                    key: "max_streams_per_user",
                    most: limits.user_streams,
                },
                Full {
                    why: RequestRefusal::ServiceStreams,
                    what: "streams",
                    key: "max_streams",
                    most: limits.streams,
                },
            ),
        };
        let user = usage.user(user);
        if !add(user.of(life), user_full.most) {
            return Err(user_full);
        }
        if !add(usage.all.of(life), all_full.most) {
            user.of(life).fetch_sub(1, Ordering::Relaxed);
            return Err(all_full);
        }
        Ok(Permit { usage, user, life })
    }

    /// How many requests and streams are open at a service.
    #[must_use]
    pub fn open(&self, service: &str) -> (usize, usize) {
        let services = self.services.load();
        let count =
            |life| services.get(service).map_or(0, |usage| usage.all.of(life).load(Ordering::Relaxed));
        (count(Life::Answer), count(Life::Token))
    }

    fn usage(&self, service: &str) -> Arc<Usage> {
        if let Some(usage) = self.services.load().get(service) {
            return Arc::clone(usage);
        }
        // Once for each service. Whoever comes at the same moment finds what the first has put there.
        let fresh = Arc::new(Usage::default());
        self.services.rcu(|services| {
            let mut services = HashMap::clone(services);
            services.entry(service.to_owned()).or_insert_with(|| Arc::clone(&fresh));
            services
        });
        self.services.load().get(service).map_or(fresh, Arc::clone)
    }
}

impl Usage {
    fn user(&self, name: &str) -> Arc<Counts> {
        let shard = usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or_default();
        let mut users = self.users[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = users.by_name.get(name) {
            return Arc::clone(counts);
        }
        users.sweep();
        let counts = Arc::default();
        users.by_name.insert(name.into(), Arc::clone(&counts));
        counts
    }
}

impl Users {
    /// Forgets users of whom nothing is open: whose counts nobody else holds, for they are handed out under this lock.
    fn sweep(&mut self) {
        if self.by_name.len() >= self.sweep_at.max(FEW) {
            self.by_name.retain(|_, counts| Arc::strong_count(counts) > 1);
            self.sweep_at = self.by_name.len() * 2;
        }
    }
}

impl Counts {
    const fn of(&self, life: Life) -> &AtomicUsize {
        match life {
            Life::Answer => &self.requests,
            Life::Token => &self.streams,
        }
    }
}

/// One more, if that is no more than `most`.
fn add(count: &AtomicUsize, most: usize) -> bool {
    let next = |count: usize| (count < most).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

impl Drop for Permit {
    fn drop(&mut self) {
        for counts in [&*self.user, &self.usage.all] {
            counts.of(self.life).fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn service(name: &str, limits: ServiceLimits) -> ServiceSettings {
        ServiceSettings { name: name.into(), limits, ..testing::service().settings }
    }

    fn limits(user_requests: usize, requests: usize, user_streams: usize, streams: usize) -> ServiceLimits {
        ServiceLimits { requests, user_requests, streams, user_streams, ..ServiceLimits::default() }
    }

    fn refused(entered: Result<Permit, Full>) -> (&'static str, String) {
        let full = entered.err().expect("it is full");
        (full.why.reason(), full.to_string())
    }

    #[test]
    fn a_user_has_so_many_requests_open_and_one_that_ends_makes_room() {
        let (open, service) = (InFlight::new(), service("a", limits(2, 100, 1, 100)));
        let mut alice: Vec<_> =
            (0..2).map(|_| open.enter(&service, "alice", Life::Answer).unwrap()).collect();
        let told = (
            "user-requests",
            "2 requests of this user are open already; more are not let in at once (max_requests_per_user)"
                .to_owned(),
        );
        assert_eq!(refused(open.enter(&service, "alice", Life::Answer)), told);
        let _bob = open.enter(&service, "bob", Life::Answer).unwrap();
        assert_eq!((open.open("a"), open.open("never seen")), ((3, 0), (0, 0)));
        alice.pop();
        alice.push(open.enter(&service, "alice", Life::Answer).unwrap());
        assert_eq!(refused(open.enter(&service, "alice", Life::Answer)), told);
    }

    #[test]
    fn streams_and_requests_do_not_take_each_other_s_room() {
        let (open, service) = (InFlight::new(), service("a", limits(1, 1, 1, 1)));
        let _stream = open.enter(&service, "alice", Life::Token).unwrap();
        let _request = open.enter(&service, "alice", Life::Answer).unwrap();
        let told = (
            "user-streams",
            "1 streams of this user are open already; more are not let in at once (max_streams_per_user)"
                .to_owned(),
        );
        assert_eq!(refused(open.enter(&service, "alice", Life::Token)), told);
        let told = (
            "service-streams",
            "1 streams are open already; more are not let in at once (max_streams)".to_owned(),
        );
        assert_eq!(refused(open.enter(&service, "bob", Life::Token)), told);
        let told = (
            "service-requests",
            "1 requests are open already; more are not let in at once (max_requests)".to_owned(),
        );
        assert_eq!(refused(open.enter(&service, "bob", Life::Answer)), told);
    }

    #[test]
    fn who_is_refused_for_the_service_has_nothing_open() {
        let (open, service) = (InFlight::new(), service("a", limits(1, 1, 1, 1)));
        let alice = open.enter(&service, "alice", Life::Answer).unwrap();
        for _ in 0..3 {
            assert_eq!(refused(open.enter(&service, "bob", Life::Answer)).0, "service-requests");
        }
        drop(alice);
        let _bob = open.enter(&service, "bob", Life::Answer).unwrap();
    }

    #[test]
    fn services_are_counted_apart_and_a_new_limit_holds_for_what_is_open() {
        let open = InFlight::new();
        let (one, two) = (service("a", limits(2, 9, 9, 9)), service("b", limits(2, 9, 9, 9)));
        let _held: Vec<_> = (0..2).map(|_| open.enter(&one, "alice", Life::Answer).unwrap()).collect();
        let _other = open.enter(&two, "alice", Life::Answer).unwrap();
        assert!(open.enter(&service("a", limits(1, 9, 9, 9)), "alice", Life::Answer).is_err());
        assert!(open.enter(&service("a", limits(3, 9, 9, 9)), "alice", Life::Answer).is_ok());
    }

    #[test]
    fn users_who_have_gone_are_forgotten_and_no_others() {
        let (open, service) = (InFlight::new(), service("a", limits(1, 1_000_000, 1, 9)));
        let _held: Vec<_> = (0..100)
            .map(|number| open.enter(&service, &format!("held-{number}"), Life::Answer).unwrap())
            .collect();
        for number in 0..20_000 {
            drop(open.enter(&service, &format!("user-{number}"), Life::Answer).unwrap());
        }
        let usage = open.usage("a");
        let remembered: usize = usage.users.iter().map(|users| users.lock().unwrap().by_name.len()).sum();
        assert!((100..=SHARDS * FEW * 2).contains(&remembered), "{remembered}");
        for number in 0..100 {
            assert!(open.enter(&service, &format!("held-{number}"), Life::Answer).is_err());
        }
    }

    #[test]
    fn threads_together_open_exactly_as_many_as_there_may_be() {
        let (open, service) = (InFlight::new(), service("a", limits(40, 50, 9, 9)));
        let opened: usize = std::thread::scope(|scope| {
            let run = |user: &'static str| {
                let (open, service) = (&open, &service);
                let work = move || {
                    let permits = (0..1000).filter_map(|_| open.enter(service, user, Life::Answer).ok());
                    permits.collect::<Vec<_>>()
                };
                scope.spawn(work)
            };
            let threads = ["alice", "bob", "alice", "bob"].map(run);
            let permits: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            permits.len()
        });
        assert_eq!(opened, 50);
        let usage = open.usage("a");
        assert_eq!(usage.all.requests.load(Ordering::Relaxed), 0, "all are over");
    }
}
