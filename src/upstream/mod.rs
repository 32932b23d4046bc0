//! The servers behind: a pooled HTTP/1.1 client, one pool a worker. A request is written to a connection at most once
//! (P7): what comes back unsent from a connection that had gone is sent on another, and nothing else is repeated.

mod body;
mod connect;
mod http1;
mod outgoing;
mod pool;

use std::time::Duration;

use http::Response;
use url::{Position, Url};

pub use body::{BodyFault, RequestBody, RequestBodyError, ResponseBody};
pub use outgoing::{Outgoing, Unspeakable};

use connect::Connector;
use http1::{Failed, Reading, converse};
use pool::Idle;

/// One service's upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; its path takes the place of the service URL's path.
    pub url: Url,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long it may take from the end of the request's body (of a request without one: from its beginning) to its answer's head;
    /// `None` is for ever.
    pub first_byte_timeout: Option<Duration>,
}

impl Settings {
    /// `host` or `host:port`, as in `Host`; a default port is left out.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }
}

/// A worker's connections to upstreams.
pub struct Pool {
    idle: Idle,
    connector: Connector,
}

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: 502, finding `upstream-down`.
    #[error("the upstream cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection in time: 504, finding `upstream-slow`.
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    /// The connection broke before an answer; the request may have been carried out and is not sent again (P7): 502.
    #[error("the upstream broke off")]
    BrokeOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time: 504, finding `upstream-slow`.
    #[error("the upstream did not answer in time")]
    AnswerTimeout,
    /// The client's body is not as it may be; what was sent of it was broken off.
    #[error(transparent)]
    Body(BodyFault),
}

impl Pool {
    /// An empty pool. The system's TLS roots are loaded when the first `https` upstream is called: where all upstreams are
    /// plain HTTP there need not be any.
    #[must_use]
    pub fn new() -> Self {
        Self { idle: Idle::default(), connector: Connector::default() }
    }

    /// Sends a request to `upstream`, whose authority `Host` names. Dropping the future, or the response's body, closes the upstream
    /// request at once (P6).
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn send(
        &self,
        upstream: &Settings,
        mut outgoing: Outgoing,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let limit = upstream.first_byte_timeout;
        // Idle ones are tried while they give the request back unsent.
        while let Some(connection) = self.idle.take(&upstream.url[..Position::BeforePath]) {
            match converse(connection, outgoing, limit).await {
                Err(Failed::Unsent(unsent, _)) => outgoing = *unsent,
                ended => return self.answer(ended),
            }
        }
        // Boxed, for most requests find a connection that is idle.
        let connection = Box::pin(self.connector.connect(upstream)).await?;
        self.answer(Box::pin(converse(connection, outgoing, limit)).await)
    }

    /// The answer, which gives the connection back to the pool when its body has ended.
    fn answer(
        &self,
        ended: Result<(Response<()>, Reading), Failed>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        match ended {
            Ok((response, reading)) => Ok(response.map(|()| ResponseBody::new(reading, &self.idle))),
            Err(Failed::Unsent(_, error)) => Err(UpstreamError::BrokeOff(error.into())),
            Err(Failed::Finally(error)) => Err(error),
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
