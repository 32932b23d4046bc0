//! How often the store is asked for what, how long it takes, and how often nothing comes of it: counted between the verbs and the
//! backend.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::backend::{Append, Backend, Cursor, Load, LogPage, Name, Prefix, Put, Reply, ScanPage, Snapshot};
use super::{StoreError, Swap};
use crate::histogram::{Durations, Histogram};
use crate::time::Timestamp;

/// What is asked of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Get,
    Put,
    Take,
    Delete,
    Increment,
    Scan,
    Append,
    ReadLogs,
    Trim,
    Collect,
    Ping,
    Copy,
}

impl Operation {
    const ALL: [Self; 12] = [
        Self::Get,
        Self::Put,
        Self::Take,
        Self::Delete,
        Self::Increment,
        Self::Scan,
        Self::Append,
        Self::ReadLogs,
        Self::Trim,
        Self::Collect,
        Self::Ping,
        Self::Copy,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Take => "take",
            Self::Delete => "delete",
            Self::Increment => "increment",
            Self::Scan => "scan",
            Self::Append => "append",
            Self::ReadLogs => "read_logs",
            Self::Trim => "trim",
            Self::Collect => "collect",
            Self::Ping => "ping",
            Self::Copy => "copy",
        }
    }
}

/// What was asked of the store since it was opened.
#[derive(Debug, Default)]
pub struct Operations([Measured; Operation::ALL.len()]);

#[derive(Debug, Default)]
struct Measured {
    durations: Histogram,
    errors: AtomicU64,
}

/// What was asked of the store in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationFact {
    /// In which.
    pub operation: &'static str,
    /// How long each took, also those that failed.
    pub durations: Durations,
    /// How many failed.
    pub errors: u64,
}

impl Operations {
    /// Every way in which it was asked so far.
    #[must_use]
    pub fn facts(&self) -> Vec<OperationFact> {
        let facts = Operation::ALL.iter().zip(&self.0).map(|(operation, measured)| OperationFact {
            operation: operation.as_str(),
            durations: measured.durations.read(),
            errors: measured.errors.load(Ordering::Relaxed),
        });
        facts.filter(|fact| fact.durations.count() > 0).collect()
    }

    fn add(&self, operation: Operation, took: Duration, failed: bool) {
        let measured = &self.0[operation as usize];
        measured.durations.add(took);
        measured.errors.fetch_add(failed.into(), Ordering::Relaxed);
    }
}

/// A backend that is measured.
pub(super) struct Metered {
    backend: Arc<dyn Backend>,
    operations: Arc<Operations>,
}

impl Metered {
    pub(super) fn new(backend: Arc<dyn Backend>, operations: &Arc<Operations>) -> Self {
        Self { backend, operations: Arc::clone(operations) }
    }

    /// Whoever goes away before the answer comes is not counted.
    fn measure<'a, T: 'a>(
        &'a self,
        operation: Operation,
        reply: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            let begun = Instant::now();
            let reply = reply.await;
            self.operations.add(operation, begun.elapsed(), reply.is_err());
            reply
        })
    }
}

impl Backend for Metered {
    fn get<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.measure(Operation::Get, self.backend.get(name))
    }

    fn put(&self, put: Put) -> Reply<'_, Swap> {
        self.measure(Operation::Put, self.backend.put(put))
    }

    fn take<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.measure(Operation::Take, self.backend.take(name))
    }

    fn delete<'a>(&'a self, name: &'a Name) -> Reply<'a, ()> {
        self.measure(Operation::Delete, self.backend.delete(name))
    }

    fn increment<'a>(&'a self, name: &'a Name, expires: Timestamp) -> Reply<'a, u64> {
        self.measure(Operation::Increment, self.backend.increment(name, expires))
    }

    fn scan(&self, prefix: Prefix, cursor: Option<Cursor>) -> Reply<'_, ScanPage> {
        self.measure(Operation::Scan, self.backend.scan(prefix, cursor))
    }

    fn append(&self, append: Append) -> Reply<'_, ()> {
        self.measure(Operation::Append, self.backend.append(append))
    }

    fn read_logs<'a>(&'a self, logs: &'a [Name], since: u64) -> Reply<'a, LogPage> {
        self.measure(Operation::ReadLogs, self.backend.read_logs(logs, since))
    }

    fn trim<'a>(&'a self, log: &'a Name, keep: Duration) -> Reply<'a, ()> {
        self.measure(Operation::Trim, self.backend.trim(log, keep))
    }

    fn collect(&self, now: Timestamp) -> Reply<'_, bool> {
        self.measure(Operation::Collect, self.backend.collect(now))
    }

    fn ping(&self) -> Reply<'_, ()> {
        self.measure(Operation::Ping, self.backend.ping())
    }

    fn snapshot(&self) -> Reply<'_, Box<dyn Snapshot>> {
        self.measure(Operation::Copy, self.backend.snapshot())
    }

    fn load(&self, parts: Vec<Load>) -> Reply<'_, ()> {
        self.measure(Operation::Copy, self.backend.load(parts))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_is_counted_under_its_own_name() {
        let operations = Operations::default();
        assert_eq!(operations.facts(), [], "what was never asked is not told");
        for (number, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, number);
            (0..=number).for_each(|_| operations.add(operation, Duration::from_millis(2), number % 2 == 1));
        }
        let facts = operations.facts();
        assert_eq!(facts.iter().map(|fact| fact.operation).collect::<BTreeSet<_>>().len(), 12);
        for (number, fact) in facts.iter().enumerate() {
            let count = number as u64 + 1;
            let errors = if number % 2 == 1 { count } else { 0 };
            assert_eq!((fact.durations.count(), fact.errors), (count, errors), "{}", fact.operation);
        }
    }
}
