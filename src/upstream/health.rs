//! How a replica stands, learned from what becomes of requests and probes. Pure: what was seen, and when, are arguments.
//!
//! ```text
//!        faults                    its time is over            a trial goes well
//! Well ─────────▶ Out ───────────────────────▶ Trial ───────────────────▶ Returning ──▶ Well
//!                  ▲ ╰──── a probe goes well ─────────────────────────────▶   │  (slowly)
//!                  ╰───────────── a fault: out for twice the time ────────────╯
//! ```

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How long a replica is out for the first time, and at most.
const OUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How long one request alone tries a replica out before the next one may.
const TRIAL: Duration = Duration::from_secs(5);
/// How long a replica that came back takes to get its full share.
const RAMP: Duration = Duration::from_secs(30);
/// How many requests in a row must be broken off. A server may do that for a reason of its own, and one that was killed does
/// it to all that it had.
const BROKEN: u8 = 3;
/// How many probes in a row must go wrong.
const UNWELL: u8 = 2;
/// How long nobody may have reached a replica before its sessions count as ended.
const LOST: Duration = Duration::from_mins(1);

/// The share of requests that a replica gets: this much is a full one.
pub(super) const FULL: u64 = 1024;
/// What it begins with when it comes back.
const LEAST: u64 = FULL / 10;

/// Milliseconds since this process began to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The present one.
    #[must_use]
    pub fn now() -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self::default().after(START.elapsed())
    }

    /// `time` later, in whole milliseconds.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// What is wrong with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No connection, for a request or a probe. One is enough: the request goes elsewhere, and the next would wait as long.
    Unreachable,
    /// A request or its answer was broken off.
    BrokeOff,
    /// A probe was answered wrong, or not in time.
    Unwell,
}

impl Fault {
    /// In words for operators.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Unreachable => "it cannot be reached",
            Self::BrokeOff => "it broke requests off",
            Self::Unwell => "it does not answer probes as it should",
        }
    }
}

/// How a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Well,
    /// Gets no new requests before `until`, if there are others.
    Out {
        until: Moment,
        fault: Fault,
    },
    /// One request is on its way to see; the next may go at `until`.
    Trial {
        until: Moment,
    },
    /// Gets few requests at first.
    Returning {
        since: Moment,
    },
}

/// What operators are told, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It gets no new requests from now on.
    Ejected(Fault),
    /// It gets some again.
    Returned,
}

/// A replica's health, as far as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    phase: Phase,
    /// Requests broken off since one was answered.
    broken: u8,
    /// Probes that went wrong since one went well.
    unwell: u8,
    /// How often it was put out since it was well for as long as a return takes: each time is twice as long.
    times: u32,
    /// Since when nobody has reached it.
    away: Option<Moment>,
}

impl Health {
    /// Nothing is known against it.
    pub(super) const GOOD: Self = Self { phase: Phase::Well, broken: 0, unwell: 0, times: 0, away: None };

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the next success changes nothing.
    pub(super) const fn is_clean(&self) -> bool {
        self.broken == 0 && self.unwell == 0 && self.away.is_none()
    }

    /// Whether nobody has reached it for so long that its sessions count as ended.
    pub(super) fn is_lost(&self, now: Moment) -> bool {
        self.away.is_some_and(|since| now.since(since) >= LOST)
    }

    /// A request was answered. Of a server that only answers probes wrong it proves nothing.
    pub(super) fn answered(&mut self, now: Moment) -> Option<Change> {
        (self.broken, self.away) = (0, None);
        match self.phase {
            Phase::Well | Phase::Returning { .. } | Phase::Out { fault: Fault::Unwell, .. } => None,
            Phase::Out { fault: Fault::Unreachable | Fault::BrokeOff, .. } | Phase::Trial { .. } => {
                Some(self.back(now))
            }
        }
    }

    /// A probe went well. Of a server that breaks off what is more than a probe it proves nothing.
    pub(super) fn probed(&mut self, now: Moment) -> Option<Change> {
        (self.unwell, self.away) = (0, None);
        match self.phase {
            Phase::Well
            | Phase::Returning { .. }
            | Phase::Trial { .. }
            | Phase::Out { fault: Fault::BrokeOff, .. } => None,
            Phase::Out { fault: Fault::Unreachable | Fault::Unwell, .. } => Some(self.back(now)),
        }
    }

    /// Something went wrong. `hold` is the time in which another probe will have ended: what a probe can tell is not tried out
    /// on requests before that.
    pub(super) fn failed(&mut self, fault: Fault, now: Moment, hold: Duration) -> Option<Change> {
        self.settle(now);
        match fault {
            Fault::Unreachable => self.away = self.away.or(Some(now)),
            Fault::BrokeOff => self.broken = self.broken.saturating_add(1),
            Fault::Unwell => self.unwell = self.unwell.saturating_add(1),
        }
        match self.phase {
            Phase::Well | Phase::Returning { .. } if self.is_enough(fault) => {
                self.put_out(fault, now, hold);
                Some(Change::Ejected(fault))
            }
            Phase::Well | Phase::Returning { .. } => None,
            Phase::Trial { .. } => {
                self.put_out(fault, now, hold);
                None
            }
            // What was under way when it was put out says nothing new.
            Phase::Out { .. } if fault == Fault::BrokeOff => None,
            Phase::Out { until, .. } => {
                self.phase = Phase::Out { until: until.max(now.after(hold)), fault };
                None
            }
        }
    }

    /// Takes the one trial that may be had now; false if somebody else has it.
    pub(super) fn try_out(&mut self, now: Moment) -> bool {
        let due = match self.phase {
            Phase::Out { until, .. } | Phase::Trial { until } => until <= now,
            Phase::Well | Phase::Returning { .. } => false,
        };
        if due {
            self.phase = Phase::Trial { until: now.after(TRIAL) };
        }
        due
    }

    const fn is_enough(&self, fault: Fault) -> bool {
        match fault {
            Fault::Unreachable => true,
            Fault::BrokeOff => self.broken >= BROKEN,
            Fault::Unwell => self.unwell >= UNWELL,
        }
    }

    fn put_out(&mut self, fault: Fault, now: Moment, hold: Duration) {
        let (first, most) = OUT;
        let time = first.saturating_mul(1 << self.times.min(16)).min(most);
        let time = if fault == Fault::BrokeOff { time } else { time.max(hold) };
        self.times += 1;
        (self.broken, self.unwell) = (0, 0);
        self.phase = Phase::Out { until: now.after(time), fault };
    }

    fn back(&mut self, now: Moment) -> Change {
        (self.broken, self.unwell) = (0, 0);
        self.phase = Phase::Returning { since: now };
        Change::Returned
    }

    /// Once it has returned for good, its past is forgotten.
    pub(super) fn settle(&mut self, now: Moment) {
        if let Phase::Returning { since } = self.phase
            && now.since(since) >= RAMP
        {
            (self.phase, self.times) = (Phase::Well, 0);
        }
    }
}

/// What of the requests a replica gets that has been back since then.
pub(super) fn share(since: Moment, now: Moment) -> u64 {
    let part = now.since(since).as_millis() * u128::from(FULL) / RAMP.as_millis();
    u64::try_from(part).unwrap_or(FULL).clamp(LEAST, FULL)
}

/// A phase, and whether anything is held against the replica, in one word that is read without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed(pub(super) u64);

/// The bits below the moment.
const TAG: u64 = 0b1111;
const STAINED: u64 = 0b1000;

impl Packed {
    /// A replica of which nothing is known.
    pub(super) const GOOD: Self = Self(0);

    pub(super) const fn phase(self) -> Phase {
        let moment = Moment(self.0 >> 4);
        match self.0 & (TAG ^ STAINED) {
            1 => Phase::Returning { since: moment },
            2 => Phase::Trial { until: moment },
            3 => Phase::Out { until: moment, fault: Fault::Unreachable },
            4 => Phase::Out { until: moment, fault: Fault::BrokeOff },
            5 => Phase::Out { until: moment, fault: Fault::Unwell },
            _ => Phase::Well,
        }
    }

    /// Whether a success would change something.
    pub(super) const fn wants_success(self) -> bool {
        self.0 & STAINED != 0 || matches!(self.phase(), Phase::Out { .. } | Phase::Trial { .. })
    }
}

impl From<&Health> for Packed {
    fn from(health: &Health) -> Self {
        let (tag, moment) = match health.phase() {
            Phase::Well => (0, Moment(0)),
            Phase::Returning { since } => (1, since),
            Phase::Trial { until } => (2, until),
            Phase::Out { until, fault: Fault::Unreachable } => (3, until),
            Phase::Out { until, fault: Fault::BrokeOff } => (4, until),
            Phase::Out { until, fault: Fault::Unwell } => (5, until),
        };
        let stain = if health.is_clean() { 0 } else { STAINED };
        Self(moment.0 << 4 | stain | tag)
    }
}

#[cfg(test)]
mod tests;
