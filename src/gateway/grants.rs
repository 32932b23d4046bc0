//! The three moves of everything that touches a grant: load, decide (pure), commit by compare-and-swap; again on a
//! conflict, and after an answer of the store that was lost.

use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use crate::oauth::{Grant, GrantId, GrantState, TokenLives};
use crate::store::{Revocation, StoreError, Swap};
use crate::time::Timestamp;

/// How often a conflict is tried again.
const ATTEMPTS: usize = 5;
/// How long a store that is away is waited for: a client that got no tokens has nothing to come back with.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(200);

/// What a decision wants.
pub(super) enum Step<T> {
    /// Nothing is written.
    Answer(T),
    /// The grant is written first.
    Write(Box<Grant>, T),
}

/// Loads a grant, decides, commits. `None` if there is no such grant.
///
/// # Errors
/// [`StoreError`] when the store stays away, or the record is never left alone.
pub(super) async fn decide<T>(
    shared: &Shared,
    lives: &TokenLives,
    (id, now): (GrantId, Timestamp),
    mut decision: impl FnMut(Grant) -> Step<T>,
) -> Result<Option<T>, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    let mut conflicts = 0;
    loop {
        let Some(loaded) = patiently(deadline, || shared.store.grant(id, now)).await? else {
            return Ok(None);
        };
        // Read as ended: by another process, or by a commit of ours whose answer was lost.
        tell_revoked(shared, &loaded.value);
        let (grant, answer) = match decision(loaded.value.clone()) {
            Step::Answer(answer) => return Ok(Some(answer)),
            Step::Write(grant, answer) => (*grant, answer),
        };
        match shared.store.swap_grant(&loaded, &grant, lives).await {
            Ok(Swap::Done) => {
                tell_revoked(shared, &grant);
                return Ok(Some(answer));
            }
            Ok(Swap::Conflict) if conflicts + 1 < ATTEMPTS => conflicts += 1,
            Ok(Swap::Conflict) => return Err(StoreError::Contended),
            // The commit may have won: what is loaded next says so.
            Err(StoreError::Away(_)) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// Tries an operation that changes nothing, or the same thing twice, until the store is back.
///
/// # Errors
/// The last [`StoreError`], once `deadline` has passed.
pub(super) async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(
    deadline: Instant,
    operation: impl Fn() -> F,
) -> Result<T, StoreError> {
    loop {
        match operation().await {
            Err(StoreError::Away(_)) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// When waiting for the store ends.
pub(super) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// A revocation of our own holds here at once; the others read it from the log.
fn tell_revoked(shared: &Shared, grant: &Grant) {
    match grant.state {
        GrantState::Revoked { at, until, .. } => {
            shared.revocations.insert(Revocation { grant: grant.id, at, until });
        }
        GrantState::Pending { .. }
        | GrantState::Active { .. }
        | GrantState::Issued { .. }
        | GrantState::Dead { .. } => {}
    }
}
