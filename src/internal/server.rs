//! The listener: one request a connection, bounded in size, time and number, so that nobody who asks holds up the others or the
//! gateway.

use std::convert::Infallible;
use std::io;
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

/// The largest head of a request, in bytes. More is 431.
const HEAD: usize = 16 * 1024;
/// How long a head may take to come.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long a connection may take altogether.
const WHOLE: Duration = Duration::from_secs(10);
/// How many are open side by side; whoever comes then is turned away at once.
const AT_ONCE: usize = 64;

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
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut listening = Listening(Vec::new());
    for socket in sockets {
        let address = socket.local_addr()?;
        let accepting = accept(TcpListener::from_std(socket)?, Arc::clone(&desk), Arc::clone(&room));
        listening.0.push(tokio::spawn(accepting));
        tracing::info!(%address, "probes and metrics are answered");
    }
    Ok(listening)
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, room: Arc<Semaphore>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the internal listener cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            drop(timeout(WHOLE, serve(stream, &desk)).await);
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, desk: &Desk) {
    let service = service_fn(async |request| Ok::<_, Infallible>(desk.answer(&request)));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .max_header_size(HEAD)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the internal listener was broken off");
    }
}
