//! The connection to Redis: made when needed, shared by all, made anew when it breaks.
//!
//! redis-rs has a `ConnectionManager` for this, but it makes a connection anew after I/O errors only. One `max number of clients
//! reached` or refused password while reconnecting, and it repeats that answer until the process ends.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    ServerErrorKind,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::trouble::Trouble;
use crate::store::{Damage, StoreError};

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(1);
/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How long an operation may take, with whatever it waits for.
const OPERATION: Duration = Duration::from_millis(2500);

/// Whether an operation may be sent a second time when the connection broke before its answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It changes nothing, or the same twice (see [`crate::store::backend::Put`]).
    Safe,
    /// The second time would be another event.
    Never,
}

/// The way to one server.
pub(super) struct Link {
    client: Client,
    pub(super) server: Arc<str>,
    pub(super) tls: bool,
    state: Mutex<State>,
}

/// Where the connection stands.
#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that the failure of an old one does not end the new one.
    number: u64,
    failure: Option<(Instant, RedisError)>,
}

impl Link {
    pub(super) fn new(info: ConnectionInfo) -> RedisResult<Self> {
        let server = info.addr().to_string().into();
        let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?;
        Ok(Self { client, server, tls, state: Mutex::default() })
    }

    /// Does `operation`, a second time if that is safe and the connection broke. `name` is the record it is about.
    pub(super) async fn run<T, Operation, Answer>(
        &self,
        again: Again,
        name: &str,
        operation: Operation,
    ) -> Result<T, StoreError>
    where
        Operation: Fn(MultiplexedConnection) -> Answer,
        Answer: Future<Output = RedisResult<T>>,
    {
        let attempts = async {
            match self.attempt(&operation).await {
                Err(error) if again == Again::Safe && error.is_connection_dropped() => {
                    self.attempt(&operation).await
                }
                done => done,
            }
        };
        match timeout(OPERATION, attempts).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if is_damage(&error) => Err(StoreError::damaged(name, Damage::Form)),
            Ok(Err(error)) => Err(StoreError::away(Trouble::new(&self.server, self.tls, Some(error)))),
            Err(_) => Err(StoreError::away(Trouble::new(&self.server, self.tls, None))),
        }
    }

    async fn attempt<T, Operation, Answer>(&self, operation: &Operation) -> RedisResult<T>
    where
        Operation: Fn(MultiplexedConnection) -> Answer,
        Answer: Future<Output = RedisResult<T>>,
    {
        let (number, connection) = self.connection().await?;
        let answer = operation(connection).await;
        if answer.as_ref().err().is_some_and(ends_connection) {
            let mut state = self.state.lock().await;
            if state.number == number {
                state.connection = None;
            }
        }
        answer
    }

    /// The connection there is, or a new one. Who had to wait for a failed attempt of another shares its failure, or a queue of
    /// callers would each wait for a server that does not answer.
    pub(super) async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((state.number, connection.clone()));
        }
        if let Some((at, error)) = &state.failure
            && *at > asked
        {
            return Err(error.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                state.number += 1;
                state.failure = None;
                state.connection = Some(connection.clone());
                Ok((state.number, connection))
            }
            Err(error) => {
                state.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// Whether another connection may help. After a timeout the peer may be gone without a word.
fn ends_connection(error: &RedisError) -> bool {
    let read_only = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
    read_only || error.is_unrecoverable_error() || error.is_io_error()
}

/// Whether the key holds something else than we write there.
fn is_damage(error: &RedisError) -> bool {
    error.kind() == ErrorKind::UnexpectedReturnType || error.code() == Some("WRONGTYPE")
}
