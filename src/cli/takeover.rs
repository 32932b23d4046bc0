//! Taking over from the process before: where the service manager holds the sockets, requests wait in them until this process
//! answers. So what the process before still holds while it drains is waited for, not complained about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use super::manager::Manager;
use super::serve::sealer;
use crate::admin::{self, Administered, SocketError};
use crate::clock::Clock;
use crate::config::Config;
use crate::serve::Passed;
use crate::store::{OpenError, Store};

/// How often it is tried.
const PAUSE: Duration = Duration::from_millis(20);
/// What is told meanwhile.
const WAITING: &str = "another process has the store open; waiting until it lets go of it";
/// What a process may take to end once its requests have.
const LAST: Duration = Duration::from_secs(10);

/// The process before this one, which may not have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predecessor {
    /// How long it is waited for; `None` if nothing tells of one.
    patience: Option<Duration>,
}

/// The admin socket, or who waits for it. Gone when this is dropped.
pub(super) struct Administration {
    /// `None` if it is off, or another process listens there still.
    _here: Option<admin::Listening>,
    _awaited: Option<AbortOnDropHandle<()>>,
}

impl Predecessor {
    /// Whether there is one, to be told by the sockets; it has our `drain` to end in.
    pub(super) fn of(passed: &Passed, drain: Duration) -> Self {
        Self { patience: (!passed.is_empty()).then(|| drain.saturating_add(LAST)) }
    }

    /// Whether there may be one, and after us another one.
    pub(super) const fn is_likely(self) -> bool {
        self.patience.is_some()
    }

    /// Opens the store as soon as it is free: an embedded file belongs to one process.
    pub(super) async fn store(
        self,
        config: &Config,
        clock: &Arc<dyn Clock>,
        manager: &Manager,
    ) -> Result<Store, OpenError> {
        let control = tokio::runtime::Handle::current();
        let started = Instant::now();
        let mut told = false;
        loop {
            let opened = Store::open(&config.store, sealer(config), &control, Arc::clone(clock)).await;
            let waits = self.patience.is_some_and(|patience| started.elapsed() < patience);
            if !waits || !matches!(opened, Err(OpenError::InUse)) {
                if told && opened.is_ok() {
                    tracing::info!(waited = ?started.elapsed(), "the store is free");
                }
                return opened;
            }
            if !told {
                told = true;
                tracing::info!("{WAITING}");
                manager.waiting(WAITING);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Listens at the admin socket, or does so as soon as the process before has gone: requests need not wait for that.
    pub(super) fn administer(
        self,
        settings: &admin::Settings,
        administered: Administered,
    ) -> Result<Administration, SocketError> {
        match admin::start(settings, administered.clone()) {
            Err(taken @ SocketError::Taken { .. }) if self.is_likely() => {
                tracing::info!("the admin socket is taken over later: {taken}");
                let waiting = tokio::spawn(await_admin(settings.clone(), administered));
                Ok(Administration { _here: None, _awaited: Some(AbortOnDropHandle::new(waiting)) })
            }
            started => started.map(|here| Administration { _here: here, _awaited: None }),
        }
    }
}

async fn await_admin(settings: admin::Settings, administered: Administered) {
    let listening = loop {
        tokio::time::sleep(PAUSE).await;
        match admin::start(&settings, administered.clone()) {
            Ok(listening) => break listening,
            Err(SocketError::Taken { .. }) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "there is no admin socket");
                return;
            }
        }
    };
    tracing::info!("the admin socket is free, and ours");
    std::future::pending::<()>().await;
    drop(listening);
}
