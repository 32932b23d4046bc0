//! What is in a test's store, byte for byte.

use crate::support::rig::{Rig, prefix, redis_url};

/// Every byte that is in the store of `rig`.
pub(crate) async fn stored(rig: &Rig) -> Vec<u8> {
    let Some(url) = redis_url() else { return std::fs::read(rig.folder().join("portcullis.db")).unwrap() };
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let pattern = format!("{}*", prefix(rig.folder()));
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
    let mut stored = keys.concat();
    for key in keys {
        let dump: Option<Vec<u8>> = redis::cmd("DUMP").arg(key).query_async(&mut connection).await.unwrap();
        stored.extend(dump.unwrap_or_default());
    }
    stored
}
