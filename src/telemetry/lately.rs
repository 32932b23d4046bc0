//! What went wrong lately: the last refused logins, token errors and upstream failures, and how often each trouble was met since
//! the start. In memory, in bounds, and never in anybody's way: who cannot write at once leaves it out, and that is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use crate::time::Timestamp;
use crate::trouble::{Group, Trouble};

/// How many failures of one kind are remembered.
const REMEMBERED: usize = 100;
/// How many of them one network may have: whoever makes up names pushes out their own alone.
const OF_ONE: usize = 20;
/// How many networks are counted that have reached a rate limit.
const SOURCES: usize = 64;
/// How many of them are told.
const TOP: usize = 10;
/// How many approvals are remembered, to tell when two clients come at once.
const APPROVALS: usize = 256;
/// Two clients within so many seconds are likely one program that is set up twice.
pub const TWINS: u64 = 60;

/// A request that failed. Never an e-mail address, a token or a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When; of several alike, the last.
    pub at: Timestamp,
    /// Why.
    pub trouble: Trouble,
    /// As in the log; of several alike, the last.
    pub request_id: String,
    /// The service's name.
    pub service: Option<String>,
    /// The client's id.
    pub client: Option<String>,
    /// The user's `sub`.
    pub subject: Option<String>,
    /// Where it came from, an IPv6 address without its host part.
    pub network: String,
    /// The HTTP status.
    pub status: u16,
}

/// A failure that is remembered, and how often the like was seen while it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The last of them.
    pub failure: Failure,
    /// How often.
    pub times: u64,
}

/// How often a trouble was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Which.
    pub trouble: Trouble,
    /// How often, since the start.
    pub times: u64,
    /// When for the first time.
    pub first: Timestamp,
    /// When for the last time.
    pub last: Timestamp,
}

/// Everything that is remembered, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Every trouble that was met, in the order in which they are met.
    pub counts: Vec<Count>,
    /// Sign-ins that did not end well.
    pub logins: Vec<Remembered>,
    /// Tokens that were not given or not believed.
    pub tokens: Vec<Remembered>,
    /// Servers behind that did not answer as they should.
    pub upstreams: Vec<Remembered>,
    /// Everything else: wrong URLs, a store that is away.
    pub others: Vec<Remembered>,
    /// The networks that reached a rate limit most often, with how often at most.
    pub limited: Vec<(String, u64)>,
    /// Failures that were counted and not remembered, since others were just being written down.
    pub left_out: u64,
}

/// The memory of one process.
#[derive(Debug, Default)]
pub struct Lately {
    counts: Counts,
    rings: [Mutex<VecDeque<Remembered>>; 4],
    limited: Mutex<Vec<(String, u64)>>,
    approvals: Mutex<VecDeque<Approval>>,
    left_out: AtomicU64,
}

/// A person let a client in.
#[derive(Debug)]
struct Approval {
    at: Timestamp,
    subject: String,
    client: String,
    resource: String,
}

impl Lately {
    /// Writes a failure down. Waits for nobody.
    pub fn record(&self, failure: Failure) {
        self.counts.count(failure.trouble, failure.at);
        if failure.trouble == Trouble::RateLimited
            && let Some(mut limited) = at_once(&self.limited)
        {
            add_source(&mut limited, &failure.network);
        }
        match at_once(&self.rings[ring(failure.trouble)]) {
            Some(mut ring) => remember(&mut ring, failure),
            None => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes down that somebody let a client in, and says whether another client of theirs was let in to the same service
    /// within the minute before (trouble `two-clients`).
    pub fn approved(&self, at: Timestamp, subject: &str, client: &str, resource: &str) -> bool {
        let Some(mut approvals) = at_once(&self.approvals) else { return false };
        let is_twin = |other: &Approval| {
            other.subject == subject
                && other.resource == resource
                && other.client != client
                && at.seconds().abs_diff(other.at.seconds()) <= TWINS
        };
        let has_twin = approvals.iter().any(is_twin);
        if approvals.len() >= APPROVALS {
            approvals.pop_front();
        }
        let (subject, client, resource) = (subject.to_owned(), client.to_owned(), resource.to_owned());
        approvals.push_back(Approval { at, subject, client, resource });
        has_twin
    }

    /// Everything that is remembered.
    #[must_use]
    pub fn told(&self) -> Told {
        let newest_first =
            |ring: usize| patiently(&self.rings[ring]).iter().rev().cloned().collect::<Vec<_>>();
        let mut limited = patiently(&self.limited).clone();
        limited.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        limited.truncate(TOP);
        Told {
            counts: self.counts.told(),
            logins: newest_first(0),
            tokens: newest_first(1),
            upstreams: newest_first(2),
            others: newest_first(3),
            limited,
            left_out: self.left_out.load(Ordering::Relaxed),
        }
    }
}

/// Where failures of that kind are remembered, so that many of one kind push out none of another.
const fn ring(trouble: Trouble) -> usize {
    match trouble.group() {
        Group::SigningIn => 0,
        Group::Tokens => 1,
        Group::Behind => 2,
        Group::Starting | Group::Reaching | Group::Discovery | Group::Running => 3,
    }
}

/// Adds a failure; one like it is counted, so that a client in a loop pushes out nobody else's.
fn remember(ring: &mut VecDeque<Remembered>, failure: Failure) {
    let alike = |other: &Remembered| {
        let other = &other.failure;
        (other.trouble, other.status) == (failure.trouble, failure.status)
            && other.network == failure.network
            && other.service == failure.service
            && other.client == failure.client
            && other.subject == failure.subject
    };
    let before = ring.iter().position(alike).and_then(|index| ring.remove(index));
    let times = before.map_or(0, |before| before.times) + 1;
    let of_network = |other: &Remembered| other.failure.network == failure.network;
    if ring.iter().filter(|other| of_network(other)).count() >= OF_ONE {
        let oldest = ring.iter().position(of_network).and_then(|index| ring.remove(index));
        drop(oldest);
    } else if ring.len() >= REMEMBERED {
        ring.pop_front();
    }
    ring.push_back(Remembered { failure, times });
}

/// Counts a network. A new one takes the place of the least, with its count (the space-saving sketch): whoever comes often stays.
fn add_source(sources: &mut Vec<(String, u64)>, network: &str) {
    if let Some((_, times)) = sources.iter_mut().find(|(known, _)| known == network) {
        *times += 1;
    } else if sources.len() < SOURCES {
        sources.push((network.to_owned(), 1));
    } else if let Some(least) = sources.iter_mut().min_by_key(|(_, times)| *times) {
        *least = (network.to_owned(), least.1 + 1);
    }
}

/// The lock, if nobody has it.
fn at_once<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match lock.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The lock, once nobody else has it: for who only looks.
fn patiently<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One for each trouble, in the order of [`Trouble::ALL`], which is that of the enum.
#[derive(Debug)]
struct Counts([Cell; Trouble::ALL.len()]);

#[derive(Debug, Default)]
struct Cell {
    times: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Cell::default()))
    }
}

impl Counts {
    fn count(&self, trouble: Trouble, at: Timestamp) {
        let cell = &self.0[trouble as usize];
        let _ = cell.first.compare_exchange(0, at.seconds(), Ordering::Relaxed, Ordering::Relaxed);
        cell.last.fetch_max(at.seconds(), Ordering::Relaxed);
        cell.times.fetch_add(1, Ordering::Relaxed);
    }

    fn told(&self) -> Vec<Count> {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let counts = Trouble::ALL.iter().zip(&self.0).map(|(trouble, cell)| Count {
            trouble: *trouble,
            times: read(&cell.times),
            first: Timestamp::from_seconds(read(&cell.first)),
            last: Timestamp::from_seconds(read(&cell.last)),
        });
        counts.filter(|count| count.times > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(trouble: Trouble, at: u64, network: &str) -> Failure {
        Failure {
            at: Timestamp::from_seconds(at),
            trouble,
            request_id: format!("r-{at}"),
            service: Some("todo".into()),
            client: None,
            subject: Some("github:1".into()),
            network: network.into(),
            status: 401,
        }
    }

    #[test]
    fn troubles_are_counted_with_their_first_and_last_moment() {
        let lately = Lately::default();
        for (trouble, at) in [
            (Trouble::RefreshFailed, 12),
            (Trouble::NotAllowed, 10),
            (Trouble::RefreshFailed, 15),
            (Trouble::RefreshFailed, 14),
        ] {
            lately.record(failure(trouble, at, "192.0.2.1"));
        }
        let moment = Timestamp::from_seconds;
        assert_eq!(
            lately.told().counts,
            [
                Count { trouble: Trouble::NotAllowed, times: 1, first: moment(10), last: moment(10) },
                Count { trouble: Trouble::RefreshFailed, times: 3, first: moment(12), last: moment(15) },
            ]
        );
    }

    #[test]
    fn each_kind_has_a_hundred_places_and_pushes_out_its_own_only() {
        let lately = Lately::default();
        lately.record(failure(Trouble::NotAllowed, 1, "192.0.2.1"));
        lately.record(failure(Trouble::WrongUrl, 2, "192.0.2.1"));
        lately.record(failure(Trouble::UpstreamDown, 3, "192.0.2.1"));
        for number in 0..250 {
            lately.record(failure(Trouble::TokenUnaccepted, 10 + number, &format!("192.0.2.{number}")));
        }
        let told = lately.told();
        let lengths = [&told.logins, &told.tokens, &told.upstreams, &told.others].map(Vec::len);
        assert_eq!(lengths, [1, 100, 1, 1]);
        assert_eq!(told.tokens[0].failure, failure(Trouble::TokenUnaccepted, 259, "192.0.2.249"));
        assert_eq!(told.tokens[99].failure.at.seconds(), 160, "the oldest went");
    }

    #[test]
    fn a_client_in_a_loop_has_one_place() {
        let lately = Lately::default();
        lately.record(failure(Trouble::TokenUnaccepted, 1, "192.0.2.9"));
        for at in 2..1000 {
            lately.record(failure(Trouble::TokenUnaccepted, at, "192.0.2.1"));
        }
        let tokens = lately.told().tokens;
        assert_eq!(tokens.len(), 2);
        assert_eq!((tokens[0].times, tokens[0].failure.request_id.as_str()), (998, "r-999"));
        assert_eq!((tokens[1].times, tokens[1].failure.at.seconds()), (1, 1));
    }

    #[test]
    fn who_makes_up_names_pushes_out_nobody_else() {
        let lately = Lately::default();
        lately.record(failure(Trouble::NotAllowed, 1, "192.0.2.9"));
        for number in 0..200 {
            let client = Some(format!("https://x{number}.example/client"));
            lately.record(Failure { client, ..failure(Trouble::ClientDocument, 2 + number, "192.0.2.1") });
        }
        let logins = lately.told().logins;
        assert_eq!(logins.len(), OF_ONE + 1);
        assert_eq!(logins[OF_ONE].failure.trouble, Trouble::NotAllowed);
    }

    #[test]
    fn who_reaches_a_limit_most_often_stays_among_ever_so_many_others() {
        let lately = Lately::default();
        for number in 0..2000 {
            lately.record(failure(Trouble::RateLimited, 1, &format!("10.{}.{}", number / 256, number % 256)));
            lately.record(failure(Trouble::RateLimited, 1, "192.0.2.1"));
        }
        lately.record(failure(Trouble::NotAllowed, 1, "192.0.2.77"));
        let limited = lately.told().limited;
        assert_eq!(limited.len(), TOP);
        assert_eq!(limited[0], ("192.0.2.1".to_owned(), 2000));
        assert!(limited.iter().all(|(network, _)| network != "192.0.2.77"));
        assert!(patiently(&lately.limited).len() <= SOURCES);
    }

    #[test]
    fn nobody_waits_and_what_is_left_out_is_counted() {
        let lately = Lately::default();
        let held = lately.rings[1].lock().unwrap();
        lately.record(failure(Trouble::TokenUnaccepted, 1, "192.0.2.1"));
        drop(held);
        let told = lately.told();
        assert_eq!((told.tokens.len(), told.left_out, told.counts[0].times), (0, 1, 1));
    }

    #[test]
    fn of_a_flood_everything_is_counted_and_nobody_has_waited() {
        let lately = Lately::default();
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let lately = &lately;
                let flood = move || {
                    for at in 1..=1000 {
                        lately.record(failure(Trouble::TokenUnaccepted, at, &format!("192.0.2.{worker}")));
                    }
                };
                scope.spawn(flood);
            }
        });
        let told = lately.told();
        assert_eq!(told.counts[0].times, 8000);
        let remembered: u64 = told.tokens.iter().map(|one| one.times).sum();
        assert_eq!(remembered + told.left_out, 8000, "{} were left out", told.left_out);
        assert!(told.tokens.len() <= 8);
    }

    // trouble: two-clients
    #[test]
    fn two_clients_of_one_person_at_one_service_within_a_minute_are_noticed() {
        let lately = Lately::default();
        let approved = |at, subject: &str, client: &str, resource: &str| {
            lately.approved(Timestamp::from_seconds(at), subject, client, resource)
        };
        assert!(!approved(100, "github:1", "a", "todo"));
        assert!(!approved(110, "github:1", "a", "todo"), "the same client again");
        assert!(!approved(120, "github:2", "b", "todo"), "another person");
        assert!(!approved(130, "github:1", "b", "fetch"), "another service");
        assert!(approved(170, "github:1", "b", "todo"), "within a minute of the second");
        assert!(!approved(231, "github:1", "c", "todo"));
        for number in 0..1000 {
            approved(300, "github:3", &number.to_string(), "todo");
        }
        assert!(patiently(&lately.approvals).len() <= APPROVALS);
    }
}
