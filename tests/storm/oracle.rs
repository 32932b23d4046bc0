//! What may become of a refresh token, by the rules of design.md §5 alone: nothing here asks the gateway's code.
//!
//! The truth is only known in part: a request whose answer never came may have been carried out or not, and nobody sees the
//! moment at which a generation was reached or confirmed. So the oracle keeps the bounds, tries the rules in every world
//! within them, and an outcome is a fault if no such world has it.

use std::collections::BTreeMap;

const GRACE: u64 = 60;
const DAY: u64 = 24 * 60 * 60;
/// Clocks are read in whole seconds, here and there.
const SLACK: u64 = 2;

/// What happens to a presented token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Tokens of this generation.
    Tokens(u64),
    /// `invalid_grant`, and the grant lives on.
    Replaced,
    /// `invalid_grant`, and the grant is revoked.
    Theft,
}

/// The rule: *p* presented, *c* current, reached so long ago, confirmed or not.
fn rule(presented: u64, current: u64, elapsed: u64, confirmed: bool) -> Outcome {
    if presented >= current {
        return Outcome::Tokens(presented + 1);
    }
    let previous = presented + 1 == current;
    if previous && (elapsed <= GRACE || (!confirmed && elapsed <= DAY)) {
        Outcome::Tokens(current)
    } else if !previous && elapsed <= GRACE {
        Outcome::Replaced
    } else {
        Outcome::Theft
    }
}

/// When something happened, at the earliest and at the latest.
#[derive(Clone, Copy, Debug)]
struct When {
    earliest: u64,
    latest: u64,
}

/// What is known of one grant.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// *c* is this at least: somebody was given its tokens.
    least: u64,
    /// And this at most: nobody has presented a token that leads further.
    most: u64,
    reached: BTreeMap<u64, When>,
    /// Generations whose access tokens were shown to the guard.
    used: u64,
    /// The newest generation that the store says is confirmed.
    confirmed: u64,
}

/// A presentation under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presentation {
    generation: u64,
    least: u64,
    at: u64,
}

impl Oracle {
    /// A grant whose first tokens were given just now.
    pub(crate) fn new(now: u64) -> Self {
        let reached = BTreeMap::from([(1, When { earliest: now.saturating_sub(SLACK), latest: now })]);
        Self { least: 1, most: 1, reached, used: 0, confirmed: 0 }
    }

    /// Everything that may become of a token presented now or within the next `patience` seconds.
    pub(crate) fn possible(&self, generation: u64, now: u64, patience: u64) -> Vec<Outcome> {
        let presentation = Presentation { generation, least: self.least, at: now };
        self.worlds(presentation, now + patience)
    }

    /// A token goes out.
    pub(crate) fn present(&mut self, generation: u64, now: u64) -> Presentation {
        let presentation = Presentation { generation, least: self.least, at: now };
        if generation >= self.least {
            self.most = self.most.max(generation + 1);
            let when = When { earliest: now.saturating_sub(SLACK), latest: u64::MAX };
            self.reached.entry(generation + 1).or_insert(when);
        }
        presentation
    }

    /// Its answer was made, whoever got it.
    pub(crate) fn answered(
        &mut self,
        presented: Presentation,
        outcome: Outcome,
        now: u64,
    ) -> Result<(), String> {
        let possible = self.worlds(presented, now);
        if !possible.contains(&outcome) {
            return Err(format!("{presented:?} came to {outcome:?}, possible is {possible:?}: {self:?}"));
        }
        if let Outcome::Tokens(generation) = outcome {
            self.least = self.least.max(generation);
            if let Some(when) = self.reached.get_mut(&generation) {
                when.latest = when.latest.min(now + SLACK);
            }
        }
        Ok(())
    }

    /// An access token goes to the guard.
    pub(crate) fn uses(&mut self, generation: u64) {
        self.used = self.used.max(generation);
    }

    /// What the store says while nothing is under way.
    pub(crate) fn read(&mut self, current: u64, reached: u64, confirmed: bool) -> Result<(), String> {
        let when = self.reached.get(&current).copied();
        let fits = (self.least..=self.most).contains(&current)
            && when.is_some_and(|when| (when.earliest..=when.latest).contains(&reached))
            && (!confirmed || self.used >= current);
        if !fits {
            return Err(format!(
                "the store has {current}, reached {reached}, confirmed {confirmed}: {self:?}"
            ));
        }
        (self.least, self.most) = (current, current);
        self.reached = BTreeMap::from([(current, When { earliest: reached, latest: reached })]);
        if confirmed {
            self.confirmed = current;
        }
        Ok(())
    }

    fn worlds(&self, presented: Presentation, now: u64) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for current in presented.least..=self.most {
            let when = self.reached.get(&current).copied().unwrap_or(When { earliest: 0, latest: u64::MAX });
            let fewest = presented.at.saturating_sub(when.latest.saturating_add(SLACK));
            let most = (now + SLACK).saturating_sub(when.earliest);
            let ages = [fewest, GRACE, GRACE + 1, DAY, DAY + 1, most];
            for elapsed in ages.into_iter().filter(|elapsed| (fewest..=most).contains(elapsed)) {
                for confirmed in [false, true] {
                    let may_be = if confirmed { self.used >= current } else { self.confirmed < current };
                    if may_be {
                        outcomes.push(rule(presented.generation, current, elapsed, confirmed));
                    }
                }
            }
        }
        outcomes.sort_unstable();
        outcomes.dedup();
        outcomes
    }
}

#[test]
fn the_oracle_knows_what_it_may_expect() {
    let mut oracle = Oracle::new(1000);
    assert_eq!(oracle.possible(1, 1000, 0), [Outcome::Tokens(2)]);
    let first = oracle.present(1, 1000);
    assert_eq!(oracle.possible(1, 1000, 50), [Outcome::Tokens(2)], "carried out or not");
    assert!(oracle.answered(first, Outcome::Theft, 1001).is_err());
    oracle.answered(first, Outcome::Tokens(2), 1001).unwrap();
    assert_eq!(oracle.possible(1, 5000, 0), [Outcome::Tokens(2)], "not confirmed");
    assert_eq!(oracle.possible(1, 1000 + 2 * DAY, 0), [Outcome::Theft]);
    oracle.uses(2);
    assert_eq!(oracle.possible(1, 5000, 0), [Outcome::Tokens(2), Outcome::Theft], "perhaps it is");
    oracle.read(2, 1001, true).unwrap();
    assert_eq!(oracle.possible(1, 5000, 0), [Outcome::Theft]);
    let second = oracle.present(2, 5000);
    assert!(oracle.answered(second, Outcome::Tokens(2), 5000).is_err(), "a token is no answer to itself");
    oracle.answered(second, Outcome::Tokens(3), 5000).unwrap();
    assert_eq!(oracle.possible(1, 5010, 0), [Outcome::Replaced]);
    let old = oracle.present(1, 5010);
    assert!(oracle.answered(old, Outcome::Tokens(2), 5010).is_err(), "honoured beyond the rules");
    assert!(oracle.read(2, 1001, true).is_err(), "the store went back");
    assert!(oracle.read(4, 5010, false).is_err(), "nobody has presented the third token");
    oracle.read(3, 5000, false).unwrap();
}
