//! The rings in the store: kept up by schedule, listed and rotated by an operator. Every change is a compare-and-swap of the
//! ring's record, so of several processes that see the same need one writes, and the others find it done.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::keys::{self, KeyRingError};
use crate::oauth::{KeyId, KeyPlace, KeySchedule, KeyState, Ring, Rotation, StoredKey, TokenLives};
use crate::store::{RingKind, StoreError, Swap};
use crate::telemetry::{Audit, Event};
use crate::time::Timestamp;

/// How often a change is tried again after a conflict, or after an answer of the store that was lost.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// A key in the store, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// What it is for.
    pub kind: RingKind,
    /// Its name: a JWT's `kid`, the first part of a refresh token.
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

impl KeyStatus {
    fn of(kind: RingKind, place: KeyPlace) -> Self {
        let KeyPlace { id, state, created, signs_from, leaves } = place;
        Self { kind, id, state, created, signs_from, leaves }
    }
}

/// Every key in the store as of now: by kind, the latest first.
///
/// # Errors
/// [`KeyRingError`].
pub async fn list_keys(shared: &Shared, lives: &TokenLives) -> Result<Vec<KeyStatus>, KeyRingError> {
    let now = shared.clock.now();
    let mut all = Vec::new();
    for kind in RingKind::ALL {
        let ring = Ring::new(shared.store.key_ring(kind, keys::fresh(kind, now)?).await?);
        let places = ring.places(kept(kind, lives), now);
        all.extend(places.into_iter().map(|place| KeyStatus::of(kind, place)));
    }
    Ok(all)
}

/// Replaces the key of a kind because an operator wants it; the key that signs, or will. Audited as the operator's deed.
/// Asked twice within the wait, [`Rotation::AfterWait`] makes one key, not two.
///
/// [`Rotation::Compromised`] ends at once here, and within half a minute in every other process, what the keys of this kind have made.
/// Of `signing`: every access token; clients refresh silently, and open streams end with their tokens. Of `refresh`: every
/// refresh token, so that people sign in again in each client once its access token has ended. Of `session`: the sessions of
/// legacy servers; clients begin new ones.
///
/// # Errors
/// [`KeyRingError`]. After [`StoreError::Away`] the key may have been replaced: [`list_keys`] tells.
pub async fn rotate_keys(
    shared: &Arc<Shared>,
    kind: RingKind,
    rotation: Rotation,
    lives: &TokenLives,
) -> Result<KeyStatus, KeyRingError> {
    let now = shared.clock.now();
    let ring =
        change(shared, (kind, "operator"), now, |ring, fresh| ring.rotated(rotation, fresh, now)).await?;
    // What was asked for stands first: the next key, or the one that has just begun to sign.
    let first = ring.places(kept(kind, lives), now).into_iter().next();
    first.map(|place| KeyStatus::of(kind, place)).ok_or(KeyRingError::Empty(kind))
}

/// Keeps a signing key trusted until a token ends that it is about to sign and that lives longer than the others. Whether it is: not
/// if the key is gone from the ring.
///
/// # Errors
/// [`KeyRingError`].
pub(super) async fn keep_signing_key(
    shared: &Arc<Shared>,
    id: &KeyId,
    until: Timestamp,
) -> Result<bool, KeyRingError> {
    let now = shared.clock.now();
    let kept = change(shared, (RingKind::Signing, "operator"), now, |ring, _| ring.needed(id, until)).await?;
    Ok(kept.keys().iter().any(|key| key.id == *id && key.needed >= Some(until)))
}

/// What every process does now and then: reads each ring, replaces keys whose time has come, forgets those that nothing needs any
/// more, and works with what is left.
///
/// # Errors
/// The last [`KeyRingError`]; the other rings were seen to all the same.
pub async fn keep_keys(shared: &Shared, schedule: &KeySchedule) -> Result<(), KeyRingError> {
    let now = shared.clock.now();
    let mut done = Ok(());
    for kind in RingKind::ALL {
        let rules = (schedule.rotate, kept(kind, &schedule.lives));
        let kept_up =
            change(shared, (kind, "gateway"), now, |ring, fresh| ring.kept_up(rules, fresh, now)).await;
        if let Err(error) = kept_up {
            done = Err(error);
        }
    }
    done
}

/// How long what a key of this kind signs is worth something.
const fn kept(kind: RingKind, lives: &TokenLives) -> Duration {
    match kind {
        RingKind::Signing => lives.access,
        RingKind::Refresh | RingKind::Session => lives.absolute,
    }
}

/// Load, decide, commit; the ring as it is afterwards, with which this process works from then on.
async fn change(
    shared: &Shared,
    (kind, by): (RingKind, &'static str),
    now: Timestamp,
    decide: impl Fn(&Ring, &StoredKey) -> Option<Ring>,
) -> Result<Ring, KeyRingError> {
    let fresh = keys::fresh(kind, now)?;
    let mut refused = StoreError::Contended;
    let mut sent = None;
    for _ in 0..ATTEMPTS {
        let loaded = shared.store.load_ring(kind, &fresh).await?;
        let old = Ring::new(loaded.value.clone());
        // With our own key in it, it was we who wrote it: the answer was lost, or nothing was there before.
        let ours = old.keys().iter().any(|key| key.id == fresh.id);
        let decided = if ours { None } else { decide(&old, &fresh) };
        let Some(new) = decided else {
            if let Some(before) = sent.filter(|_| ours) {
                audit(kind, (&before, &old), by, now);
            }
            keys::publish(shared, kind, old.clone(), now)?;
            return Ok(old);
        };
        match shared.store.swap_ring(kind, &loaded, new.keys().to_vec()).await {
            Ok(Swap::Done) => {
                audit(kind, (&old, &new), by, now);
                keys::publish(shared, kind, new.clone(), now)?;
                return Ok(new);
            }
            Ok(Swap::Conflict) => {}
            Err(error @ StoreError::Away(_)) => {
                refused = error;
                sent = Some(old);
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused.into())
}

/// Tells of the key that takes over; keys that only left are told to the log.
fn audit(kind: RingKind, (old, new): (&Ring, &Ring), by: &'static str, now: Timestamp) {
    for key in old.keys().iter().filter(|key| new.keys().iter().all(|kept| kept.id != key.id)) {
        tracing::info!(key = %key.id, "a {} key is trusted no more", kind.as_str());
    }
    // A key that is merely kept for longer takes nobody's place.
    let as_before = |first: &StoredKey| {
        old.keys().first().is_some_and(|old| old.id == first.id && old.begins() == first.begins())
    };
    let Some(first) = new.keys().first().filter(|first| !as_before(first)) else { return };
    let wait = first.begins().since(now).as_secs();
    let alone = if new.keys().len() == 1 { ", and no other is trusted" } else { "" };
    let reason = format!("{}: the key {} signs in {wait} s{alone}", kind.as_str(), first.id);
    Audit { by: Some(by), reason: Some(&reason), ..Audit::of(Event::KeyRotated) }.write_alone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Format;
    use crate::telemetry::capture::logged;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn key(id: &str, signs_from: Option<Timestamp>) -> StoredKey {
        let material = "planted-material".to_owned();
        StoredKey { id: KeyId::parse(id).unwrap(), material, created: NOW, signs_from, needed: None }
    }

    fn told(old: Vec<StoredKey>, new: Vec<StoredKey>, by: &'static str) -> String {
        let (old, new) = (Ring::new(old), Ring::new(new));
        logged(Format::Text, "info", || audit(RingKind::Signing, (&old, &new), by, NOW))
    }

    #[test]
    fn a_key_that_takes_over_is_an_audit_event_and_one_that_leaves_a_line() {
        let next = key("k2", Some(NOW.after(Duration::from_mins(10))));
        let begun = told(vec![key("k1", None)], vec![next.clone(), key("k1", None)], "operator");
        let wanted =
            "audit: event=\"key_rotated\" by=\"operator\" reason=\"signing: the key k2 signs in 600 s\"\n";
        assert!(begun.ends_with(wanted) && begun.lines().count() == 1, "{begun}");
        // It was once told as a rotation that a key is needed for longer.
        let needed = StoredKey { needed: Some(NOW.after(Duration::from_hours(1))), ..key("k1", None) };
        assert_eq!(told(vec![key("k1", None)], vec![needed], "operator"), "");
        let alone = told(vec![key("k1", None)], vec![key("k2", Some(NOW))], "operator");
        assert!(alone.contains("signing: the key k2 signs in 0 s, and no other is trusted"), "{alone}");
        let left = told(vec![next.clone(), key("k1", None)], vec![next], "gateway");
        assert!(left.contains("a signing key is trusted no more") && left.contains("k1"), "{left}");
        assert!(!left.contains("key_rotated") && !format!("{begun}{left}").contains("planted"), "{left}");
    }
}
