//! How a Redis server stands, for a person who wonders: whether it can be used, how fast it answers, and what it would forget. Nothing
//! is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{IntoConnectionInfo, RedisError, RedisResult, cmd};

use super::link::Link;
use super::trouble::{Trouble, What};
use crate::secret::Secret;

/// How often it is asked for a sign of life.
const PINGS: usize = 50;
/// How long that may take altogether.
const PATIENCE: Duration = Duration::from_secs(4);

/// What was seen of a server.
#[derive(Clone, Debug)]
pub struct RedisLook {
    /// `host:port`.
    pub server: String,
    /// Its version.
    pub version: String,
    /// How long each of some PINGs took, the shortest first. Not empty.
    pub pings: Vec<Duration>,
    /// Its settings about what is kept; `None` if this user may not read them.
    pub settings: Option<BTreeMap<String, String>>,
    /// The section `persistence` of INFO; empty if this user may not read it.
    pub persistence: BTreeMap<String, String>,
}

/// Why a server cannot be used.
#[derive(Clone, Debug)]
pub struct RedisAway {
    /// `host:port`.
    pub server: String,
    /// What is to be looked at.
    pub what: What,
    /// All of it, in words.
    pub said: String,
}

/// Looks at the server at `url`.
///
/// # Errors
/// [`RedisAway`].
pub async fn look(url: &Secret) -> Result<RedisLook, RedisAway> {
    let no_url = |error: &RedisError| RedisAway {
        server: String::new(),
        what: What::Answer,
        said: format!("the URL cannot be read: {error}"),
    };
    let info = url.expose().into_connection_info().map_err(|error| no_url(&error))?;
    let link = Link::new(info).map_err(|error| no_url(&error))?;
    let looked = async {
        let mut connection = link.connect().await?;
        look_over(&mut connection).await
    };
    let error = match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(look)) => return Ok(RedisLook { server: link.server().to_string(), ..look }),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let trouble = link.trouble(error);
    Err(RedisAway { server: link.server().to_string(), what: trouble.what(), said: told(&trouble) })
}

fn told(trouble: &Trouble) -> String {
    let cause = std::error::Error::source(trouble);
    cause.map_or_else(|| trouble.to_string(), |cause| format!("{trouble}: {cause}"))
}

async fn look_over(connection: &mut MultiplexedConnection) -> RedisResult<RedisLook> {
    let (mut pings, begun) = (Vec::with_capacity(PINGS), Instant::now());
    while pings.is_empty() || (pings.len() < PINGS && begun.elapsed() < PATIENCE / 2) {
        let asked = Instant::now();
        let () = cmd("PING").query_async(connection).await?;
        pings.push(asked.elapsed());
    }
    pings.sort();
    // Whoever may not read these may use the rest all the same.
    let mut settings = Some(BTreeMap::new());
    for name in ["appendonly", "save", "maxmemory", "maxmemory-policy"] {
        let read: RedisResult<BTreeMap<String, String>> =
            cmd("CONFIG").arg("GET").arg(name).query_async(connection).await;
        match (read, &mut settings) {
            (Ok(read), Some(settings)) => settings.extend(read),
            (Ok(_) | Err(_), settings) => *settings = None,
        }
    }
    let persistence = section(connection, "persistence").await;
    let version = section(connection, "server").await.remove("redis_version").unwrap_or_default();
    Ok(RedisLook { server: String::new(), version, pings, settings, persistence })
}

async fn section(connection: &mut MultiplexedConnection, name: &str) -> BTreeMap<String, String> {
    let text: RedisResult<String> = cmd("INFO").arg(name).query_async(connection).await;
    let text = text.unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// The same server by TLS, or without it.
#[must_use]
pub fn the_other_way(url: &Secret) -> Option<Secret> {
    let text = url.expose();
    let other = match text.strip_prefix("redis://") {
        Some(rest) => format!("rediss://{rest}"),
        None => format!("redis://{}", text.strip_prefix("rediss://")?),
    };
    Some(Secret::new(other))
}

impl Link {
    /// A connection of one's own.
    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.connection().await.map(|(_, connection)| connection)
    }

    fn server(&self) -> &Arc<str> {
        &self.server
    }

    fn trouble(&self, error: Option<RedisError>) -> Trouble {
        Trouble::new(&self.server, self.tls, error)
    }
}
