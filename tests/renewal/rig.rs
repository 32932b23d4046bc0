//! One process's certificates, without the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::acme::{Acme, Standing};
use portcullis::certs::{AcmeSettings, Certificates, ChallengeKind, Directory, Facts, Settings};
use portcullis::clock::{Clock, StoppedClock};
use portcullis::seal::Sealer;
use portcullis::secret::Key;
use portcullis::store::{self, Store};
use portcullis::time::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::double::AcmeDouble;

pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const DAY: Duration = Duration::from_hours(24);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// What all processes share.
pub(crate) struct World {
    pub(crate) clock: Arc<StoppedClock>,
    pub(crate) store: Store,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let clock = Arc::new(StoppedClock::at(Timestamp::from_seconds(START)));
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::Embedded { path: folder.path().join("portcullis.db") };
        let sealer = Sealer::new(Key::new([0x5a; 32]));
        let control = tokio::runtime::Handle::current();
        let store = Store::open(&settings, sealer, &control, clock.clone()).await.unwrap();
        Self { clock, store, _folder: folder }
    }

    /// A certificate authority with the same clock.
    pub(crate) async fn authority(&self) -> AcmeDouble {
        let clock = Arc::clone(&self.clock);
        AcmeDouble::start(move || clock.now().seconds()).await
    }

    /// A process that orders certificates for `hosts`.
    pub(crate) async fn process(&self, settings: AcmeSettings, hosts: &[&str]) -> Process {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let acme = Settings::Acme(settings.clone());
        let certificates = Certificates::load(&acme, &hosts, self.clock.now()).unwrap().unwrap();
        let certificates = Arc::new(certificates);
        let (store, clock) = (self.store.clone(), Arc::clone(&self.clock) as Arc<dyn Clock>);
        let acme = Acme::start(settings, store, Arc::clone(&certificates), clock).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&acme).run(stop.clone()));
        Process { acme, certificates, stop, running }
    }
}

/// `tls.acme` with that directory and nothing else.
pub(crate) fn settings(authority: &AcmeDouble) -> AcmeSettings {
    AcmeSettings {
        email: "ops@example.org".into(),
        directory: Directory::Url(authority.directory()),
        roots: None,
        binding: None,
        profile: None,
        challenges: vec![ChallengeKind::TlsAlpn01, ChallengeKind::Http01],
    }
}

/// A process, as far as certificates go; ended when it is dropped.
pub(crate) struct Process {
    pub(crate) acme: Arc<Acme>,
    pub(crate) certificates: Arc<Certificates>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Process {
    /// Stops as a process does that is asked to.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.running).await.unwrap();
    }

    /// What is shown to clients of `host`.
    pub(crate) fn shown(&self, host: &str) -> Option<Facts> {
        self.certificates.shown(host).and_then(|key| Facts::of(&key.cert))
    }

    pub(crate) fn standing(&self, host: &str) -> Standing {
        self.acme.standings().into_iter().find(|standing| standing.host == host).unwrap()
    }

    /// Once a host's certificate is shown that is not `before`.
    pub(crate) async fn another(&self, host: &str, before: Option<&Facts>) -> Facts {
        until(&format!("a certificate for {host}"), || {
            self.shown(host).filter(|shown| before.is_none_or(|before| before != shown))
        })
        .await
    }

    /// Once so many attempts for a host have failed; what is said of the last one.
    pub(crate) async fn failed(&self, host: &str, times: u32) -> String {
        until(&format!("{times} failures for {host}"), || {
            let renewal = self.standing(host).renewal;
            (renewal.failures >= times).then(|| renewal.problem.unwrap())
        })
        .await
    }
}

/// Waits until `found` finds something.
pub(crate) async fn until<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Longer than a process takes to see that something is due.
pub(crate) async fn a_while() {
    tokio::time::sleep(Duration::from_millis(2500)).await;
}
