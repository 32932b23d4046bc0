//! Backends that stand between the verbs and a real backend, and misbehave.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::store::backend::{
    Append, Backend, Cursor, Expect, Load, LogPage, Name, Prefix, Put, Reply, ScanPage, Snapshot,
};
use portcullis::store::{StoreError, Swap};
use portcullis::time::Timestamp;

/// What somebody else does meanwhile.
type Between = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Performs the next record write or take, and loses its answer. Or is an hour behind in its logs.
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn Backend>,
    pub(crate) lose: AtomicBool,
    operations: AtomicU64,
    between: Mutex<Option<Between>>,
    /// How far this store's clock is behind the real one, in milliseconds.
    pub(crate) behind: u64,
}

impl Faulty {
    pub(crate) fn new(inner: &Arc<dyn Backend>, behind: Duration) -> Arc<Self> {
        let behind = u64::try_from(behind.as_millis()).unwrap();
        Arc::new(Self {
            inner: Arc::clone(inner),
            lose: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            between: Mutex::default(),
            behind,
        })
    }

    pub(crate) fn lose_the_next_answer(&self) {
        self.lose.store(true, Ordering::SeqCst);
    }

    /// Has somebody else do something just before the next compare-and-swap: after its reading.
    pub(crate) fn before_the_next_swap(&self, other: impl Future<Output = ()> + Send + 'static) {
        *self.between.lock().unwrap() = Some(Box::pin(other));
    }

    /// How many records were read, written and counted so far.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    fn operate(&self) -> &Arc<dyn Backend> {
        self.operations.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }

    fn lossy<'a, T: Send + 'a>(&'a self, reply: Reply<'a, T>) -> Reply<'a, T> {
        Box::pin(async move {
            let answer = reply.await?;
            if self.lose.swap(false, Ordering::SeqCst) {
                return Err(StoreError::away(io::Error::from(io::ErrorKind::BrokenPipe)));
            }
            Ok(answer)
        })
    }
}

impl Backend for Faulty {
    fn get<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.operate().get(name)
    }

    fn put(&self, put: Put) -> Reply<'_, Swap> {
        let swaps = matches!(put.expect, Expect::Equal(_));
        let between = if swaps { self.between.lock().unwrap().take() } else { None };
        Box::pin(async move {
            if let Some(between) = between {
                between.await;
            }
            self.lossy(self.operate().put(put)).await
        })
    }

    fn take<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.lossy(self.operate().take(name))
    }

    fn delete<'a>(&'a self, name: &'a Name) -> Reply<'a, ()> {
        self.operate().delete(name)
    }

    fn increment<'a>(&'a self, name: &'a Name, expires: Timestamp) -> Reply<'a, u64> {
        self.operate().increment(name, expires)
    }

    fn scan(&self, prefix: Prefix, cursor: Option<Cursor>) -> Reply<'_, ScanPage> {
        self.inner.scan(prefix, cursor)
    }

    fn append(&self, append: Append) -> Reply<'_, ()> {
        self.inner.append(append)
    }

    fn read_logs<'a>(&'a self, logs: &'a [Name], since: u64) -> Reply<'a, LogPage> {
        Box::pin(async move {
            let mut page = self.inner.read_logs(logs, since + self.behind).await?;
            page.now -= self.behind;
            Ok(page)
        })
    }

    fn trim<'a>(&'a self, log: &'a Name, keep: Duration) -> Reply<'a, ()> {
        self.inner.trim(log, keep)
    }

    fn collect(&self, now: Timestamp) -> Reply<'_, bool> {
        self.inner.collect(now)
    }

    fn ping(&self) -> Reply<'_, ()> {
        self.inner.ping()
    }

    fn snapshot(&self) -> Reply<'_, Box<dyn Snapshot>> {
        self.inner.snapshot()
    }

    fn load(&self, parts: Vec<Load>) -> Reply<'_, ()> {
        self.inner.load(parts)
    }
}
