//! Certificates by ACME (RFC 8555): ordered, renewed and shown without anybody doing anything.
//!
//! Every process looks every two seconds whether something has changed in the store, shows what is there, and asks [`plan`] what is
//! due. Whoever gets the lease on a host looks again, and does it: [`order`] takes an order from its beginning to the certificate,
//! [`account`] has it signed, [`answers`] answers the certificate authority, in any process. Nothing here ever takes a certificate
//! away.

mod account;
mod answers;
mod http;
mod order;
mod plan;
mod standing;
mod trouble;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::certs::{self, AcmeSettings, CertificateError, Certificates, Challenges, Facts};
use crate::clock::Clock;
use crate::fetch::{FetchError, Fetcher};
use crate::store::{Ordered, Renewal, Store, StoreError, StoredCertificate};
use crate::time::Timestamp;

use answers::Answers;
use plan::Due;

pub use standing::Standing;

/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_secs(2);
/// How often everything is read, whether something seems to have changed or not.
const READ: Duration = Duration::from_mins(10);
/// How many hosts are at work at once here; what waits for its turn waits no longer than [`order`] is patient.
const AT_ONCE: usize = 16;
/// How long a host is left alone after another process was found at work on it.
const ELSEWHERE: Duration = Duration::from_secs(3);
/// How often an expired certificate is complained about.
const COMPLAINT: Duration = Duration::from_hours(1);

/// Why certificates cannot be seen to.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The roots by which the directory is trusted.
    #[error("the ACME directory's roots")]
    Roots(#[source] CertificateError),
    /// The client cannot be made.
    #[error("the client of the ACME directory")]
    Client(#[from] FetchError),
    /// What is in the store cannot be read.
    #[error("reading certificates from the store")]
    Store(#[from] StoreError),
}

/// What looks after the certificates of a process.
pub struct Acme {
    settings: AcmeSettings,
    fetcher: Fetcher,
    store: Store,
    clock: Arc<dyn Clock>,
    certificates: Arc<Certificates>,
    view: Mutex<View>,
    room: Semaphore,
    wake: Notify,
}

/// What was read of the store.
#[derive(Default)]
struct View {
    hosts: BTreeMap<String, Host>,
    mark: Option<String>,
    read: Option<Timestamp>,
    at_work: BTreeSet<String>,
    /// Whom to leave alone until when.
    elsewhere: BTreeMap<String, Timestamp>,
    complained: BTreeMap<String, Timestamp>,
}

/// A host, as the store has it.
#[derive(Clone, Default)]
struct Host {
    /// The certificate of the directory that is configured.
    of_directory: Option<Opened>,
    /// Another directory's, shown for as long as there is no better.
    fallback: Option<Opened>,
    renewal: Renewal,
}

/// A certificate that can be shown.
type Opened = (Facts, Arc<CertifiedKey>);

impl Host {
    const fn shown(&self) -> Option<&Opened> {
        match &self.of_directory {
            Some(opened) => Some(opened),
            None => self.fallback.as_ref(),
        }
    }

    fn due(&self, now: Timestamp) -> Due {
        plan::due(self.of_directory.as_ref().map(|(facts, _)| facts), &self.renewal, now)
    }
}

impl Acme {
    /// Reads what there is, and shows it.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn start(
        settings: AcmeSettings,
        store: Store,
        certificates: Arc<Certificates>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, AcmeError> {
        let fetcher = match &settings.roots {
            Some(path) => Fetcher::trusting(&certs::read(path).map_err(AcmeError::Roots)?)?,
            None => Fetcher::new(),
        };
        let acme = Self {
            settings,
            fetcher,
            store,
            clock,
            certificates,
            view: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
            wake: Notify::new(),
        };
        acme.read().await?;
        Ok(Arc::new(acme))
    }

    /// Who answers certificate authorities.
    #[must_use]
    pub fn challenges(&self) -> Arc<dyn Challenges> {
        Arc::new(Answers::new(self.store.clone(), Arc::clone(&self.clock), Arc::clone(&self.certificates)))
    }

    /// Looks after the certificates until `stop`. What is under way then is left for whoever comes next.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut at_work = JoinSet::new();
        let mut away = false;
        loop {
            match self.look().await {
                Ok(()) => {
                    if std::mem::take(&mut away) {
                        tracing::info!("the store is back; certificates are looked after again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(%error, "certificates cannot be looked after; those there are are shown on");
                    }
                }
            }
            if !away {
                for host in self.due() {
                    let (acme, stop) = (Arc::clone(&self), stop.clone());
                    at_work.spawn(async move { acme.work(&host, &stop).await });
                }
            }
            while at_work.try_join_next().is_some() {}
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        while at_work.join_next().await.is_some() {}
    }

    /// Reads the store, if something has changed in it, or in the hosts that are configured.
    async fn look(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mark = self.store.certificates_changed(now).await?;
        let is_new = {
            let view = self.view();
            let same_hosts = self.certificates.hosts().iter().eq(view.hosts.keys());
            mark != view.mark || !same_hosts || view.read.is_none_or(|read| now >= read.after(READ))
        };
        if is_new { self.read().await } else { Ok(()) }
    }

    /// Reads everything, and shows what there is.
    async fn read(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        // Before what it speaks of: what changes meanwhile is read again.
        let mark = self.store.certificates_changed(now).await?;
        let mut hosts = BTreeMap::new();
        for host in self.certificates.hosts().iter() {
            let mut known = self.read_host(host, now).await?;
            if known.of_directory.is_none() {
                let newest = readable(self.store.newest_certificate(host, now).await)?;
                known.fallback = newest.as_ref().and_then(opened);
            }
            hosts.insert(host.clone(), known);
        }
        let keys = hosts.values().filter_map(Host::shown).map(|(_, key)| Arc::clone(key));
        self.certificates.issued(keys.collect());
        let mut view = self.view();
        view.elsewhere.retain(|host, _| hosts.contains_key(host));
        view.complained.retain(|host, _| hosts.contains_key(host));
        (view.hosts, view.mark, view.read) = (hosts, mark, Some(now));
        Ok(())
    }

    /// What the store has of a host.
    async fn read_host(&self, host: &str, now: Timestamp) -> Result<Host, StoreError> {
        let stored = readable(self.store.certificate(self.ordered(host), now).await)?;
        let renewal = readable(self.store.renewal(self.ordered(host), now).await)?;
        Ok(Host {
            of_directory: stored.as_ref().and_then(opened),
            fallback: None,
            renewal: renewal.map(|found| found.value).unwrap_or_default(),
        })
    }

    /// A host's certificate of the directory that is configured.
    fn ordered<'a>(&'a self, host: &'a str) -> Ordered<'a> {
        Ordered { directory: self.settings.directory.url(), host }
    }

    /// The hosts for which something is to be done now, each marked as being at work.
    fn due(&self) -> Vec<String> {
        let now = self.clock.now();
        let mut view = self.view();
        let view = &mut *view;
        let mut found = Vec::new();
        for (host, known) in &view.hosts {
            complain(host, known, &mut view.complained, now);
            let elsewhere = view.elsewhere.get(host).is_some_and(|until| now < *until);
            if !elsewhere && known.due(now) != Due::Nothing && view.at_work.insert(host.clone()) {
                found.push(host.clone());
            }
        }
        found
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An expired certificate is shown on: clients say what is wrong, which a port that does not answer could not.
fn complain(host: &str, known: &Host, told: &mut BTreeMap<String, Timestamp>, now: Timestamp) {
    let ended = known.shown().map(|(facts, _)| facts.not_after).filter(|end| *end <= now);
    if ended.is_none() {
        told.remove(host);
    } else if told.get(host).is_none_or(|at| now >= at.after(COMPLAINT)) {
        told.insert(host.to_owned(), now);
        let problem = known.renewal.problem.as_deref();
        tracing::error!(
            host,
            problem,
            "THE CERTIFICATE HAS EXPIRED: clients refuse it; it is shown until there is another"
        );
    }
}

/// What was read of the store; what is damaged is as good as absent, for it can be had again. It must not keep the other hosts
/// from their certificates.
fn readable<T>(read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    if let Err(error @ StoreError::Damaged { .. }) = &read {
        tracing::error!(error = error as &dyn std::error::Error, "passed over, and replaced in time");
        return Ok(None);
    }
    read
}

/// A stored certificate as it is shown; `None` if it cannot be used, which is said.
fn opened(stored: &StoredCertificate) -> Option<Opened> {
    match certs::issued(&stored.host, &stored.chain, &stored.key) {
        Ok(key) => Some((Facts::of(&key.cert)?, Arc::new(key))),
        Err(error) => {
            tracing::error!(host = stored.host, %error, "the stored certificate cannot be shown");
            None
        }
    }
}

#[cfg(test)]
mod tests;
