//! What was asked, how it ended and how long it took. Each worker counts for itself, in memory that no other core writes to; whoever
//! shows figures adds all workers up. Nothing is looked up by a name: services have numbers, endpoints and outcomes too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::histogram::{Durations, Histogram};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A service, by the number that it has for as long as the process runs.
    Service(usize),
    /// What is answered by the gateway itself.
    Endpoint(Endpoint),
}

/// What the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// Where people approve.
    Authorize,
    /// Where the identity provider sends them back to.
    Callback,
    /// Where codes and refresh tokens become tokens.
    Token,
    /// Where clients register.
    Register,
    /// Where they change that.
    Registration,
    /// Where tokens are ended.
    Revoke,
    /// Where servers ask about tokens.
    Introspect,
    /// The public keys.
    Keys,
    /// What there is, for clients (RFC 8414, RFC 9728).
    Metadata,
    /// What people see beside signing in.
    Pages,
    /// The `dev` identity's page.
    DevLogin,
    /// The verdicts for other proxies.
    Verify,
    /// Where nothing is, and what is refused before it is known where it goes.
    Elsewhere,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Authorize,
        Self::Callback,
        Self::Token,
        Self::Register,
        Self::Registration,
        Self::Revoke,
        Self::Introspect,
        Self::Keys,
        Self::Metadata,
        Self::Pages,
        Self::DevLogin,
        Self::Verify,
        Self::Elsewhere,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Callback => "callback",
            Self::Token => "token",
            Self::Register => "register",
            Self::Registration => "registration",
            Self::Revoke => "revoke",
            Self::Introspect => "introspect",
            Self::Keys => "jwks",
            Self::Metadata => "metadata",
            Self::Pages => "pages",
            Self::DevLogin => "dev-login",
            Self::Verify => "verify",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// The kinds of methods that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodClass {
    /// GET and HEAD.
    Read,
    /// POST.
    Write,
    /// DELETE.
    Delete,
    /// What else there may be.
    Other,
}

impl MethodClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Other];

    /// That of a method.
    #[must_use]
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::POST => Self::Write,
            Method::GET | Method::HEAD => Self::Read,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Other => "other",
        }
    }
}

/// The statuses that are counted each for itself, with their names; frequent ones first. Any other counts with its class.
const STATUSES: [(u16, &str); 26] = [
    (200, "200"),
    (202, "202"),
    (401, "401"),
    (204, "204"),
    (201, "201"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (308, "308"),
    (400, "400"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (413, "413"),
    (415, "415"),
    (421, "421"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];
/// All other statuses, by their hundreds.
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
const OUTCOMES: usize = STATUSES.len() + CLASSES.len();

/// The place of a status among the outcomes.
fn outcome(status: StatusCode) -> usize {
    let code = status.as_u16();
    let class = || STATUSES.len() + Some(usize::from(code / 100)).filter(|class| *class < 6).unwrap_or(0);
    STATUSES.iter().position(|(known, _)| *known == code).unwrap_or_else(class)
}

fn outcome_name(place: usize) -> &'static str {
    STATUSES.get(place).map_or_else(|| CLASSES[place - STATUSES.len()], |(_, name)| name)
}

/// What one worker has counted of one subject. In cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    requests: [[Count; OUTCOMES]; MethodClass::ALL.len()],
    durations: Histogram,
    /// By reason, which is a word of the program's, so that nobody else can make them many. Written by one worker, and only where it
    /// refuses.
    refusals: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Debug, Default)]
struct Count(AtomicU64);

/// One worker's counts. They are made where they are needed, and stay where they are.
#[derive(Debug, Default)]
pub struct Tally {
    /// Each has twice the places of the one before, so that none is ever moved.
    services: [OnceLock<Box<[Place]>>; CHUNKS],
    endpoints: [Place; Endpoint::ALL.len()],
}

type Place = OnceLock<Box<Counts>>;

/// Enough for four million services.
const CHUNKS: usize = 16;
/// The places of the first chunk.
const FIRST: usize = 64;

impl Tally {
    /// Counts an answer whose head goes out, and why it is a refusal.
    pub fn answered(
        &self,
        subject: Subject,
        method: MethodClass,
        (status, refusal): (StatusCode, Option<&'static str>),
    ) {
        let counts = self.counts(subject);
        counts.requests[method as usize][outcome(status)].0.fetch_add(1, Ordering::Relaxed);
        if let Some(reason) = refusal {
            let mut refusals = counts.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            *refusals.entry(reason).or_default() += 1;
        }
    }

    /// Counts how long an answer took, to its end.
    pub fn took(&self, subject: Subject, duration: Duration) {
        self.counts(subject).durations.add(duration);
    }

    fn counts(&self, subject: Subject) -> &Counts {
        let place = match subject {
            Subject::Endpoint(endpoint) => &self.endpoints[endpoint as usize],
            Subject::Service(number) => {
                let (chunk, offset) = place_of(number);
                let make = || (0..FIRST << chunk).map(|_| OnceLock::new()).collect();
                &self.services[chunk].get_or_init(make)[offset]
            }
        };
        place.get_or_init(Box::default)
    }

    /// What was counted, by subject.
    fn each(&self) -> impl Iterator<Item = (Subject, &Counts)> {
        let chunks = self.services.iter().enumerate();
        let chunks = chunks.filter_map(|(number, chunk)| Some(((FIRST << number) - FIRST, chunk.get()?)));
        let services = chunks
            .flat_map(|(first, chunk)| chunk.iter().enumerate().map(move |(at, place)| (first + at, place)));
        let services = services.map(|(number, place)| (Subject::Service(number), place));
        let endpoints = Endpoint::ALL.into_iter().zip(&self.endpoints);
        let endpoints = endpoints.map(|(endpoint, place)| (Subject::Endpoint(endpoint), place));
        services.chain(endpoints).filter_map(|(subject, place)| Some((subject, &**place.get()?)))
    }
}

/// The chunk, and the place in it, of a service's number; the last place of all for numbers that nobody has.
const fn place_of(number: usize) -> (usize, usize) {
    let most = (FIRST << CHUNKS) - FIRST - 1;
    let shifted = if number > most { most } else { number } + FIRST;
    let chunk = (shifted / FIRST).ilog2() as usize;
    (chunk, shifted - (FIRST << chunk))
}

/// What all workers have counted of one subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    requests: [[u64; OUTCOMES]; MethodClass::ALL.len()],
    /// How long answers took, to their ends; streams that stand open are not among them.
    pub durations: Durations,
    /// How many were refused, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
}

impl Sum {
    /// How many requests there were, by the kind of method and by status; none that never was.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let methods = MethodClass::ALL.into_iter().zip(&self.requests);
        methods.flat_map(|(method, outcomes)| {
            let some = outcomes.iter().enumerate().filter(|(_, count)| **count > 0);
            some.map(move |(place, count)| (method.as_str(), outcome_name(place), *count))
        })
    }

    fn add(&mut self, counts: &Counts) {
        for (sums, counts) in self.requests.iter_mut().zip(&counts.requests) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count.0.load(Ordering::Relaxed);
            }
        }
        self.durations.add(&counts.durations.read());
        for (reason, count) in &*counts.refusals.lock().unwrap_or_else(PoisonError::into_inner) {
            *self.refusals.entry(reason).or_default() += count;
        }
    }
}

/// Adds up what workers have counted.
#[must_use]
pub fn added_up(tallies: &[Arc<Tally>]) -> BTreeMap<Subject, Sum> {
    let mut sums: BTreeMap<Subject, Sum> = BTreeMap::new();
    for (subject, counts) in tallies.iter().flat_map(|tally| tally.each()) {
        sums.entry(subject).or_default().add(counts);
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_service_number_has_a_place_of_its_own() {
        let mut places = BTreeSet::new();
        for number in 0..10_000 {
            let (chunk, offset) = place_of(number);
            assert!(chunk < CHUNKS && offset < FIRST << chunk, "{number}");
            assert!(places.insert((chunk, offset)), "{number}");
        }
        assert_eq!(
            (place_of(0), place_of(63), place_of(64), place_of(191)),
            ((0, 0), (0, 63), (1, 0), (1, 127))
        );
        assert_eq!(place_of(usize::MAX), (CHUNKS - 1, (FIRST << (CHUNKS - 1)) - 1), "nobody's");
    }

    #[test]
    fn all_workers_are_added_up_by_subject() {
        let workers = [Arc::<Tally>::default(), Arc::default()];
        let (service, token) = (Subject::Service(70), Subject::Endpoint(Endpoint::Token));
        for worker in &workers {
            worker.answered(service, MethodClass::Write, (StatusCode::OK, None));
            worker.took(service, Duration::from_millis(3));
        }
        workers[0].answered(service, MethodClass::Read, (StatusCode::UNAUTHORIZED, Some("no_token")));
        workers[1].answered(service, MethodClass::Read, (StatusCode::UNAUTHORIZED, Some("no_token")));
        workers[1].answered(token, MethodClass::Write, (StatusCode::BAD_REQUEST, Some("invalid_grant")));
        let sums = added_up(&workers);
        assert_eq!(sums.keys().copied().collect::<Vec<_>>(), [service, token]);
        let requests: Vec<_> = sums[&service].requests().collect();
        assert_eq!(requests, [("read", "401", 2), ("write", "200", 2)]);
        assert_eq!(sums[&service].durations.count(), 2);
        assert_eq!(sums[&service].refusals, BTreeMap::from([("no_token", 2)]));
        assert_eq!(sums[&token].refusals, BTreeMap::from([("invalid_grant", 1)]));
    }

    #[test]
    fn statuses_and_methods_are_few_whatever_an_upstream_or_a_client_makes_up() {
        let tally = Arc::<Tally>::default();
        for code in 100..=999 {
            let method = Method::from_bytes(format!("M{code}").as_bytes()).unwrap();
            let status = StatusCode::from_u16(code).unwrap();
            tally.answered(Subject::Service(0), MethodClass::of(&method), (status, None));
        }
        let sums = added_up(&[tally]);
        let counted: Vec<_> = sums[&Subject::Service(0)].requests().collect();
        assert!(counted.iter().all(|(method, ..)| *method == "other"), "{counted:?}");
        let names: BTreeSet<_> = counted.iter().map(|(_, status, _)| *status).collect();
        assert_eq!(names.len(), OUTCOMES, "{names:?}");
        let of = |name| counted.iter().find(|(_, status, _)| *status == name).unwrap().2;
        assert_eq!((of("404"), of("1xx"), of("5xx"), of("other")), (1, 100, 95, 400));
        assert_eq!(counted.iter().map(|(.., count)| count).sum::<u64>(), 900);
    }

    #[test]
    fn a_worker_s_counts_share_no_cache_line_with_another_s() {
        assert_eq!((align_of::<Counts>(), size_of::<Counts>() % 128), (128, 0));
    }

    #[test]
    fn every_endpoint_has_a_name_and_a_place_of_its_own() {
        let names: BTreeSet<_> = Endpoint::ALL.iter().map(|endpoint| endpoint.as_str()).collect();
        assert_eq!(names.len(), Endpoint::ALL.len());
        assert!(Endpoint::ALL.iter().enumerate().all(|(place, endpoint)| *endpoint as usize == place));
        assert!(MethodClass::ALL.iter().enumerate().all(|(place, method)| *method as usize == place));
    }
}
