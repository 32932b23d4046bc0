//! One worker: a thread with a runtime of its own that accepts connections, serves them, and at the end drains them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Limits, Terms, serve_http1, serve_http2};
use super::crowd::{Crowd, Present, Room};
use super::listen::{BACKLOG, Bound};
use super::peers::Admitted;
use super::tls::{self, Secured};
use super::{Application, Door, redirect};
use crate::certs::Tls;
use crate::gateway::Arrival;
use crate::telemetry::ConnectionRefusal;

/// What every connection of a worker needs.
pub(super) struct Worker<A> {
    pub(super) application: A,
    pub(super) tls: Option<Tls>,
    pub(super) admitted: Arc<Admitted>,
    pub(super) crowd: Arc<Crowd>,
    /// Cancelled when the gateway stops.
    pub(super) stopping: CancellationToken,
    pub(super) drain: Duration,
}

/// How often a worker looks whether it is to tidy up.
const TIDY: Duration = Duration::from_secs(5);

/// Lets go of what this thread keeps of freed memory, after many connections have gone.
async fn tidy() {
    let mut cache = portcullis_heap::ThreadCache::default();
    loop {
        tokio::time::sleep(TIDY).await;
        cache.empty_if_asked();
    }
}

impl<A: Application> Worker<A> {
    /// Accepts on `sockets` until the stop, then drains. Returns when nothing of the worker is left.
    pub(super) fn run(self, runtime: Runtime, sockets: Vec<Bound>) -> io::Result<()> {
        let worker = Arc::new(self);
        let result = runtime.block_on(worker.work(sockets));
        // Drops what is open, without waiting for a blocking call such as a name look-up.
        runtime.shutdown_background();
        result
    }

    async fn work(self: Arc<Self>, sockets: Vec<Bound>) -> io::Result<()> {
        let connections = TaskTracker::new();
        tokio::spawn(tidy());
        let mut doors = JoinSet::new();
        for Bound { socket, door, passed, .. } in sockets {
            let listener = TcpListener::from_std(socket)?;
            let (worker, connections) = (Arc::clone(&self), connections.clone());
            doors.spawn(async move {
                let listener = worker.accept(listener, door, &connections).await;
                // Whoever waits in a socket that was passed is the next process's.
                if !passed {
                    worker.accept_waiting(listener, door, &connections);
                }
            });
        }
        while let Some(ended) = doors.join_next().await {
            ended?;
        }
        connections.close();
        if tokio::time::timeout(self.drain, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "cut off: their requests did not end in time");
        }
        Ok(())
    }

    /// Accepts until the stop, and leaves the socket to the caller.
    async fn accept(
        self: &Arc<Self>,
        listener: TcpListener,
        door: Door,
        connections: &TaskTracker,
    ) -> TcpListener {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return listener,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.open(stream, peer, door, connections),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Closing a socket resets the connections that wait in its queue: they are accepted first.
    fn accept_waiting(self: &Arc<Self>, listener: TcpListener, door: Door, connections: &TaskTracker) {
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..BACKLOG {
            let Ok((stream, peer)) = listener.accept() else { return };
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.open(stream, peer, door, connections);
            }
        }
    }

    fn open(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, door: Door, connections: &TaskTracker) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !self.admitted.admits(peer.ip()) {
            self.application.refusals().connection(ConnectionRefusal::Peer);
            tracing::info!(%peer, "connection refused: peers from there are not accepted");
            return;
        }
        let limits = self.application.limits();
        let Some(present) = self.enter(peer.ip(), &limits) else { return };
        // Fails only if the peer is gone already, which is found out soon enough.
        let _ = stream.set_nodelay(true);
        let worker = Arc::clone(self);
        connections.spawn(async move {
            let _present = present;
            let terms = Terms { limits, stopping: &worker.stopping, refusals: worker.application.refusals() };
            match door {
                Door::Main => worker.serve(stream, peer, terms).await,
                Door::Redirect => worker.redirect(stream, terms).await,
            }
        });
    }

    /// Counts a connection, unless there are too many.
    fn enter(&self, peer: IpAddr, limits: &Limits) -> Option<Present> {
        let limits = &limits.configured;
        let per_network = (!self.application.is_proxy(peer)).then_some(limits.per_address);
        let room = Room { total: limits.total, per_network };
        let refused = match self.crowd.enter(peer, room, Instant::now()) {
            Ok(present) => return Some(present),
            Err(refused) => refused,
        };
        self.application.refusals().connection(refused.why);
        if refused.tell {
            if refused.why == ConnectionRefusal::Total {
                tracing::warn!(
                    connections = limits.total,
                    "connections refused: limits.connections are open"
                );
            } else {
                tracing::warn!(
                    %peer,
                    connections = limits.per_address,
                    "connections refused: limits.connections_per_address are open from there"
                );
            }
        }
        None
    }

    async fn serve(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, terms: Terms<'_>) {
        match &self.tls {
            None => {
                self.converse(stream, Arrival { peer, tls: false, server_name: None }, (false, terms)).await;
            }
            Some(tls) => {
                // Boxed, as what comes after it: each takes its room only while it lasts, and an open stream lasts.
                let secured = Box::pin(self.secure(stream, peer, tls, terms)).await;
                if let Some(Secured { stream, server_name, http2 }) = secured {
                    self.converse(stream, Arrival { peer, tls: true, server_name }, (http2, terms)).await;
                }
            }
        }
    }

    async fn converse<I>(self: &Arc<Self>, io: I, arrival: Arrival, (http2, terms): (bool, Terms<'_>))
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let arrival = Arc::new(arrival);
        let answer = |request| {
            let (worker, arrival) = (Arc::clone(self), Arc::clone(&arrival));
            async move { worker.application.answer(&arrival, request).await }
        };
        if http2 {
            Box::pin(serve_http2(io, answer, terms)).await;
        } else {
            Box::pin(serve_http1(io, answer, terms)).await;
        }
    }

    /// Shakes hands in time, or not at all.
    async fn secure<I>(&self, io: I, peer: SocketAddr, tls: &Tls, terms: Terms<'_>) -> Option<Secured<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let too_late = async {
            terms.stopping.cancelled().await;
            tokio::time::sleep(terms.limits.late).await;
        };
        tokio::select! {
            secured = tls::handshake(io, tls) => {
                secured.inspect_err(|error| tracing::debug!(%peer, %error, "no TLS connection")).ok()
            }
            () = tokio::time::sleep(terms.limits.configured.handshake) => {
                terms.refusals.connection(ConnectionRefusal::SlowHandshake);
                tracing::debug!(%peer, "no TLS connection: the peer took too long");
                None
            }
            () = too_late => None,
        }
    }

    async fn redirect(&self, stream: TcpStream, terms: Terms<'_>) {
        let challenges = self.tls.as_ref().and_then(|tls| tls.challenges.as_deref());
        let answer = async |request: Request<Incoming>| {
            if let Some(answered) = redirect::challenge(&request, challenges).await {
                return answered;
            }
            redirect::answer(&request, |host, path| self.application.https_location(host, path))
        };
        serve_http1(stream, answer, terms).await;
    }
}

/// What a worker waits after an error that would come again at once, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether a connection failed before it was accepted (accept(2)): the next one may be fine.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
}
