//! What runs beside requests, on the control runtime: the revocation feed, the sweep, the key rings, sealing again under
//! another `secret_key`, the watch over certificates, probes, and memory that is given back.

mod certificates;
mod heap;
mod keys;
mod probes;
mod resealing;
mod restored;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::gateway::{Gateway, Shared};
use crate::oauth::TokenLives;
use crate::store::{FeedPosition, StoreError};

pub use certificates::Ordering;
pub use restored::restored;

const POLL: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_mins(10);

/// Background work that ends when this is dropped.
pub struct Tasks {
    running: Vec<JoinHandle<()>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.running {
            task.abort();
        }
    }
}

impl Tasks {
    /// Asks replicas whether they are well.
    pub fn probe(&mut self, gateway: &Arc<Gateway>) {
        self.also(probes::probe(Arc::clone(gateway)));
    }

    /// Further work that ends with the others.
    pub fn also(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.running.push(tokio::spawn(work));
    }
}

/// Reads every revocation there is, so that no revoked token is believed from the first request on, then goes on in the
/// background.
///
/// # Errors
/// [`StoreError`] from the first reading.
pub async fn start(shared: &Arc<Shared>) -> Result<Tasks, StoreError> {
    let position = read_feed(shared, None).await?;
    let feed = tokio::spawn(follow_feed(Arc::clone(shared), position));
    let sweep = tokio::spawn(sweep(Arc::clone(shared)));
    let heap = tokio::spawn(heap::give_back());
    Ok(Tasks { running: vec![feed, sweep, heap] })
}

async fn read_feed(shared: &Shared, since: Option<FeedPosition>) -> Result<FeedPosition, StoreError> {
    // The moment before reading: what is revoked while we read is found by the next reading at the latest.
    let asked = shared.clock.now();
    let (read, position) = shared.store.revocations(since).await?;
    shared.revocations.update(&read, TokenLives::REVOCATIONS_MATTER, asked);
    Ok(position)
}

async fn follow_feed(shared: Arc<Shared>, mut position: FeedPosition) {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    loop {
        ticks.tick().await;
        match read_feed(&shared, Some(position)).await {
            Ok(next) => {
                if std::mem::take(&mut away) {
                    tracing::info!("the store is back; revocations are up to date");
                }
                position = next;
            }
            Err(error) => {
                shared.revocations.miss();
                if !std::mem::replace(&mut away, true) {
                    let trouble = error.trouble().id();
                    tracing::warn!(trouble, %error, "the store is away; tokens work on until revocation_staleness has passed");
                }
            }
        }
    }
}

async fn sweep(shared: Arc<Shared>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = shared.store.sweep(TokenLives::REVOCATIONS_MATTER, shared.clock.now()).await {
            tracing::warn!(%error, "the sweep of expired records was put off");
        }
    }
}
