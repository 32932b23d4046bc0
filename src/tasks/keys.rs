//! The key rings: read again and again, so that every process has a new key before it signs, and kept up by schedule.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::Tasks;
use crate::gateway::{Shared, keep_keys};
use crate::oauth::KeySchedule;
use crate::secret;

/// How often rings are read: a key that an operator gave away is trusted elsewhere for that long. With up to [`JITTER`] on top,
/// so that processes that were started together do not ask together.
const READ: Duration = Duration::from_secs(20);
const JITTER: Duration = Duration::from_secs(5);

impl Tasks {
    /// Keeps the key rings up by `schedule`, as it is at each moment: a reload may change it.
    pub fn keep_keys(&mut self, shared: &Arc<Shared>, schedule: Arc<ArcSwap<KeySchedule>>) {
        self.running.push(tokio::spawn(follow(Arc::clone(shared), schedule)));
    }
}

async fn follow(shared: Arc<Shared>, schedule: Arc<ArcSwap<KeySchedule>>) {
    let mut failed = false;
    loop {
        let now = **schedule.load();
        match keep_keys(&shared, &now).await {
            Ok(()) => failed = false,
            Err(error) => {
                let first = !std::mem::replace(&mut failed, true);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                if first {
                    tracing::warn!(%error, cause, "the keys in the store cannot be seen to; those we have are used on");
                }
            }
        }
        tokio::time::sleep(READ + jitter()).await;
    }
}

fn jitter() -> Duration {
    let [random] = secret::random::<1>();
    JITTER * u32::from(random) / u32::from(u8::MAX)
}
