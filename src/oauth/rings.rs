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
            keys.push(fresh.clone().from(ends.max(now.after(LEAD))));
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
            None => keys.push(fresh.clone().from(begins(fresh))),
        }
        Some(Self::new(keys))
    }

    /// The index of the key that signs: the latest that has begun. If by this clock none has, the one that begins first.
    fn active(&self, now: Timestamp) -> usize {
        let begun = self.0.iter().position(|key| key.begins() <= now);
        begun.unwrap_or(self.0.len().saturating_sub(1))
    }

    /// When the key at `index` is trusted no more: what it signed last was signed when its successor took over.
    fn leaves(&self, index: usize, kept: Duration) -> Option<Timestamp> {
        let successor = self.0.get(index.checked_sub(1)?)?;
        Some(successor.begins().after(kept).after(GRACE))
    }
}
