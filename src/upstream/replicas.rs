//! A service's replicas. Requests that may go to any go to the one that has the fewest; a session's go to its own, by name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use url::{Position, Url};

use super::balance::{Candidate, Choice, choose};
use super::health::{Moment, Phase};
use super::standing::{Open, ReplicaFact, Standing};
use super::{Probe, Settings, probe};

/// More replicas than anybody has behind one service, and as many as are counted in one word.
pub const MOST_REPLICAS: usize = 64;

/// A service's upstream as requests meet it.
#[derive(Clone, Debug)]
pub struct Upstream {
    replicas: Vec<Replica>,
    pub(super) connect_timeout: Duration,
    pub(super) first_byte_timeout: Option<Duration>,
    /// How long a replica stays out until a probe will have told how it is; zero without probes.
    pub(super) hold: Duration,
    probe: Probe,
}

/// One of the servers behind a service.
#[derive(Clone)]
pub struct Replica {
    pub(super) url: Url,
    /// `Host`.
    pub(super) host: HeaderValue,
    /// `None` where there is nothing to choose and nothing to probe.
    pub(super) standing: Option<Arc<Standing>>,
}

/// A request's replica.
pub(super) struct Turn<'u> {
    at: usize,
    pub(super) replica: &'u Replica,
    /// Counts the request as long as it is open.
    pub(super) open: Option<Open>,
}

/// The replicas that a request was tried on, one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried(u64);

impl Upstream {
    /// The upstream of `service`. A replica that has been there `before` stands as it stood, wherever in the list it is now.
    ///
    /// # Panics
    /// If a URL has no host: settings were not checked.
    #[must_use]
    pub fn new(service: &str, settings: &Settings, before: Option<&Self>) -> Self {
        let Settings { replicas, connect_timeout, first_byte_timeout, probe } = settings;
        let standing = |name: &str| {
            let known = before.and_then(|before| before.replica(name)?.standing.clone());
            known.unwrap_or_else(|| Arc::new(Standing::new(service, name)))
        };
        let is_watched = replicas.len() > 1 || probe.is_on();
        let replica = |url: &Url| Replica {
            host: HeaderValue::from_str(name_of(url)).expect("a URL is visible ASCII"),
            standing: is_watched.then(|| standing(name_of(url))),
            url: url.clone(),
        };
        Self {
            replicas: replicas.iter().map(replica).collect(),
            connect_timeout: *connect_timeout,
            first_byte_timeout: *first_byte_timeout,
            hold: if probe.is_on() { probe::hold(*probe) } else { Duration::ZERO },
            probe: *probe,
        }
    }

    /// The replica of this name, if there is one.
    #[must_use]
    pub fn replica(&self, name: &str) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.name() == name)
    }

    /// The replica of a user whose requests must meet each other, though nothing in them says so: the same in every process, and
    /// another one only while that is ejected. `None` where there is nothing to choose.
    #[must_use]
    pub fn home(&self, user: &str) -> Option<&Replica> {
        let [_, _, ..] = self.replicas.as_slice() else { return None };
        // Whoever has the highest number: those of the others do not change when one goes (rendezvous hashing).
        let number = |replica: &&Replica| (!replica.is_ejected(), scramble(&[user, replica.name()]));
        self.replicas.iter().max_by_key(number)
    }

    /// All of them.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// How, and how often, they are probed.
    #[must_use]
    pub const fn probe(&self) -> Probe {
        self.probe
    }

    /// How long a connection may take to be made.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How each replica stands, where that is known.
    pub fn facts(&self) -> impl Iterator<Item = ReplicaFact> {
        self.replicas.iter().filter_map(|replica| Some(replica.standing.as_ref()?.fact()))
    }

    /// The replica for a request that may go to any but those it was `tried` on; `None` if there is none left.
    pub(super) fn choose(&self, tried: Tried, chance: impl FnOnce() -> u32) -> Option<Turn<'_>> {
        let at = match self.replicas.as_slice() {
            [_] if tried.0 == 0 => 0,
            several => pick(several, tried, chance())?,
        };
        let replica = &self.replicas[at];
        Some(Turn { at, replica, open: replica.open() })
    }
}

fn pick(replicas: &[Replica], tried: Tried, chance: u32) -> Option<usize> {
    let is_calm = replicas.iter().all(|replica| replica.phase() == Phase::Well);
    let now = if is_calm { Moment::default() } else { Moment::now() };
    loop {
        let left = replicas.iter().enumerate().filter(|(at, _)| !tried.has(*at));
        let candidates = left.map(|(at, replica)| replica.candidate(at));
        match choose(candidates, now, chance)? {
            Choice::Take(at) => {
                replicas[at].settle(now);
                return Some(at);
            }
            Choice::Try(at) if replicas[at].try_out(now) => return Some(at),
            // Somebody else has just got the trial, which is seen at the next look.
            Choice::Try(_) => {}
        }
    }
}

impl Replica {
    /// `host` or `host:port`, as in `Host`; a default port is left out. Sessions find their replica by it.
    #[must_use]
    pub fn name(&self) -> &str {
        name_of(&self.url)
    }

    /// Where it listens.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// `scheme://host[:port]`.
    pub(super) fn origin(&self) -> &str {
        &self.url[..Position::BeforePath]
    }

    /// Whether it has been away for so long that a session there counts as ended.
    #[must_use]
    pub fn is_lost(&self, now: Moment) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.is_lost(now))
    }

    /// Whether it gets no new requests, while others can take them.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        matches!(self.phase(), Phase::Out { .. } | Phase::Trial { .. })
    }

    fn open(&self) -> Option<Open> {
        self.standing.as_ref().map(Standing::open)
    }

    fn phase(&self) -> Phase {
        self.standing.as_ref().map_or(Phase::Well, |standing| standing.phase())
    }

    fn candidate(&self, at: usize) -> Candidate {
        let open = self.standing.as_ref().map_or(0, |standing| standing.opened());
        Candidate { at, open, phase: self.phase() }
    }

    fn settle(&self, now: Moment) {
        if let Some(standing) = &self.standing {
            standing.settle(now);
        }
    }

    fn try_out(&self, now: Moment) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.try_out(now))
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

impl Tried {
    pub(super) const fn add(&mut self, at: usize) {
        self.0 |= 1 << at;
    }

    const fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }
}

impl<'u> Turn<'u> {
    /// Of a request that is bound to this replica.
    pub(super) fn bound(replica: &'u Replica) -> Self {
        Self { at: 0, replica, open: replica.open() }
    }

    /// What was tried when this one has failed.
    pub(super) const fn tried(&self, mut before: Tried) -> Tried {
        before.add(self.at);
        before
    }
}

/// A number that is the same in every process and every version: FNV-1a, stirred as in `SplitMix64`.
fn scramble(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let sum = bytes
        .fold(0xCBF2_9CE4_8422_2325, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let stirred = (sum ^ (sum >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let stirred = (stirred ^ (stirred >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    stirred ^ (stirred >> 31)
}

/// `host` or `host:port`; a default port is left out.
#[must_use]
pub fn name_of(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

#[cfg(test)]
mod tests;
