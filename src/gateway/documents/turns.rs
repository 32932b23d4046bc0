//! Whose turn it is to be fetched: one document of a host at a time, with a pause after a failure, and sixteen in all. Who
//! waited while somebody else tried the very same document shares what came of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Fault;
use crate::oauth::ClientId;

/// Fetches in flight in all.
const AT_ONCE: usize = 16;
/// Requests that wait or fetch; beyond these nobody is let in.
const WAITING: usize = 256;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a host is left alone after a failure, whatever document is wanted of it.
const PAUSE: Duration = Duration::from_secs(2);

/// What a host's last fetch failed by.
struct Failure {
    id: ClientId,
    at: Instant,
    fault: Arc<Fault>,
}

type Host = Arc<tokio::sync::Mutex<Option<Failure>>>;

/// Everybody who waits.
pub(super) struct Turns {
    /// Only hosts somebody waits for, and those that failed a moment ago.
    hosts: Mutex<HashMap<String, Host>>,
    at_once: Semaphore,
    waiting: Semaphore,
    patience: Duration,
    pause: Duration,
}

/// A host's turn: nobody else fetches from it while this lives.
pub(super) struct Turn<'a> {
    asked: Instant,
    host: OwnedMutexGuard<Option<Failure>>,
    turns: &'a Turns,
    _waiting: SemaphorePermit<'a>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            hosts: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE),
            waiting: Semaphore::new(WAITING),
            patience: PATIENCE,
            pause: PAUSE,
        }
    }

    /// Waits for the turn of `host`; `None` if too many wait, or for too long.
    pub(super) async fn enter(&self, host: &str) -> Option<Turn<'_>> {
        let asked = Instant::now();
        let waiting = self.waiting.try_acquire().ok()?;
        let host = timeout_at(asked + self.patience, self.host(host).lock_owned()).await.ok()?;
        Some(Turn { asked, host, turns: self, _waiting: waiting })
    }

    fn host(&self, name: &str) -> Host {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, host| Arc::strong_count(host) > 1 || self.failed_lately(host));
        Arc::clone(hosts.entry(name.to_owned()).or_default())
    }

    fn failed_lately(&self, host: &Host) -> bool {
        let Ok(last) = host.try_lock() else { return true };
        last.as_ref().is_some_and(|failure| failure.at.elapsed() < self.pause)
    }
}

impl<'a> Turn<'a> {
    /// What somebody else's fetch of the same document failed by, if it ended while this request waited for it.
    pub(super) fn shared_failure(&self, id: &ClientId) -> Option<Arc<Fault>> {
        let failure = self.host.as_ref().filter(|failure| failure.id == *id && failure.at >= self.asked)?;
        Some(Arc::clone(&failure.fault))
    }

    /// Waits until the host may be asked again and one of the places is free, which is held as long as what is returned;
    /// `None` if that takes too long.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'a>> {
        if let Some(failure) = self.host.as_ref() {
            sleep_until(failure.at + self.turns.pause).await;
        }
        timeout_at(self.asked + self.turns.patience, self.turns.at_once.acquire()).await.ok()?.ok()
    }

    /// Ends the turn with a success.
    pub(super) fn succeeded(mut self) {
        *self.host = None;
    }

    /// Ends the turn with a failure, which whoever waits for the same document shares.
    pub(super) fn failed(mut self, id: &ClientId, fault: Fault) -> Arc<Fault> {
        let fault = Arc::new(fault);
        *self.host = Some(Failure { id: id.clone(), at: Instant::now(), fault: Arc::clone(&fault) });
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ClientId {
        ClientId::parse(text).unwrap()
    }

    const SHORT: Duration = Duration::from_millis(150);

    fn impatient() -> Turns {
        Turns { patience: 2 * SHORT, pause: SHORT, ..Turns::new() }
    }

    #[tokio::test]
    async fn a_host_has_one_turn_at_a_time_and_others_do_not_wait_for_it() {
        let turns = impatient();
        let first = turns.enter("a.example").await.unwrap();
        assert!(turns.enter("b.example").await.is_some());
        let started = Instant::now();
        assert!(turns.enter("a.example").await.is_none());
        assert!(started.elapsed() >= 2 * SHORT);
        first.succeeded();
        assert!(turns.enter("a.example").await.is_some());
    }

    #[tokio::test]
    async fn a_host_that_failed_is_left_alone_for_a_moment() {
        let turns = impatient();
        let started = Instant::now();
        drop(turns.enter("a.example").await.unwrap().failed(&id("x"), Fault::Busy));
        let again = turns.enter("a.example").await.unwrap();
        assert!(again.shared_failure(&id("x")).is_none(), "an error is not kept for those who come later");
        assert!(again.place().await.is_some());
        assert!(started.elapsed() >= SHORT);
        again.succeeded();
        let third = turns.enter("a.example").await.unwrap();
        assert!(third.host.is_none(), "a success needs no pause");
    }

    #[tokio::test]
    async fn who_waited_for_the_same_document_shares_its_failure() {
        let turns = impatient();
        let first = turns.enter("a.example").await.unwrap();
        let wait = |wanted: &'static str| {
            let turns = &turns;
            async move { turns.enter("a.example").await.unwrap().shared_failure(&id(wanted)).is_some() }
        };
        let fail = async {
            tokio::task::yield_now().await;
            drop(first.failed(&id("x"), Fault::Busy));
        };
        let (same, other, ()) = tokio::join!(wait("x"), wait("y"), fail);
        assert_eq!((same, other), (true, false));
    }

    #[tokio::test]
    async fn sixteen_fetch_at_once_and_there_is_an_end_to_those_who_wait() {
        let turns = impatient();
        let mut all = Vec::new();
        for number in 0..WAITING {
            all.push(turns.enter(&format!("{number}.example")).await.unwrap());
        }
        assert!(turns.enter("late.example").await.is_none());
        let mut places = Vec::new();
        for turn in &all[..AT_ONCE] {
            places.push(turn.place().await.unwrap());
        }
        all.pop();
        let late = turns.enter("late.example").await.unwrap();
        assert!(late.place().await.is_none());
        places.pop();
        assert!(turns.at_once.try_acquire().is_ok());
    }

    #[tokio::test]
    async fn hosts_are_forgotten() {
        let turns = impatient();
        for number in 0..100 {
            drop(turns.enter(&format!("{number}.example")).await.unwrap().failed(&id("x"), Fault::Busy));
        }
        tokio::time::sleep(SHORT).await;
        drop(turns.enter("last.example").await);
        assert_eq!(turns.hosts.lock().unwrap().len(), 1);
    }
}
