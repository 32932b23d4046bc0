//! The servers behind: a pooled HTTP/1.1 client, one pool a worker. A request is written to a connection at most once
//! (P7): what comes back unsent from a connection that had gone is sent on another, and nothing else is repeated.

mod body;
mod connect;
mod pool;

use std::error::Error;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderValue, Request, Response, Version};
use url::{Position, Url};

pub use body::{BodyFault, RequestBody, RequestBodyError, ResponseBody};

use body::BodyEnd;
use connect::Connector;
use pool::{Connection, Idle};

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
        let limit = upstream.first_byte_timeout;
        let end = if limit.is_some() { request.body_mut().watch_end() } else { None };
        tokio::select! {
            answer = self.exchange(upstream, request) => answer,
            () = late(end, limit) => Err(UpstreamError::AnswerTimeout),
        }
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
                    None => return Err(broken_off(failure.into_error())),
                },
            }
        }
        // Boxed, for most requests find a connection that is idle.
        let mut connection = Box::pin(self.connector.connect(upstream)).await?;
        match connection.sender.try_send_request(request).await {
            Ok(response) => Ok(self.answer(connection, response)),
            Err(failure) => Err(broken_off(failure.into_error())),
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

/// Done `limit` after the request's body has ended; never without a limit.
async fn late(end: Option<BodyEnd>, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    if let Some(end) = end {
        end.await;
    }
    tokio::time::sleep(limit).await;
}

/// Why there is no answer: our own fault with the body comes back through hyper.
fn broken_off(error: hyper::Error) -> UpstreamError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        match inner.downcast_ref() {
            Some(RequestBodyError::Fault(fault)) => return UpstreamError::Body(*fault),
            Some(RequestBodyError::BrokeOff(_)) => return UpstreamError::Body(BodyFault::Unreadable),
            None => {}
        }
        cause = inner.source();
    }
    UpstreamError::BrokeOff(error.into())
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
