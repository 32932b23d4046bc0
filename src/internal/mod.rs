//! What probes and monitoring ask: whether the process runs, whether it is ready, and its figures. They have a listener of
//! their own, so that nobody outside reaches it, and the control runtime answers them, so that busy workers delay nothing.
//!
//! [`answer`] knows who may ask what, [`readiness`] decides, [`metrics`] counts, [`server`] keeps it all within bounds.

mod answer;
mod metrics;
mod readiness;
mod report;
mod server;
#[cfg(test)]
mod testing;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::secret::Secret;
use crate::time::Timestamp;
use crate::upstream::ReplicaFact;

use readiness::decide;

pub use readiness::Readiness;
pub use report::{
    Abilities, Failure, Lately, Provider, Replica, Report, Service, Source, Standing, Store, TroubleCount,
};
pub use server::{Listening, start};

/// Where it listens, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The addresses; none if it is off.
    pub listen: Vec<SocketAddr>,
    /// What every request must bring along. Always there unless all addresses are loopback's.
    pub token: Option<Secret>,
}

/// What a running gateway knows of itself.
pub trait Facts: Send + Sync + 'static {
    /// Whether the store did not answer when it was asked last.
    fn store_is_away(&self) -> bool;

    /// How long ago revocations were read; `None` for never.
    fn feed_age(&self) -> Option<Duration>;

    /// Whether that is too long ago for any token to be believed.
    fn feed_is_stale(&self) -> bool;

    /// How often a limit has refused a request, by reason.
    fn refused_requests(&self) -> Vec<(&'static str, u64)>;

    /// How often a limit has refused a connection, by reason.
    fn refused_connections(&self) -> Vec<(&'static str, u64)>;

    /// What went wrong lately.
    fn lately(&self) -> Lately;

    /// How it stands with the certificate of each host; empty without TLS.
    fn certificates(&self) -> Vec<CertificateFact>;

    /// What it tells of itself beside that.
    fn standing(&self) -> Standing;

    /// What every gateway of this version supports.
    fn abilities(&self) -> Abilities;

    /// How each replica stands; empty where no service has several, and none is probed.
    fn replicas(&self) -> Vec<ReplicaFact>;
}

/// A question of another proxy, on its way to whoever decides.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Response<Bytes>> + Send + 'a>>;

/// Who says whether a request that another proxy has may go to its service.
pub trait Judge: Send + Sync + 'static {
    /// Whether there is anything to ask about.
    fn is_on(&self) -> bool;

    /// Whether `peer` is a proxy that may ask.
    fn trusts(&self, peer: IpAddr) -> bool;

    /// The answer to `peer`, which describes the request by the headers `asked`.
    fn verdict(&self, peer: SocketAddr, asked: HeaderMap) -> Verdict<'_>;
}

/// How it stands with a host's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFact {
    /// The host.
    pub host: String,
    /// When the one that is shown ends; `None` if there is none.
    pub not_after: Option<Timestamp>,
    /// Whether it has ended.
    pub expired: bool,
    /// Why getting another one failed last.
    pub problem: Option<String>,
    /// How often it failed since it last went well.
    pub failures: u32,
}

/// How far the process has come, and what it knows. Nothing is known before the store was read.
pub struct Status {
    started: Instant,
    facts: OnceLock<Arc<dyn Facts>>,
    judge: OnceLock<Arc<dyn Judge>>,
    accepting: AtomicBool,
    stopping: AtomicBool,
}

/// A process that begins now.
impl Default for Status {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            facts: OnceLock::new(),
            judge: OnceLock::new(),
            accepting: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }
}

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Accepting,
    Stopping,
}

impl Status {
    /// The store was read: this is where to ask from now on.
    pub fn store_was_read(&self, facts: Arc<dyn Facts>) {
        // Once a process: a reload changes what the facts say, not who knows them.
        let _ = self.facts.set(facts);
    }

    /// This is who is asked about other proxies' requests from now on.
    pub fn is_judged_by(&self, judge: Arc<dyn Judge>) {
        // Likewise.
        let _ = self.judge.set(judge);
    }

    /// The public listeners accept.
    pub fn accepts(&self) {
        self.accepting.store(true, Ordering::Release);
    }

    /// Done when `stop` is: from then on the process counts as stopping.
    pub async fn stops_at(&self, stop: impl Future<Output = ()>) {
        stop.await;
        self.stopping.store(true, Ordering::Release);
    }

    fn stage(&self) -> Stage {
        if self.stopping.load(Ordering::Acquire) {
            Stage::Stopping
        } else if self.accepting.load(Ordering::Acquire) {
            Stage::Accepting
        } else {
            Stage::Starting
        }
    }

    /// Who decides, if there is anything to decide.
    fn judge(&self) -> Option<&dyn Judge> {
        self.judge.get().map(|judge| &**judge).filter(|judge| judge.is_on())
    }

    fn facts(&self) -> Option<&dyn Facts> {
        self.facts.get().map(|facts| &**facts)
    }

    /// Whether requests should be sent here, and what does not work as it should.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        decide(self.stage(), self.facts())
    }

    /// Everything that is known of the gateway at once.
    #[must_use]
    pub fn report(&self) -> Report {
        report::report(self.stage(), self.readiness(), self.facts(), self.started.elapsed().as_secs())
    }
}
