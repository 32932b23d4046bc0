//! The one thread that writes. It takes whatever is queued, does it in one transaction, makes that durable, and answers all: a
//! durable commit costs the same for one write as for a hundred.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use ::redb::{Database, Durability, Error};
use tokio::sync::oneshot;

use super::tables::{self, Writing};
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::backend::Reply;
use crate::store::schema::REVOKED;
use crate::trouble::Trouble;

/// How many writes share a commit at most, so that the first of them does not wait long.
const GROUP: usize = 256;

/// A write, and who waits for it.
trait Job: Send {
    /// Does it, as a part of the transaction.
    fn write(&mut self, writing: &mut Writing<'_>) -> Result<(), Error>;

    /// Tells who waits how the commit went.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// The writer has ended: the process ends too, or the writer panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the store is closed")]
pub(super) struct Closed;

/// The writer's queue.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    time: Arc<LogTime>,
}

impl Writer {
    /// Starts the thread. It ends, with everything queued written, when the writer is dropped.
    pub(super) fn start(database: Arc<Database>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let newest = AtomicU64::new(tables::newest_score(&database, REVOKED)?);
        let time = Arc::new(LogTime { clock, newest });
        let (queue, jobs) = mpsc::channel();
        let for_thread = Arc::clone(&time);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_until_closed(&database, &jobs, &for_thread))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), time })
    }

    /// Queues `write` at once; the future waits until it is on disk. `write` happens even if the future is dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writing<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'static, T> {
        let (reply, receiver) = oneshot::channel();
        let job = Box::new(Waiting { write: Some(write), done: None, reply });
        let queued = self.queue.as_ref().is_some_and(|queue| queue.send(job).is_ok());
        Box::pin(async move {
            if !queued {
                return Err(StoreError::away(Closed));
            }
            receiver.await.unwrap_or_else(|_| Err(StoreError::away(Closed)))
        })
    }

    /// The present moment as logs have it: milliseconds, never before an entry that is there.
    pub(super) fn log_time(&self) -> u64 {
        self.time.now()
    }
}

impl Drop for Writer {
    /// Waits until the queue is written, so that the file is free when the store is gone.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// The scores of log entries: the clock's time, but never backwards, or a reader that has gone on would miss an entry.
struct LogTime {
    clock: Arc<dyn Clock>,
    newest: AtomicU64,
}

impl LogTime {
    fn now(&self) -> u64 {
        let now = self.clock.now().seconds().saturating_mul(1000);
        now.max(self.newest.fetch_max(now, Ordering::Relaxed))
    }
}

/// A [`Job`] of any type.
struct Waiting<W, T> {
    write: Option<W>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<W, T> Job for Waiting<W, T>
where
    W: FnOnce(&mut Writing<'_>) -> Result<T, Error> + Send,
    T: Send,
{
    fn write(&mut self, writing: &mut Writing<'_>) -> Result<(), Error> {
        if let Some(write) = self.write.take() {
            self.done = Some(write(writing)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let done = self.done.ok_or_else(|| StoreError::away(Closed));
        // A caller that went away wants no answer.
        drop(self.reply.send(committed.and(done)));
    }
}

fn write_until_closed(database: &Database, queue: &mpsc::Receiver<Box<dyn Job>>, time: &LogTime) {
    while let Ok(first) = queue.recv() {
        let mut group: Vec<_> = std::iter::once(first).chain(queue.try_iter().take(GROUP - 1)).collect();
        let committed = commit(database, time.now(), &mut group).map_err(|error| {
            let trouble = Trouble::StoreFile.id();
            tracing::error!(trouble, %error, "the store cannot be written");
            StoreError::away(error)
        });
        for job in group {
            job.answer(committed.clone());
        }
    }
}

/// Does all of `group` and makes it durable, or nothing of it.
fn commit(database: &Database, score: u64, group: &mut [Box<dyn Job>]) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    let mut writing = Writing::begin(&transaction, score)?;
    for job in group {
        job.write(&mut writing)?;
    }
    drop(writing);
    Ok(transaction.commit()?)
}
