//! When a key signs, and how long it is trusted: next → active → retiring → gone. Everything follows from the ring's
//! record and the time, so that every process that has read the record comes to the same answer.
//!
//! A key is in the record, and so known to every process and to every reader of `/jwks`, well before it signs. It stays
//! there until the last thing that it signed has ended. A process may work with a record that it read a minute ago, and its
//! clock may be half a minute off: [`GRACE`] covers both.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KeyId, TokenLives};
use crate::time::Timestamp;

/// How long a key of the schedule is known before it signs: verifiers outside may keep our key set for longer than we say.
pub const LEAD: Duration = Duration::from_hours(24);
/// The same for a key that an operator asks for: every process has read the ring again by then, and every verifier that heeds
/// the key set's `max-age` has fetched it again.
pub const WAIT: Duration = Duration::from_mins(10);
/// How much longer than what it signed a key is trusted.
pub const GRACE: Duration = Duration::from_mins(2);

/// A key that the store keeps, sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// Its name.
    pub id: KeyId,
    /// Its material, in the form its kind has.
    pub material: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it signs; from its making on if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_from: Option<Timestamp>,
    /// When a token ends that it signed and that lives longer than the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<Timestamp>,
}

/// What a key does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is trusted already, and will sign.
    Next,
    /// It signs.
    Active,
    /// It signed, and is trusted until what it signed has ended.
    Retiring,
}

/// A key's place in its ring at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// Its name.
    pub id: KeyId,
    /// What it does.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it signs, or signed.
    pub signs_from: Timestamp,
    /// From when on it is trusted no more; `None` while no key is there to take its place.
    pub leaves: Option<Timestamp>,
}

/// When keys are replaced without being asked to.
#[derive(Clone, Copy, Debug)]
pub struct KeySchedule {
    /// How long a key signs; `None` if only an operator replaces keys.
    pub rotate: Option<Duration>,
    /// How long tokens live.
    pub lives: TokenLives,
}

/// How an operator replaces a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The next key signs after [`WAIT`]: nobody notices.
    AfterWait,
    /// The next key signs at once: another process, or a verifier outside that has not read it yet, may refuse a token or two
    /// until it has.
    AtOnce,
    /// A new key signs at once, and no other is trusted from now on: what they signed is worth nothing.
    Compromised,
}

/// All keys of one kind, by when they sign, the latest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring(Vec<StoredKey>);

impl StoredKey {
    /// When it begins to sign.
    #[must_use]
    pub fn begins(&self) -> Timestamp {
        self.signs_from.unwrap_or(self.created)
    }

    fn from(self, begins: Timestamp) -> Self {
        Self { signs_from: Some(begins), ..self }
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("id", &self.id)
            .field("begins", &self.begins())
            .finish_non_exhaustive()
    }
}

impl KeyState {
    /// Its name, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }
}

impl Ring {
    /// A ring of keys in any order; of two that begin at once the first is the later one.
    #[must_use]
    pub fn new(mut keys: Vec<StoredKey>) -> Self {
        keys.sort_by_key(|key| Reverse(key.begins()));
        Self(keys)
    }

    /// The keys, by when they sign, the latest first.
    #[must_use]
    pub fn keys(&self) -> &[StoredKey] {
        &self.0
    }

    /// The keys as they are used: the active one first, which signs; all are trusted.
    #[must_use]
    pub fn into_use(mut self, now: Timestamp) -> Vec<StoredKey> {
        let active = self.active(now);
        if let Some(before) = self.0.get_mut(..=active) {
            before.rotate_right(1);
        }
        self.0
    }

    /// What each key does at `now`, the latest first; `kept` is how long what a key signs is worth something.
    #[must_use]
    pub fn places(&self, kept: Duration, now: Timestamp) -> Vec<KeyPlace> {
        let active = self.active(now);
        let place = |(index, key): (usize, &StoredKey)| KeyPlace {
            id: key.id.clone(),
            state: match index {
                index if index < active => KeyState::Next,
                index if index == active => KeyState::Active,
                _ => KeyState::Retiring,
            },
            created: key.created,
            signs_from: key.begins(),
            leaves: self.leaves(index, kept),
        };
        self.0.iter().enumerate().map(place).collect()
    }

    /// The ring as the schedule wants it at `now`: without keys that nothing needs any more, and with `fresh` to come when the
    /// active key's time ends within [`LEAD`]. `None` if it is so already.
    #[must_use]
    pub fn kept_up(
        &self,
        (rotate, kept): (Option<Duration>, Duration),
        fresh: &StoredKey,
        now: Timestamp,
    ) -> Option<Self> {
        let active = self.active(now);
        let needed = |index: usize| self.leaves(index, kept).is_none_or(|leaves| now < leaves);
        let mut keys: Vec<_> = (0..self.0.len())
            .filter(|index| *index <= active || needed(*index))
            .map(|index| self.0[index].clone())
            .collect();
        let ends = rotate.and_then(|rotate| Some(self.0.get(active)?.begins().after(rotate)));
        if let Some(ends) = ends.filter(|ends| active == 0 && *ends <= now.after(LEAD)) {
            keys.insert(0, fresh.clone().from(ends.max(now.after(LEAD))));
        }
        (keys != self.0).then(|| Self::new(keys))
    }

    /// The ring after an operator's `rotation` at `now`, with `fresh` if no key is there that could take over; `None` if it is
    /// so already.
    #[must_use]
    pub fn rotated(&self, rotation: Rotation, fresh: &StoredKey, now: Timestamp) -> Option<Self> {
        let begins = |key: &StoredKey| match rotation {
            Rotation::AfterWait => key.created.after(WAIT).max(now),
            Rotation::AtOnce | Rotation::Compromised => now,
        };
        if rotation == Rotation::Compromised {
            return Some(Self(vec![fresh.clone().from(now)]));
        }
        let mut keys = self.0.clone();
        // The one that would be the next to sign anyway.
        match self.active(now).checked_sub(1).map(|next| &mut keys[next]) {
            Some(next) if next.begins() <= begins(next) => return None,
            Some(next) => *next = next.clone().from(begins(next)),
            None => keys.insert(0, fresh.clone().from(begins(fresh))),
        }
        Some(Self::new(keys))
    }

    /// The ring with the key `id` trusted until `until` at least, for a token that lives longer than the others; `None` if it is so
    /// already, or if the key is not there.
    #[must_use]
    pub fn needed(&self, id: &KeyId, until: Timestamp) -> Option<Self> {
        let mut keys = self.0.clone();
        let key = keys.iter_mut().find(|key| key.id == *id)?;
        if key.needed >= Some(until) {
            return None;
        }
        key.needed = Some(until);
        Some(Self(keys))
    }

    /// The index of the key that signs: the latest that has begun. If by this clock none has, the one that begins first.
    fn active(&self, now: Timestamp) -> usize {
        let begun = self.0.iter().position(|key| key.begins() <= now);
        begun.unwrap_or(self.0.len().saturating_sub(1))
    }

    /// When the key at `index` is trusted no more: what it signed last was signed when its successor took over.
    fn leaves(&self, index: usize, kept: Duration) -> Option<Timestamp> {
        let successor = self.0.get(index.checked_sub(1)?)?;
        let last = successor.begins().after(kept).max(self.0[index].needed.unwrap_or(successor.begins()));
        Some(last.after(GRACE))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const HOUR: Duration = Duration::from_hours(1);
    const QUARTER: Duration = Duration::from_hours(90 * 24);
    /// A quarter's rotation of keys of tokens that live an hour.
    const RULES: (Option<Duration>, Duration) = (Some(QUARTER), HOUR);

    fn key(id: &str, created: Timestamp, signs_from: Option<Timestamp>) -> StoredKey {
        StoredKey {
            id: KeyId::parse(id).unwrap(),
            material: "material".to_owned(),
            created,
            signs_from,
            needed: None,
        }
    }

    /// What stores of before have: one plain key.
    fn plain() -> Ring {
        Ring::new(vec![key("k1", NOW, None)])
    }

    fn fresh(id: &str, now: Timestamp) -> StoredKey {
        key(id, now, None)
    }

    /// `id:state` of each key, the latest first.
    fn shown(ring: &Ring, now: Timestamp) -> String {
        let places = ring.places(HOUR, now);
        let shown: Vec<_> =
            places.iter().map(|place| format!("{}:{}", place.id, place.state.as_str())).collect();
        shown.join(" ")
    }

    fn in_use(ring: &Ring, now: Timestamp) -> Vec<String> {
        ring.clone().into_use(now).into_iter().map(|key| key.id.to_string()).collect()
    }

    #[test]
    fn a_key_of_a_store_of_before_is_active_from_its_making_on() {
        let place = &plain().places(HOUR, NOW)[0];
        assert_eq!((place.state, place.signs_from, place.leaves), (KeyState::Active, NOW, None));
        assert_eq!(shown(&plain(), NOW.before(HOUR)), "k1:active", "also by a clock that is behind");
        let two = Ring::new(vec![key("first", NOW, None), key("second", NOW, None)]);
        assert_eq!(shown(&two, NOW), "first:active second:retiring");
    }

    // V3
    #[test]
    fn a_key_is_next_for_a_day_then_active_then_retiring_until_its_last_token_has_ended() {
        let due = NOW.after(QUARTER).before(LEAD);
        assert_eq!(plain().kept_up(RULES, &fresh("k2", due), due.before(Duration::from_secs(1))), None);
        let ring = plain().kept_up(RULES, &fresh("k2", due), due).unwrap();
        assert_eq!(shown(&ring, due), "k2:next k1:active");
        assert_eq!(in_use(&ring, due), ["k1", "k2"]);
        assert_eq!(ring.kept_up(RULES, &fresh("k3", due), due), None, "one is enough");

        let begins = NOW.after(QUARTER);
        assert_eq!(shown(&ring, begins.before(Duration::from_secs(1))), "k2:next k1:active");
        assert_eq!(shown(&ring, begins), "k2:active k1:retiring");
        assert_eq!(in_use(&ring, begins), ["k2", "k1"]);

        let leaves = begins.after(HOUR).after(GRACE);
        assert_eq!(ring.places(HOUR, begins)[1].leaves, Some(leaves));
        assert_eq!(ring.kept_up(RULES, &fresh("k3", begins), leaves.before(Duration::from_secs(1))), None);
        let ring = ring.kept_up(RULES, &fresh("k3", begins), leaves).unwrap();
        assert_eq!(shown(&ring, leaves), "k2:active");
    }

    #[test]
    fn a_key_that_is_overdue_still_gives_its_successor_a_day() {
        let late = NOW.after(10 * QUARTER);
        let ring = plain().kept_up(RULES, &fresh("k2", late), late).unwrap();
        assert_eq!(ring.keys()[0].begins(), late.after(LEAD));
    }

    #[test]
    fn without_a_schedule_keys_are_only_forgotten() {
        let late = NOW.after(10 * QUARTER);
        assert_eq!(plain().kept_up((None, HOUR), &fresh("k2", late), late), None);
        let ring = plain().rotated(Rotation::AtOnce, &fresh("k2", NOW), NOW).unwrap();
        assert_eq!(shown(&ring.kept_up((None, HOUR), &fresh("k3", late), late).unwrap(), late), "k2:active");
    }

    #[test]
    fn an_operators_key_signs_after_the_wait_and_asking_twice_makes_one() {
        let ring = plain().rotated(Rotation::AfterWait, &fresh("k2", NOW), NOW).unwrap();
        assert_eq!(
            (shown(&ring, NOW).as_str(), ring.keys()[0].begins()),
            ("k2:next k1:active", NOW.after(WAIT))
        );
        let soon = NOW.after(Duration::from_mins(1));
        assert_eq!(ring.rotated(Rotation::AfterWait, &fresh("k3", soon), soon), None);
        let sooner = ring.rotated(Rotation::AtOnce, &fresh("k3", soon), soon).unwrap();
        assert_eq!(shown(&sooner, soon), "k2:active k1:retiring");
    }

    #[test]
    fn an_operator_brings_the_key_of_the_schedule_forward() {
        let due = NOW.after(QUARTER).before(LEAD);
        let ring = plain().kept_up(RULES, &fresh("k2", due), due).unwrap();
        let later = due.after(HOUR);
        let ring = ring.rotated(Rotation::AfterWait, &fresh("k3", later), later).unwrap();
        assert_eq!(shown(&ring, later), "k2:active k1:retiring", "it has been known for an hour");
    }

    #[test]
    fn of_a_ring_that_was_given_away_nothing_is_trusted() {
        let ring = plain().rotated(Rotation::AfterWait, &fresh("k2", NOW), NOW).unwrap();
        let ring = ring.rotated(Rotation::Compromised, &fresh("k3", NOW), NOW).unwrap();
        assert_eq!(shown(&ring, NOW), "k3:active");
        assert_eq!(
            in_use(&ring, NOW.before(Duration::from_secs(30))),
            ["k3"],
            "by a clock that is behind too"
        );
    }

    // V3
    #[test]
    fn a_key_stays_until_the_last_long_token_that_it_signed_has_ended() {
        let ends = NOW.after(10 * HOUR);
        let ring = plain().needed(&KeyId::parse("k1").unwrap(), ends).unwrap();
        assert_eq!(ring.needed(&KeyId::parse("k1").unwrap(), NOW.after(HOUR)), None, "never shorter");
        assert_eq!(ring.needed(&KeyId::parse("k9").unwrap(), ends), None, "nobody's key");
        let ring = ring.rotated(Rotation::AtOnce, &fresh("k2", NOW), NOW).unwrap();
        assert_eq!(ring.places(HOUR, NOW)[1].leaves, Some(ends.after(GRACE)));
        assert_eq!(ring.kept_up(RULES, &fresh("k3", ends), ends), None, "it is still there");
        let gone = ring.kept_up(RULES, &fresh("k3", ends), ends.after(GRACE)).unwrap();
        assert_eq!(shown(&gone, ends.after(GRACE)), "k2:active");
        let given_away = ring.rotated(Rotation::Compromised, &fresh("k3", NOW), NOW).unwrap();
        assert_eq!(shown(&given_away, NOW), "k3:active", "whatever it signed");
    }

    #[test]
    fn a_key_is_written_without_what_it_does_not_say_and_never_shown() {
        let plain = key("k1", NOW, None);
        let written = serde_json::to_string(&plain).unwrap();
        assert_eq!(written, r#"{"id":"k1","material":"material","created":1800000000}"#);
        let next = serde_json::to_string(&key("k2", NOW, Some(NOW))).unwrap();
        assert_eq!(next, r#"{"id":"k2","material":"material","created":1800000000,"signs_from":1800000000}"#);
        assert!(!format!("{plain:?}").contains("material"));
    }

    // V3: an operator's key at once, by a clock that is right; the last to sign with the old one read the ring a minute ago, by
    // a clock half a minute ahead; and so is the clock of whoever forgets keys.
    #[test]
    fn the_grace_covers_clocks_and_readings_at_their_worst() {
        let ahead = Duration::from_secs(30);
        let ring = plain().rotated(Rotation::AtOnce, &fresh("k2", NOW), NOW).unwrap();
        let last_signed = NOW.after(Duration::from_secs(STALE)).after(ahead);
        let last_good = last_signed.after(HOUR).before(Duration::from_secs(1));
        let left = ring.kept_up(RULES, &fresh("k3", last_good), last_good.after(ahead));
        assert_eq!(left, None, "the key is still there");
        let ends = last_signed.after(HOUR).after(ahead);
        assert!(ring.kept_up(RULES, &fresh("k3", ends), ends).is_some(), "and not for longer than it must");
    }

    /// How old a process's reading may be when it signs.
    const STALE: u64 = 60;

    /// One of several processes, whose clocks differ by half a minute at most.
    struct Process {
        ahead: u64,
        ring: Ring,
        read: Timestamp,
    }

    #[derive(Clone, Debug)]
    enum Deed {
        Pass(u64),
        KeepUp(usize),
        Rotate(usize, Rotation),
        Sign(usize),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let one = prop_oneof![
            4 => (0_u64..=60).prop_map(Deed::Pass),
            2 => (0_u64..600).prop_map(Deed::Pass),
            1 => (0_u64..100 * 86_400).prop_map(Deed::Pass),
            3 => (0..3_usize).prop_map(Deed::KeepUp),
            1 => (0..3_usize).prop_map(|process| Deed::Rotate(process, Rotation::AfterWait)),
            2 => (0..3_usize).prop_map(|process| Deed::Rotate(process, Rotation::AtOnce)),
            4 => (0..3_usize).prop_map(Deed::Sign),
        ];
        prop::collection::vec(one, 1..120)
    }

    proptest! {
        // V3, T15: several processes, clocks half a minute apart, readings a minute old, some asleep for months.
        #[test]
        fn no_key_leaves_while_something_that_it_signed_is_good(
            deeds in deeds(),
            ahead in prop::array::uniform3(0_u64..=30),
            kept in 60_u64..400,
        ) {
            let (mut now, mut record) = (NOW, plain());
            let kept = Duration::from_secs(kept);
            let rules = (Some(QUARTER), kept);
            let mut processes = ahead.map(|ahead| Process { ahead, ring: plain(), read: NOW });
            let mut signed: Vec<(KeyId, Timestamp)> = Vec::new();
            for (number, deed) in deeds.into_iter().enumerate() {
                let new = |now| fresh(&format!("n{number}"), now);
                match deed {
                    Deed::Pass(seconds) => now = now.after(Duration::from_secs(seconds)),
                    Deed::KeepUp(one) | Deed::Rotate(one, _) => {
                        let mine = now.after(Duration::from_secs(processes[one].ahead));
                        let changed = match deed {
                            Deed::Rotate(_, rotation) => record.rotated(rotation, &new(mine), mine),
                            Deed::Pass(_) | Deed::KeepUp(_) | Deed::Sign(_) => record.kept_up(rules, &new(mine), mine),
                        };
                        record = changed.unwrap_or(record);
                        (processes[one].ring, processes[one].read) = (record.clone(), mine);
                    }
                    Deed::Sign(one) => {
                        let process = &mut processes[one];
                        let mine = now.after(Duration::from_secs(process.ahead));
                        if mine.since(process.read).as_secs() > STALE {
                            (process.ring, process.read) = (record.clone(), mine);
                        }
                        let key = process.ring.clone().into_use(mine).remove(0);
                        // Others whose clock is behind take it for good until then.
                        signed.push((key.id, mine.after(kept)));
                    }
                }
                signed.retain(|(_, ends)| now < *ends);
                for (id, ends) in &signed {
                    prop_assert!(record.keys().iter().any(|key| key.id == *id), "{id} left before {ends:?}");
                }
                let places = record.places(kept, now);
                prop_assert_eq!(places.iter().filter(|place| place.state == KeyState::Active).count(), 1);
                let by_the_fastest = record.places(kept, now.after(Duration::from_secs(30)));
                prop_assert!(by_the_fastest.iter().filter(|place| place.state == KeyState::Next).count() <= 1);
                prop_assert!(places.is_sorted_by_key(|place| Reverse(place.signs_from)));
            }
        }

        // V3
        #[test]
        fn a_key_of_the_schedule_is_known_for_a_day_before_it_signs(late in 0_u64..400 * 86_400, rotate in 7_u64..400) {
            let now = NOW.after(Duration::from_secs(late));
            let rules = (Some(Duration::from_hours(24 * rotate)), HOUR);
            if let Some(ring) = plain().kept_up(rules, &fresh("k2", now), now) {
                let next = &ring.keys()[0];
                prop_assert_eq!(next.id.as_str(), "k2");
                prop_assert!(next.begins() >= next.created.after(LEAD));
                prop_assert!(next.begins() >= NOW.after(Duration::from_hours(24 * rotate)));
            }
        }
    }
}
