//! Hot reload: the configuration is read again at SIGHUP, and when one of its files was replaced. One that has a fault changes
//! nothing; of a good one everything is put to work but what the process was built on, which is told.
//!
//! What must follow a reload is asked for anew by every request (the [`crate::gateway::Site`], the identity provider), every handshake (the
//! certificates) and every look at the key rings (the schedule). Requests that are on their way keep the site they began with;
//! a stream that is open lives on until its grant is revoked or its token has ended, as ever. What a worker remembers of a token is
//! its signature alone, and of a client's document its text: both are held against the rules of the moment. Connections to an upstream
//! that is gone are closed as any that lie idle.

mod difference;
mod files;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::manager::Manager;
use super::serve;
use crate::certs::{self, Certificates};
use crate::config::{self, Checked, Config, Surroundings};
use crate::gateway::Gateway;
use crate::oauth::KeySchedule;
use crate::telemetry;

use difference::{Difference, between};
use files::Files;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Where the configuration comes from, and who says that it is time to read it again.
pub(super) struct Source {
    files: Files,
    hangup: Signal,
}

/// What a new configuration is put to work in.
pub(super) struct Running {
    /// What is in use.
    pub(super) config: Config,
    pub(super) gateway: Arc<Gateway>,
    /// `None` without TLS.
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) schedule: Arc<ArcSwap<KeySchedule>>,
}

impl Source {
    /// From here on SIGHUP ends nothing, however early it comes; it waits for [`follow`].
    ///
    /// # Errors
    /// If the signal cannot be waited for.
    pub(super) fn open(file: &Path) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
        Ok(Self { files: Files::of(file), hangup })
    }

    /// Reads for the first time, by `read`.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn read(
        &mut self,
        read: impl FnOnce(&Path, &dyn Surroundings) -> Result<Checked, ExitCode>,
    ) -> Result<Checked, ExitCode> {
        self.files.read(read)
    }
}

/// What is in use, in words.
pub(super) fn standing(config: &Config) -> String {
    let issuer = &config.gateway.issuer;
    match config.gateway.services.len() {
        1 => format!("serving 1 service, issuer {issuer}"),
        number => format!("serving {number} services, issuer {issuer}"),
    }
}

/// Reads the configuration again whenever it is time, one after the other, until it is dropped.
pub(super) async fn follow(source: Source, running: Running, manager: Manager) {
    let Source { files, mut hangup } = source;
    let mut reload = Reload { files, running, manager, refused: false };
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = looks.tick() => false,
        };
        let turn = spawn_blocking(move || {
            reload.turn(asked);
            reload
        });
        reload = match turn.await {
            Ok(reload) => reload,
            Err(error) => {
                tracing::error!(%error, "the configuration cannot be read again before a restart; please report this");
                return;
            }
        };
    }
}

struct Reload {
    files: Files,
    running: Running,
    manager: Manager,
    /// Whether the last one was refused.
    refused: bool,
}

impl Reload {
    fn turn(&mut self, asked: bool) {
        if !self.files.are_replaced() && !asked {
            return;
        }
        self.manager.reloading();
        self.read_again(asked);
        let refused = if self.refused { "; the newest configuration was refused, see the log" } else { "" };
        self.manager.ready(&format!("{}{refused}", standing(&self.running.config)));
    }

    fn read_again(&mut self, asked: bool) {
        let Checked { config, remarks } = match self.files.read(config::read) {
            Ok(checked) => checked,
            Err(problems) => return self.refuse(problems.lines()),
        };
        // With other certificates a configuration may be good that is refused now.
        if let certs::Settings::Files(pairs) = &config.tls {
            self.files.also(pairs.iter().flat_map(|pair| [&pair.certificate, &pair.key]));
        }
        match self.running.take(config) {
            Ok(difference) => {
                if asked {
                    telemetry::refilter(&self.running.config.telemetry.filter);
                }
                self.tell(&difference, &remarks, asked);
            }
            Err(error) => self.refuse(&[format!("{error:#}")]),
        }
    }

    fn refuse(&mut self, why: &[String]) {
        self.refused = true;
        for line in why {
            tracing::error!("{line}");
        }
        tracing::error!("the configuration of before stays in use");
    }

    fn tell(&mut self, difference: &Difference, remarks: &[String], asked: bool) {
        let refused = std::mem::take(&mut self.refused);
        let Difference { changes, waiting, then: _ } = difference;
        if !changes.is_none() {
            tracing::info!("the configuration was read again and is in use: {changes}");
            for remark in remarks {
                tracing::info!("{remark}");
            }
        } else if asked || refused || !waiting.is_empty() {
            tracing::info!("the configuration was read again: nothing else is in use than before");
        }
        if !waiting.is_empty() {
            tracing::warn!("needs a restart: {}", waiting.join(", "));
        }
    }
}

impl Running {
    /// Puts a configuration to work, as far as that can be. First comes what can fail: nothing is changed then.
    fn take(&mut self, config: Config) -> anyhow::Result<Difference> {
        let difference = between(&self.config, config)?;
        if difference.changes.is_none() {
            return Ok(difference);
        }
        let then = &difference.then;
        let identity = (then.identity != self.config.identity).then(|| serve::identity(then));
        self.certify(then)?;
        if let Some(identity) = identity {
            self.gateway.shared().identity.store(Arc::new(identity));
        }
        self.gateway.replace(then.gateway.clone());
        self.schedule.store(Arc::new(then.key_schedule()));
        if then.telemetry.filter != self.config.telemetry.filter {
            telemetry::refilter(&then.telemetry.filter);
        }
        self.config = then.clone();
        Ok(difference)
    }

    /// Hosts get their certificates before they get requests.
    fn certify(&self, then: &Config) -> anyhow::Result<()> {
        let Some(certificates) = &self.certificates else { return Ok(()) };
        let hosts = then.hosts();
        if hosts == self.config.hosts() && then.tls == self.config.tls {
            return Ok(());
        }
        let now = self.gateway.shared().clock.now();
        certificates.reconfigure(&then.tls, hosts, now).context("TLS certificates")
    }
}
