//! The built-in diagnostic MCP server of `portcullis demo` and `portcullis echo-server`: it shows what the gateway passed on.
//!
//! It speaks both protocol eras (2025-11-25 with `initialize` and sessions, 2026-07-28 without), knows nothing of OAuth, hides nothing
//! it was sent, and therefore listens on loopback only and answers to loopback names only; in a container also to the one name that it
//! is told.

mod arguments;
mod tools;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::tools::Tools;

/// The one path that is served.
pub const PATH: &str = "/mcp";

/// How long a stop waits for answers under way, and then once more for the streams it ended.
const GRACE: Duration = Duration::from_secs(1);

/// The pause after a failed accept: without descriptors left, the next one would fail at once too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Pages that a browser shows from here may call; from anywhere else they may not (the gateway removes `Origin` after its own check).
const ORIGINS: [&str; 3] = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];

type Mcp = StreamableHttpService<Tools, LocalSessionManager>;

/// Answers MCP at [`PATH`] until `stop` is done, then lets answers under way finish for a moment and ends open streams.
///
/// `now` tells the seconds since 1970-01-01T00:00:00Z, for the tool `time`.
///
/// # Errors
///
/// `InvalidInput` for a listener that is not on loopback: what it tells is for this machine only.
pub async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    now: impl Fn() -> u64 + Send + Sync + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        let problem = format!("the diagnostic server listens on loopback only, not on {address}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    run(listener, None, stop, now).await
}

/// Like [`serve`], for a private network in which nobody but a gateway reaches it: `listener` may be on any address, and beside loopback
/// names it answers to `host`.
///
/// # Errors
///
/// None of its own.
pub async fn serve_as(
    host: &str,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    now: impl Fn() -> u64 + Send + Sync + 'static,
) -> io::Result<()> {
    run(listener, Some(host), stop, now).await
}

async fn run(
    listener: TcpListener,
    host: Option<&str>,
    stop: impl Future<Output = ()>,
    now: impl Fn() -> u64 + Send + Sync + 'static,
) -> io::Result<()> {
    let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
    // Sessions are tasks of rmcp's own: they end with this future, even if it is dropped.
    let _ended = cut.clone().drop_guard();
    let mcp = mcp(Tools::new(now), host, &cut);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, mcp.clone(), drain.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the diagnostic server could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    drain.cancel();
    let finished = timeout(GRACE, all(&mut connections)).await.is_ok();
    cut.cancel();
    if !finished && timeout(GRACE, all(&mut connections)).await.is_err() {
        tracing::debug!(count = connections.len(), "connections cut off");
    }
    connections.shutdown().await;
    Ok(())
}

fn mcp(tools: Tools, host: Option<&str>, cut: &CancellationToken) -> Mcp {
    // Host is left at rmcp's default, loopback names only, but for our own: a rebound DNS name does not get in.
    let mut config = StreamableHttpServerConfig::default();
    config.allowed_hosts.extend(host.map(str::to_owned));
    let config =
        config.with_json_response(true).with_allowed_origins(ORIGINS).with_cancellation_token(cut.clone());
    StreamableHttpService::new(move || Ok(tools.clone()), Arc::default(), config)
}

async fn all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, mcp: Mcp, drain: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    let service = service_fn(|request| answer(&mcp, request));
    // The timer arms hyper's limit on reading a request's head, which is also the one on idle connections.
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection to the diagnostic server broke off");
    }
}

async fn answer(
    mcp: &Mcp,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    if request.uri().path() == PATH {
        let ends_session = request.method() == Method::DELETE;
        let mut response = mcp.handle(request).await;
        // rmcp answers a session's end with 202, which the Python SDK 1.x reports as a failure: it knows 200 and 204.
        if ends_session && response.status() == StatusCode::ACCEPTED {
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.body_mut() = Full::default().boxed();
        }
        return Ok(response);
    }
    let body = Full::from("Not Found: the diagnostic MCP server is at /mcp\n").boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_beyond_loopback_is_refused() {
        let listener = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let refusal = serve(listener, std::future::pending(), || 0).await.unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            refusal.to_string(),
            format!("the diagnostic server listens on loopback only, not on 0.0.0.0:{port}")
        );
    }
}
