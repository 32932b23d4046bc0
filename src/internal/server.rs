//! The listener: one request a connection, bounded in size, time and number, so that nobody who asks holds up the others or the
//! gateway. Proxies that ask about their own requests keep their connections, and have places of their own.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Status;
use super::answer::Desk;
use crate::secret::Secret;

/// What a connection may take.
struct Terms {
    /// The largest head of a request, in bytes. More is 431.
    head: usize,
    /// How long a head may take to come, and on a kept connection the wait for the next one.
    arrival: Duration,
    /// How long the connection may take altogether.
    whole: Option<Duration>,
    /// How many are open side by side; whoever comes then is turned away at once.
    at_once: usize,
}

/// Of probes and monitoring: one request each.
const PROBES: Terms = Terms {
    head: 16 * 1024,
    arrival: Duration::from_secs(5),
    whole: Some(Duration::from_secs(10)),
    at_once: 64,
};

/// Of proxies that ask about each of their requests, with all its headers. They keep their connections, and we keep them longer than
/// the usual ones do (nginx 60 s, Traefik 90 s, Caddy 2 min), so that none asks over one that is just being closed.
const PROXIES: Terms =
    Terms { head: 64 * 1024, arrival: Duration::from_secs(150), whole: None, at_once: 1024 };

/// The places of one kind.
#[derive(Clone)]
struct Room {
    terms: &'static Terms,
    places: Arc<Semaphore>,
}

/// Sockets that are answered at until this is dropped.
pub struct Listening(Vec<JoinHandle<()>>);

impl Drop for Listening {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Answers at bound sockets, on the runtime that this is called on.
///
/// # Errors
/// If the runtime cannot take them.
pub fn start(
    sockets: Vec<std::net::TcpListener>,
    token: Option<&Secret>,
    status: Arc<Status>,
) -> io::Result<Listening> {
    let desk = Arc::new(Desk::new(token, status));
    let rooms = [&PROBES, &PROXIES].map(Room::new);
    let mut listening = Listening(Vec::new());
    for socket in sockets {
        let address = socket.local_addr()?;
        let accepting = accept(TcpListener::from_std(socket)?, Arc::clone(&desk), rooms.clone());
        listening.0.push(tokio::spawn(accepting));
        tracing::info!(%address, "probes and metrics are answered");
    }
    Ok(listening)
}

impl Room {
    fn new(terms: &'static Terms) -> Self {
        Self { terms, places: Arc::new(Semaphore::new(terms.at_once)) }
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, [probes, proxies]: [Room; 2]) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the internal listener cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Room { terms, places } = if desk.knows_proxy(peer) { &proxies } else { &probes };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else { continue };
        let (desk, terms) = (Arc::clone(&desk), *terms);
        tokio::spawn(async move {
            let connection = serve(stream, peer, &desk, terms);
            match terms.whole {
                Some(whole) => drop(timeout(whole, connection).await),
                None => connection.await,
            }
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, desk: &Desk, terms: &Terms) {
    let service = service_fn(async |request| Ok::<_, Infallible>(desk.answer(peer, request).await));
    let connection = http1::Builder::new()
        .keep_alive(terms.whole.is_none())
        .timer(TokioTimer::new())
        .header_read_timeout(terms.arrival)
        .max_header_size(terms.head)
        .max_buf_size(terms.head)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the internal listener was broken off");
    }
}
