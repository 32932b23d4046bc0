//! How a replica stands, known to all workers: they read it without a lock, which is taken only where something goes wrong or
//! gets well again. The log is told of both once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::health::{Change, FULL, Fault, Health, Moment, Packed, Phase, share};
use crate::trouble::Trouble;

/// What is known and counted of a replica.
#[derive(Debug)]
pub(super) struct Standing {
    service: String,
    replica: String,
    health: Mutex<Health>,
    /// [`Health`] as it is read on a request's way.
    packed: AtomicU64,
    open: AtomicU64,
    ejections: AtomicU64,
    probe_failures: AtomicU64,
}

/// How a replica stands, for metrics and `/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaFact {
    /// The service's name.
    pub service: String,
    /// `host:port`.
    pub replica: String,
    /// Why it gets no new requests, while others can take them.
    pub ejected: Option<&'static str>,
    /// Requests that are open at it.
    pub open: u64,
    /// How often it was ejected.
    pub ejections: u64,
    /// How many probes went wrong.
    pub probe_failures: u64,
}

/// A request that is open at a replica until this is dropped.
pub(super) struct Open(Arc<Standing>);

impl Standing {
    pub(super) fn new(service: &str, replica: &str) -> Self {
        Self {
            service: service.to_owned(),
            replica: replica.to_owned(),
            health: Mutex::new(Health::GOOD),
            packed: AtomicU64::new(Packed::GOOD.0),
            open: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            probe_failures: AtomicU64::new(0),
        }
    }

    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// How many requests it has.
    pub(super) fn opened(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn phase(&self) -> Phase {
        self.packed().phase()
    }

    fn packed(&self) -> Packed {
        Packed(self.packed.load(Ordering::Relaxed))
    }

    /// A request was answered: nearly always there is nothing to learn from it.
    pub(super) fn answered(&self) {
        if self.packed().wants_success() {
            self.change(|health| health.answered(Moment::now()));
        }
    }

    pub(super) fn failed(&self, fault: Fault, hold: Duration) {
        self.change(|health| health.failed(fault, Moment::now(), hold));
    }

    pub(super) fn probe_went_well(&self) {
        if self.packed().wants_success() {
            self.change(|health| health.probed(Moment::now()));
        }
    }

    pub(super) fn probe_went_wrong(&self, fault: Fault, hold: Duration) {
        self.probe_failures.fetch_add(1, Ordering::Relaxed);
        self.failed(fault, hold);
    }

    /// Takes the one trial that may be had now.
    pub(super) fn try_out(&self, now: Moment) -> bool {
        let mut taken = false;
        self.change(|health| {
            taken = health.try_out(now);
            None
        });
        taken
    }

    /// Forgets the past of a replica that has returned for good, so that nobody asks for the time any more.
    pub(super) fn settle(&self, now: Moment) {
        if matches!(self.phase(), Phase::Returning { since } if share(since, now) == FULL) {
            self.change(|health| {
                health.settle(now);
                None
            });
        }
    }

    /// Whether its sessions count as ended.
    pub(super) fn is_lost(&self, now: Moment) -> bool {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).is_lost(now)
    }

    fn change(&self, change: impl FnOnce(&mut Health) -> Option<Change>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let told = change(&mut health);
        self.packed.store(Packed::from(&*health).0, Ordering::Relaxed);
        drop(health);
        let Self { service, replica, .. } = self;
        match told {
            Some(Change::Ejected(fault)) => {
                self.ejections.fetch_add(1, Ordering::Relaxed);
                let trouble = Trouble::UpstreamDown.id();
                tracing::warn!(service, replica, trouble, "a replica is ejected: {}", fault.told());
            }
            Some(Change::Returned) => tracing::info!(service, replica, "a replica is back"),
            None => {}
        }
    }

    pub(super) fn fact(&self) -> ReplicaFact {
        let ejected = match self.phase() {
            Phase::Out { fault, .. } => Some(fault.told()),
            Phase::Trial { .. } => Some("it is being tried out again"),
            Phase::Well | Phase::Returning { .. } => None,
        };
        ReplicaFact {
            service: self.service.clone(),
            replica: self.replica.clone(),
            ejected,
            open: self.opened(),
            ejections: self.ejections.load(Ordering::Relaxed),
            probe_failures: self.probe_failures.load(Ordering::Relaxed),
        }
    }
}

impl Open {
    pub(super) fn answered(&self) {
        self.0.answered();
    }

    pub(super) fn failed(&self, fault: Fault, hold: Duration) {
        self.0.failed(fault, hold);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
