//! One worker: a thread with a runtime of its own that accepts connections, serves them, and at the end drains them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::connection::{Terms, serve_http1, serve_http2};
use super::listen::{BACKLOG, Bound};
use super::peers::Admitted;
use super::tls::{self, Secured};
use super::{Application, Door, redirect};
use crate::certs::Tls;
use crate::gateway::Arrival;

/// What every connection of a worker needs.
pub(super) struct Worker<A> {
    pub(super) application: A,
    pub(super) tls: Option<Tls>,
    pub(super) admitted: Arc<Admitted>,
    pub(super) terms: Terms,
    pub(super) drain: Duration,
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
        let mut doors = JoinSet::new();
        for Bound { socket, door, .. } in sockets {
            let listener = TcpListener::from_std(socket)?;
            doors.spawn(Arc::clone(&self).accept(listener, door, connections.clone()));
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

    async fn accept(self: Arc<Self>, listener: TcpListener, door: Door, connections: TaskTracker) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.terms.stopping.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.open(stream, peer, door, &connections),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.accept_waiting(listener, door, &connections);
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
            tracing::info!(%peer, "connection refused: peers from there are not accepted");
            return;
        }
        // Fails only if the peer is gone already, which is found out soon enough.
        let _ = stream.set_nodelay(true);
        let worker = Arc::clone(self);
        connections.spawn(async move {
            match door {
                Door::Main => worker.serve(stream, peer).await,
                Door::Redirect => worker.redirect(stream).await,
            }
        });
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        match &self.tls {
            None => self.converse(stream, Arrival { peer, tls: false, server_name: None }, false).await,
            Some(tls) => {
                if let Some(Secured { stream, server_name, http2 }) = self.secure(stream, peer, tls).await {
                    self.converse(stream, Arrival { peer, tls: true, server_name }, http2).await;
                }
            }
        }
    }

    async fn converse<I>(self: &Arc<Self>, io: I, arrival: Arrival, http2: bool)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let arrival = Arc::new(arrival);
        let answer = |request| {
            let (worker, arrival) = (Arc::clone(self), Arc::clone(&arrival));
            async move { worker.application.answer(&arrival, request).await }
        };
        if http2 {
            serve_http2(io, answer, &self.terms).await;
        } else {
            serve_http1(io, answer, &self.terms).await;
        }
    }

    /// Shakes hands in time, or not at all.
    async fn secure<I>(&self, io: I, peer: SocketAddr, tls: &Tls) -> Option<Secured<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = self.terms.limits;
        let too_late = async {
            self.terms.stopping.cancelled().await;
            tokio::time::sleep(limits.late).await;
        };
        tokio::select! {
            secured = tls::handshake(io, tls) => {
                secured.inspect_err(|error| tracing::debug!(%peer, %error, "no TLS connection")).ok()
            }
            () = tokio::time::sleep(limits.handshake) => {
                tracing::debug!(%peer, "no TLS connection: the peer took too long");
                None
            }
            () = too_late => None,
        }
    }

    async fn redirect(self: Arc<Self>, stream: TcpStream) {
        let challenges = self.tls.as_ref().and_then(|tls| tls.challenges.as_deref());
        let answer = async |request: Request<Incoming>| {
            if let Some(answered) = redirect::challenge(&request, challenges).await {
                return answered;
            }
            redirect::answer(&request, |host, path| self.application.https_location(host, path))
        };
        serve_http1(stream, answer, &self.terms).await;
    }
}

/// What a worker waits after an error that would come again at once, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether a connection failed before it was accepted (accept(2)): the next one may be fine.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
}
