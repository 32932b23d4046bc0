//! The old gateway's Redis, read only: by SCAN, a page at a time, so that nobody else waits.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;

use super::clients::{MOST, PREFIX};

/// How long connecting, and each answer, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most clients that are read.
const MOST_CLIENTS: usize = 100_000;

/// A key and its value, or why that could not be read.
pub(super) type Found = (String, Result<Vec<u8>, String>);

/// Every record of a client.
///
/// # Errors
/// If the Redis cannot be reached, or has more clients than anybody means.
pub(super) async fn records(url: &str) -> anyhow::Result<Vec<Found>> {
    let client = redis::Client::open(url).context("--redis is no URL such as redis://HOST:6379/0")?;
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connected.map_err(|error| away("cannot be reached", &error))?;
    let keys = keys(&mut connection).await?;
    let mut records = Vec::with_capacity(keys.len());
    for key in keys {
        // One byte more than may be, to tell what is too long.
        let asked =
            redis::cmd("GETRANGE").arg(&key).arg(0).arg(MOST).query_async::<Vec<u8>>(&mut connection).await;
        let value = match asked {
            Ok(value) => Ok(value),
            Err(error) if error.code() == Some("WRONGTYPE") => Err("it is no text".to_owned()),
            Err(error) => return Err(away("went away", &error)),
        };
        records.push((String::from_utf8_lossy(&key).into_owned(), value));
    }
    Ok(records)
}

/// The error has its cause in its text.
fn away(what: &str, error: &redis::RedisError) -> anyhow::Error {
    anyhow::anyhow!("the old gateway's Redis {what}: {error}")
}

async fn keys(connection: &mut MultiplexedConnection) -> anyhow::Result<BTreeSet<Vec<u8>>> {
    let (mut keys, mut cursor) = (BTreeSet::new(), 0_u64);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{PREFIX}*")).arg("COUNT").arg(500);
        let page: (u64, Vec<Vec<u8>>) =
            scan.query_async(connection).await.map_err(|error| away("cannot be read", &error))?;
        keys.extend(page.1);
        anyhow::ensure!(
            keys.len() <= MOST_CLIENTS,
            "there are more than {MOST_CLIENTS} clients; delete those that nobody uses first"
        );
        cursor = page.0;
        if cursor == 0 {
            return Ok(keys);
        }
    }
}
