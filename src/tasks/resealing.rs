//! Sealing again, under `secret_key`, what was sealed under `secret_key_previous`; as long as both are configured.

use std::sync::Arc;
use std::time::Duration;

use super::Tasks;
use crate::gateway::Shared;
use crate::store::Resealed;

/// How often the store is looked through: processes that were not restarted yet go on sealing under the previous key.
const LOOK: Duration = Duration::from_mins(10);
/// How soon after something was found.
const AGAIN: Duration = Duration::from_secs(1);
/// How soon after a failure.
const SOON: Duration = Duration::from_secs(10);

impl Tasks {
    /// Seals again what the previous key sealed, if there is one.
    pub fn reseal(&mut self, shared: &Arc<Shared>) {
        if shared.sealer.previous().is_some() {
            self.running.push(tokio::spawn(reseal(Arc::clone(shared))));
        }
    }
}

async fn reseal(shared: Arc<Shared>) {
    let mut said = None;
    loop {
        let pause = match shared.store.reseal().await {
            Ok(resealed) => {
                if said.replace(resealed) != Some(resealed) {
                    say(resealed);
                }
                if matches!(resealed, Resealed::Some(_)) { AGAIN } else { LOOK }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "sealing again was interrupted, and goes on soon"
                );
                SOON
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn say(resealed: Resealed) {
    match resealed {
        Resealed::NoneLeft => tracing::info!(
            left = 0,
            "0 left: secret_key_previous can be removed from the configuration (unless it is the key to come)"
        ),
        Resealed::Some(count) => tracing::info!(count, "sealed again under secret_key; looking for more"),
        Resealed::NotOurs => tracing::warn!(
            "another process was started with secret_key and secret_key_previous the other way round, and nothing is sealed again \
             here; give all processes the same two, and restart those that have them as they were"
        ),
    }
}
