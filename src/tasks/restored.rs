//! A backup that is restored into the store while this process runs: Redis belongs to no process, so it can be. What is in
//! memory here, keys and revocations, is then another store's, so the process ends; whoever starts it again starts it fresh.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::POLL;
use crate::gateway::Shared;

/// Done when the store is, or is becoming, another than the one that was opened.
pub async fn restored(shared: Arc<Shared>) {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A store that is away is told of by the feed.
        if matches!(shared.store.was_restored().await, Ok(true)) {
            return;
        }
    }
}
