//! Sockets: accept loops, TLS handshakes, HTTP connections, the port-80 redirect, and the drain at the end.

mod activity;
mod connection;
mod crowd;
mod head_timer;
mod held;
mod listen;
mod owner;
mod passed;
mod peers;
mod redirect;
mod tls;
mod turns;
mod worker;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::certs::Tls;
use crate::gateway::{self, Arrival, Gateway};
use crate::telemetry::{self, Refusals};

use connection::{BoxError, Limits};
use crowd::Crowd;
use listen::Bound;
use peers::Admitted;
use worker::Worker;

pub use listen::bind_beside;
pub use owner::{Owner, owners, this_program};
pub use passed::{Passed, PassedError};

/// What to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where HTTP is served (by TLS unless `tls: off`): all addresses of each configured listener; `localhost` is both
    /// loopback addresses.
    pub listen: Vec<SocketAddr>,
    /// Where plain HTTP is redirected to https with 308: only hosts we serve, and never a request that carries
    /// `Authorization`. Empty if `tls: off`.
    pub redirect: Vec<SocketAddr>,
    /// Who may connect at all.
    pub peers: Peers,
    /// How long open requests may take to finish once a stop was asked for.
    pub drain: Duration,
    /// How many workers; one a core.
    pub workers: usize,
}

/// Whose connections are accepted; others are closed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Anybody's: TLS is on.
    Anybody,
    /// Loopback addresses only.
    Loopback,
    /// Loopback and the container's default gateway (`published_on_loopback`).
    LoopbackAndDefaultGateway,
    /// These networks (`trusted_proxies`), and loopback.
    Networks(Vec<IpNet>),
}

/// Why serving could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be bound (findings `port-in-use`, `port-denied`).
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A worker cannot be started, or has ended by a fault of ours.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
}

/// Bound sockets, not accepting yet: binding comes before anything that takes time, so that a taken port is said at once.
#[derive(Debug)]
pub struct Listeners {
    bound: Vec<Bound>,
}

impl Listeners {
    /// Takes the sockets of `settings` that were passed, and binds the other addresses.
    ///
    /// `[::]` accepts both families unless an IPv4 address is listed for the same port. Where the machine has no IPv6,
    /// `[::]` and `[::1]` are left out if their IPv4 counterparts are listed.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub fn bind(settings: &Settings, passed: &mut Passed) -> Result<Self, ServeError> {
        listen::bind(settings, passed).map(|bound| Self { bound })
    }

    /// Where HTTP is served, with the ports that the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().filter(|bound| bound.door == Door::Main).map(|bound| bound.address).collect()
    }

    /// Serves until `stop` is done, then drains: no new connections, open requests finish within `settings.drain`. A kept HTTP/1.1
    /// connection is answered once more, with `Connection: close`, if it asks within a second; HTTP/2 gets GOAWAY. Called on the control runtime; every worker is a thread with a runtime of its own
    /// and a `gateway::Worker` of its own. Dropping the future stops the workers too, without waiting for them.
    ///
    /// # Errors
    /// [`ServeError::Worker`].
    pub async fn serve(
        self,
        settings: Settings,
        tls: Option<Tls>,
        gateway: Arc<Gateway>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let served = self.run((settings, tls), || Front::new(&gateway), stop).await;
        telemetry::flush();
        served
    }

    async fn run<A: Application>(
        self,
        (settings, tls): (Settings, Option<Tls>),
        application: impl Fn() -> A,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let stopping = CancellationToken::new();
        let _stop_if_dropped = stopping.clone().drop_guard();
        let admitted = Arc::new(Admitted::new(settings.peers));
        let crowd = Arc::new(Crowd::default());
        let mut workers = JoinSet::new();
        for number in 0..settings.workers.max(1) {
            let runtime = runtime().map_err(ServeError::Worker)?;
            let application = {
                let _entered = runtime.enter();
                application()
            };
            let worker = Worker {
                application,
                tls: tls.clone(),
                admitted: Arc::clone(&admitted),
                crowd: Arc::clone(&crowd),
                // One of its own: every connection looks at it at every turn, and a look is a lock.
                stopping: stopping.child_token(),
                drain: settings.drain,
            };
            let sockets = self.bound.iter().map(Bound::another).collect::<io::Result<_>>();
            let sockets = sockets.map_err(ServeError::Worker)?;
            let ended = spawn(number, move || worker.run(runtime, sockets)).map_err(ServeError::Worker)?;
            workers.spawn(ended);
        }
        // The port is free as soon as the last worker has closed its copy.
        drop(self);
        until(stop, &mut workers).await?;
        stopping.cancel();
        while let Some(ended) = workers.join_next().await {
            outcome(ended)?;
        }
        Ok(())
    }
}

/// Waits for `stop`, or for a worker that ends before it should.
async fn until(stop: impl Future<Output = ()>, workers: &mut JoinSet<Ended>) -> Result<(), ServeError> {
    tokio::select! {
        () = stop => Ok(()),
        Some(ended) = workers.join_next() => {
            outcome(ended)?;
            Err(ServeError::Worker(io::Error::other("a worker ended early")))
        }
    }
}

/// What a worker's thread leaves behind; nothing if it panicked.
type Ended = Result<io::Result<()>, oneshot::error::RecvError>;

fn outcome(ended: Result<Ended, tokio::task::JoinError>) -> Result<(), ServeError> {
    match ended {
        Ok(Ok(result)) => result.map_err(ServeError::Worker),
        Ok(Err(panicked)) => Err(ServeError::Worker(io::Error::other(panicked))),
        Err(error) => Err(ServeError::Worker(error.into())),
    }
}

fn spawn(
    number: usize,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (done, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("worker-{number}"));
    thread.spawn(move || {
        // Nobody waits any more if `serve` was dropped.
        let _ = done.send(run());
    })?;
    Ok(ended)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Which of our services a socket is the door to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Main,
    Redirect,
}

/// What answers requests: the gateway, or a stand-in of a test.
trait Application: Send + Sync + 'static {
    /// The response's body.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Answers one request.
    fn answer(
        &self,
        arrival: &Arrival,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The https URL for a request that came by plain http, if its host is ours.
    fn https_location(&self, host: &str, path_and_query: &str) -> Option<String>;

    /// What the next connection may take.
    fn limits(&self) -> Limits;

    /// Whether `peer` brings along connections of others, and is not limited by its address.
    fn is_proxy(&self, peer: IpAddr) -> bool;

    /// Where refusals are counted.
    fn refusals(&self) -> &Refusals;
}

/// The gateway, with what one worker owns of it.
struct Front {
    gateway: Arc<Gateway>,
    worker: gateway::Worker,
}

impl Front {
    fn new(gateway: &Arc<Gateway>) -> Self {
        Self { gateway: Arc::clone(gateway), worker: gateway.shared().workers.hire() }
    }
}

impl Application for Front {
    type Body = gateway::Body;

    async fn answer(&self, arrival: &Arrival, request: Request<Incoming>) -> Response<gateway::Body> {
        self.gateway.handle(&self.worker, arrival, request).await
    }

    fn https_location(&self, host: &str, path_and_query: &str) -> Option<String> {
        self.gateway.https_location(host, path_and_query)
    }

    fn limits(&self) -> Limits {
        self.gateway.connection_limits().into()
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.gateway.is_trusted_proxy(peer)
    }

    fn refusals(&self) -> &Refusals {
        &self.gateway.shared().refusals
    }
}

#[cfg(test)]
mod tests;
