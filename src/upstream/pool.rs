//! Idle connections by upstream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::http1::Connection;

/// How long a connection may lie idle. Node and uvicorn close theirs after five seconds; the one who closes first knows it.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Idle connections to one upstream. More are wanted only for a moment, and then closed.
const MOST_IDLE: usize = 256;

struct Entry {
    connection: Connection,
    since: Instant,
}

#[derive(Default)]
struct Entries {
    by_upstream: HashMap<Arc<str>, Vec<Entry>>,
    /// Whether the task that closes old connections runs.
    swept: bool,
}

/// The idle connections of one worker. The lock is that worker's own, so nobody waits for it.
#[derive(Clone, Default)]
pub(super) struct Idle(Arc<Mutex<Entries>>);

impl Idle {
    /// The connection to `upstream` that was used last and is open.
    pub(super) fn take(&self, upstream: &str) -> Option<Connection> {
        let mut entries = self.lock();
        let list = entries.by_upstream.get_mut(upstream)?;
        while let Some(entry) = list.pop() {
            if entry.is_young() && entry.connection.is_usable() {
                return Some(entry.connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer has ended.
    pub(super) fn put(&self, connection: Connection) {
        let mut entries = self.lock();
        let list = match entries.by_upstream.get_mut(&connection.origin.name) {
            Some(list) => list,
            None => entries.by_upstream.entry(Arc::clone(&connection.origin.name)).or_default(),
        };
        if list.len() < MOST_IDLE {
            list.push(Entry { connection, since: Instant::now() });
        }
        if !entries.swept && tokio::runtime::Handle::try_current().is_ok() {
            entries.swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
    }

    /// How many upstreams are remembered.
    #[cfg(test)]
    pub(super) fn upstreams(&self) -> usize {
        self.lock().by_upstream.len()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_young(&self) -> bool {
        self.since.elapsed() < IDLE_TIMEOUT
    }
}

/// Closes connections that lay idle for too long; ends when there is none left.
async fn sweep(entries: Weak<Mutex<Entries>>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        let Some(entries) = entries.upgrade() else { return };
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_upstream.retain(|_, list| {
            list.retain(Entry::is_young);
            !list.is_empty()
        });
        if entries.by_upstream.is_empty() {
            entries.swept = false;
            return;
        }
    }
}
