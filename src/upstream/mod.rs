//! The servers behind: a pooled HTTP/1.1 client, one pool a worker. A request is written to a connection at most once
//! (P7): what comes back unsent from a connection that had gone is sent on another, and nothing else is repeated.

mod body;
mod connect;
mod pool;

use std::time::Duration;

use http::header::HOST;
use http::{HeaderValue, Request, Response, Version};
use url::{Position, Url};

pub use body::{RequestBody, ResponseBody};

use connect::Connector;
use pool::{Connection, Idle};

/// How long an upstream may take from the request's first byte to its answer's head. A tool call may run for
/// minutes, and a JSON answer has no head before its end; beyond this somebody has forgotten it.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);

/// One service's upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; its path takes the place of the service URL's path.
    pub url: Url,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
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
    /// No answer in ten minutes: 504, finding `upstream-slow`.
    #[error("the upstream did not answer in time")]
    AnswerTimeout,
}

impl Pool {
    /// An empty pool. The system's TLS roots are loaded when the first `https` upstream is called: where all upstreams are
    /// plain HTTP there need not be any.
    #[must_use]
    pub fn new() -> Self {
        Self { idle: Idle::default(), connector: Connector::default() }
    }

    /// Sends a request to `upstream`. The request's URI has path and query only; scheme and authority come from `upstream`,
    /// `Host` too. Dropping the future, or the response's body, closes the upstream request at once (P6).
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn send(
        &self,
        upstream: &Settings,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let host =
            HeaderValue::from_str(upstream.authority()).map_err(|e| UpstreamError::Unreachable(e.into()))?;
        request.headers_mut().insert(HOST, host);
        *request.version_mut() = Version::HTTP_11;
        tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(upstream, request))
            .await
            .map_err(|_| UpstreamError::AnswerTimeout)?
    }

    /// Tries idle connections while they give the request back unsent, then a fresh one.
    async fn exchange(
        &self,
        upstream: &Settings,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        while let Some(mut connection) = self.idle.take(&upstream.url[..Position::BeforePath]) {
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.answer(connection, response)),
                Err(mut failure) => match failure.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(UpstreamError::BrokeOff(failure.into_error().into())),
                },
            }
        }
        // Boxed, for most requests find a connection that is idle.
        let mut connection = Box::pin(self.connector.connect(upstream)).await?;
        match connection.sender.try_send_request(request).await {
            Ok(response) => Ok(self.answer(connection, response)),
            Err(failure) => Err(UpstreamError::BrokeOff(failure.into_error().into())),
        }
    }

    /// The answer, which gives the connection back to the pool when its body has ended.
    fn answer(
        &self,
        connection: Connection,
        response: Response<hyper::body::Incoming>,
    ) -> Response<ResponseBody> {
        response.map(|incoming| ResponseBody::new(incoming, self.idle.lease(connection)))
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
