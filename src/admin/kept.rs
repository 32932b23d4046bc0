//! The store as a whole: a backup of it, and how much of it is still sealed under the `secret_key` of before.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Fault;
use crate::gateway::Operator;
use crate::store::backup::BackupError;

/// How it stands with a change of `secret_key`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sealed {
    /// Tells which key seals, and nothing of it.
    pub key: String,
    /// The same of `secret_key_previous`, where there is one.
    pub previous: Option<String>,
    /// How many records only that one opens.
    pub left: usize,
    /// Whether that key can be taken away: nothing is left, and it was looked for once more.
    pub done: bool,
}

pub(super) fn back_up(operator: &Operator) -> mpsc::Receiver<Result<Bytes, BackupError>> {
    tracing::info!("the store is backed up");
    operator.shared().store.back_up(operator.now())
}

pub(super) async fn sealed(operator: &Operator) -> Result<Sealed, Fault> {
    let store = &operator.shared().store;
    let mut keys = store.fingerprints();
    let key = keys.next().unwrap_or_default();
    let previous = keys.next();
    let left = if previous.is_some() { store.left_to_reseal().await? } else { 0 };
    let done = left == 0 && store.is_resealed().await?;
    Ok(Sealed { key, previous, left, done })
}
