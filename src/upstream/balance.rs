//! Which replica a request goes to that may go to any. Pure: how each stands, and chance, are arguments.

use super::health::{FULL, Fault, Moment, Phase, share};

/// A replica that a request may go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Its place among the replicas.
    pub(super) at: usize,
    /// Requests that it has.
    pub(super) open: u64,
    pub(super) phase: Phase,
}

/// The choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one.
    Take(usize),
    /// This one, if the trial that it may be given now can be had; else choose again.
    Try(usize),
}

/// Chooses
/// 1. a replica whose time is over: one request sees how it is;
/// 2. of those that are well, the one with the fewest requests for its share; chance decides among equals;
/// 3. if all are out, one that answers requests though not probes, the one with the fewest;
/// 4. else the one whose time is over first.
pub(super) fn choose(
    candidates: impl Iterator<Item = Candidate> + Clone,
    now: Moment,
    chance: u32,
) -> Option<Choice> {
    if let Some(due) = candidates.clone().find(|candidate| candidate.is_due(now)) {
        return Some(Choice::Try(due.at));
    }
    let well = candidates.clone().filter_map(|candidate| Some((candidate.at, candidate.load(now)?)));
    let unwell = candidates.clone().filter(|candidate| candidate.phase.is_unwell());
    least(well, chance)
        .or_else(|| least(unwell.map(|candidate| (candidate.at, candidate.open)), chance))
        .or_else(|| candidates.min_by_key(|candidate| candidate.phase.until()).map(|soonest| soonest.at))
        .map(Choice::Take)
}

impl Candidate {
    fn is_due(&self, now: Moment) -> bool {
        self.phase.until().is_some_and(|until| until <= now)
    }

    /// The requests that it would have for a full share; `None` if it gets none.
    fn load(&self, now: Moment) -> Option<u64> {
        let share = match self.phase {
            Phase::Well => FULL,
            Phase::Returning { since } => share(since, now),
            Phase::Out { .. } | Phase::Trial { .. } => return None,
        };
        Some((self.open + 1).saturating_mul(FULL) / share)
    }
}

impl Phase {
    const fn until(self) -> Option<Moment> {
        match self {
            Self::Out { until, .. } | Self::Trial { until } => Some(until),
            Self::Well | Self::Returning { .. } => None,
        }
    }

    const fn is_unwell(self) -> bool {
        matches!(self, Self::Out { fault: Fault::Unwell, .. })
    }
}

/// The least loaded. The loads are read twice and may have changed in between; then an equal of a moment ago is good enough.
fn least(loads: impl Iterator<Item = (usize, u64)> + Clone, chance: u32) -> Option<usize> {
    let (first, best) = loads.clone().min_by_key(|(_, load)| *load)?;
    let equals = loads.filter(|(_, load)| *load == best).map(|(at, _)| at);
    let count = equals.clone().count() as u64;
    let wanted = (u64::from(chance) * count) >> 32;
    equals.clone().nth(usize::try_from(wanted).unwrap_or(0)).or(Some(first))
}

#[cfg(test)]
mod tests;
