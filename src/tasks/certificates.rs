//! Certificates are read again when their files were replaced, and once a day: one of the local CA is then made anew in time,
//! and one that nobody renews is warned of.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Tasks;
use crate::acme::Acme;
use crate::certs::{CertificateError, Certificates, Look};
use crate::clock::Clock;
use crate::time::Timestamp;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_hours(24);

impl Tasks {
    /// Watches over the certificates, too.
    pub fn watch_certificates(&mut self, certificates: Arc<Certificates>, clock: Arc<dyn Clock>) {
        self.running.push(tokio::spawn(watch(certificates, clock)));
    }
}

/// Ordering certificates; ends when it is told so, or when this is dropped.
pub struct Ordering {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// How long an order may take to put itself aside.
const ASIDE: Duration = Duration::from_secs(5);

impl Tasks {
    /// Looks after the certificates that come by ACME, if they do.
    #[must_use]
    pub fn order_certificates(&self, acme: Option<&Arc<Acme>>) -> Ordering {
        let stop = CancellationToken::new();
        let task = acme.map(|acme| tokio::spawn(Arc::clone(acme).run(stop.clone())));
        Ordering { stop, task }
    }
}

impl Ordering {
    /// Puts what is under way aside, so that another process can go on with it at once.
    pub async fn end(mut self) {
        self.stop.cancel();
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(ASIDE, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl Drop for Ordering {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn watch(certificates: Arc<Certificates>, clock: Arc<dyn Clock>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watched = Watched::new(certificates.look(), clock.now());
    loop {
        ticks.tick().await;
        let now = clock.now();
        let at_work = Arc::clone(&certificates);
        let Ok(look) = tokio::task::spawn_blocking(move || at_work.look()).await else { return };
        let Some(why) = watched.due(look, now) else { continue };
        let at_work = Arc::clone(&certificates);
        let Ok(read) = tokio::task::spawn_blocking(move || at_work.reload(now)).await else { return };
        tell(why, read);
    }
}

/// Why certificates are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Replaced,
    Daily,
}

/// What was seen of the files so far.
struct Watched {
    read: Look,
    last: Look,
    at: Timestamp,
}

impl Watched {
    fn new(look: Look, now: Timestamp) -> Self {
        Self { read: look.clone(), last: look, at: now }
    }

    /// Whether to read now. Files that were replaced must look the same twice: a certificate and its key are never
    /// replaced in one step.
    fn due(&mut self, look: Look, now: Timestamp) -> Option<Why> {
        let still = look == self.last;
        self.last = look;
        let why = if still && self.last != self.read {
            Why::Replaced
        } else if now >= self.at.after(DAY) {
            Why::Daily
        } else {
            return None;
        };
        (self.read, self.at) = (self.last.clone(), now);
        Some(why)
    }
}

fn tell(why: Why, read: Result<(), CertificateError>) {
    match (read, why) {
        (Ok(()), Why::Replaced) => {
            tracing::info!("the certificates were replaced; new connections get the new ones");
        }
        (Ok(()), Why::Daily) => tracing::debug!("the certificates were read again"),
        (Err(error), Why::Replaced | Why::Daily) => tracing::error!(
            error = &error as &dyn std::error::Error,
            "the certificates cannot be used; those that were read before are kept until the files are mended"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn look(path: &str) -> Look {
        let pair = crate::certs::CertificateFiles { certificate: path.into(), key: path.into() };
        pair.look()
    }

    #[test]
    fn replaced_files_are_read_once_they_stand_still() {
        let (old, new, newer) = (look("Cargo.toml"), look("src/lib.rs"), look("src/main.rs"));
        let mut watched = Watched::new(old.clone(), NOW);
        assert_eq!(watched.due(old, NOW), None);
        assert_eq!(watched.due(new.clone(), NOW), None, "its other half may be on its way");
        assert_eq!(watched.due(newer.clone(), NOW), None);
        assert_eq!(watched.due(newer.clone(), NOW), Some(Why::Replaced));
        assert_eq!(watched.due(newer, NOW), None, "once");
        assert_eq!(watched.due(new.clone(), NOW), None);
        assert_eq!(watched.due(new, NOW), Some(Why::Replaced));
    }

    #[test]
    fn untouched_files_are_read_once_a_day() {
        let mut watched = Watched::new(look("Cargo.toml"), NOW);
        let almost = NOW.after(DAY).before(Duration::from_secs(1));
        assert_eq!(watched.due(look("Cargo.toml"), almost), None);
        assert_eq!(watched.due(look("Cargo.toml"), NOW.after(DAY)), Some(Why::Daily));
        assert_eq!(watched.due(look("Cargo.toml"), NOW.after(DAY)), None);
    }
}
