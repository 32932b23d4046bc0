//! Idle connections by upstream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::RequestBody;

/// How long a connection may lie idle. Node and uvicorn close theirs after five seconds; the one who closes first knows it.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// An open connection to an upstream.
pub(super) struct Connection {
    /// `scheme://host[:port]`.
    pub(super) upstream: Arc<str>,
    /// Where requests go in.
    pub(super) sender: SendRequest<RequestBody>,
    /// Set before the connection is used again: the socket is then asked whether it is still open.
    pub(super) suspect: Arc<AtomicBool>,
}

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

/// A connection in use.
pub(super) struct Lease {
    connection: Connection,
    idle: Idle,
}

impl Idle {
    /// The connection to `upstream` that was used last and looks open.
    pub(super) fn take(&self, upstream: &str) -> Option<Connection> {
        let mut entries = self.lock();
        let list = entries.by_upstream.get_mut(upstream)?;
        for at in (0..list.len()).rev() {
            if !list[at].is_usable() {
                list.remove(at);
            } else if list[at].connection.sender.is_ready() {
                let connection = list.remove(at).connection;
                connection.suspect.store(true, Ordering::Relaxed);
                return Some(connection);
            }
            // Else its answer has just ended, and its task needs one more turn.
        }
        None
    }

    /// Marks `connection` as in use, to be given back here.
    pub(super) fn lease(&self, connection: Connection) -> Lease {
        Lease { connection, idle: self.clone() }
    }

    fn put(&self, connection: Connection) {
        let upstream = Arc::clone(&connection.upstream);
        let mut entries = self.lock();
        entries.by_upstream.entry(upstream).or_default().push(Entry { connection, since: Instant::now() });
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
    fn is_usable(&self) -> bool {
        !self.connection.sender.is_closed() && self.since.elapsed() < IDLE_TIMEOUT
    }
}

impl Lease {
    /// Puts the connection back: its answer has ended.
    pub(super) fn give_back(self) {
        if !self.connection.sender.is_closed() {
            self.idle.put(self.connection);
        }
    }
}

/// Closes connections that lay idle for too long; ends when there is none left.
async fn sweep(entries: Weak<Mutex<Entries>>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        let Some(entries) = entries.upgrade() else { return };
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_upstream.retain(|_, list| {
            list.retain(Entry::is_usable);
            !list.is_empty()
        });
        if entries.by_upstream.is_empty() {
            entries.swept = false;
            return;
        }
    }
}
