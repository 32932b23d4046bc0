//! Doctor's own HTTP client. It is not one to get things done with: it says how far it came. Every request has a connection of its own,
//! in HTTP/1.1; names, addresses, certificates and answers are handed back as data, and redirects are answers like others.
//!
//! ```ignore
//! let web = Web::new(&manner);
//! match web.ask(Ask::get(&url).header("accept", "application/json")).await {
//!     Ok(answer) => println!("{} {}", answer.status, answer.header("content-type")),
//!     Err(fault) => println!("{fault}"),
//! }
//! ```

mod ask;
mod names;
mod tls;

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::outside::Manner;
use names::Names;
use tls::Witness;

pub use ask::{Answer, Ask, messages};
pub use names::NameFault;
pub use tls::{Shown, TlsFault};

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// From the name's resolution to the last byte.
const WHOLE: Duration = Duration::from_secs(15);
/// From the request to the last byte of the answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Most bytes of an answer's head.
const HEAD: usize = 64 * 1024;
/// Most bytes of an answer's body that are read.
const BODY: usize = 256 * 1024;
/// Addresses of one name that are tried.
const TRIED: usize = 8;

/// Why there is no answer. Nothing that a request carries is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Neither http nor https, or without a host.
    #[error("only http and https URLs can be asked")]
    Url,
    /// A secret was to go through the network for everybody to read.
    #[error("it carries a secret, which does not go by plain http to another machine")]
    Plain,
    /// The name has no addresses.
    #[error("{0}")]
    Name(#[from] NameFault),
    /// None of its addresses accepts a connection.
    #[error("{}", dead(.0))]
    Connect(Vec<(SocketAddr, Dead)>),
    /// There is no secure connection.
    #[error("{fault}")]
    Tls {
        /// Why.
        fault: TlsFault,
        /// What the server has shown before.
        shown: Option<Arc<Shown>>,
    },
    /// A connection, and no HTTP on it.
    #[error("the connection broke off, or what came was no HTTP ({0})")]
    Broke(String),
    /// A connection, and no answer in time.
    #[error("no answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
}

/// Why there is no connection to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dead {
    /// Nobody listens.
    #[error("connection refused")]
    Refused,
    /// Nobody says anything: a firewall, or no such machine.
    #[error("no answer")]
    Silent,
    /// There is no way there, such as without IPv6.
    #[error("no route")]
    Unreachable,
    /// Something else.
    #[error("{0}")]
    Other(io::ErrorKind),
}

impl Dead {
    fn of(error: &io::Error) -> Self {
        let kind = error.kind();
        let no_route = [
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::AddrNotAvailable,
        ];
        if kind == io::ErrorKind::ConnectionRefused {
            Self::Refused
        } else if kind == io::ErrorKind::TimedOut {
            Self::Silent
        } else if no_route.contains(&kind) {
            Self::Unreachable
        } else {
            Self::Other(kind)
        }
    }
}

fn dead(addresses: &[(SocketAddr, Dead)]) -> String {
    let shown: Vec<_> = addresses.iter().map(|(address, dead)| format!("{address}: {dead}")).collect();
    shown.join("; ")
}

/// The client. It keeps in mind what names lead to, and which addresses are dead.
pub struct Web {
    names: Names,
    judge: Result<Arc<dyn ServerCertVerifier>, String>,
    dead: Mutex<HashSet<SocketAddr>>,
}

impl Web {
    /// One with the resolver and the roots of `manner`. Without usable roots every https request says so.
    #[must_use]
    pub fn new(manner: &Manner) -> Self {
        Self {
            names: Names::new(manner.resolver),
            judge: tls::judge(manner.roots.as_deref()),
            dead: Mutex::default(),
        }
    }

    /// All addresses of `host`, a name or an address.
    ///
    /// # Errors
    /// [`NameFault`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NameFault> {
        self.names.addresses(host).await
    }

    /// Who may issue certificates for `host`, by its CAA records; `None` if everybody may.
    ///
    /// # Errors
    /// [`NameFault`].
    pub async fn issuers(&self, host: &str) -> Result<Option<Vec<String>>, NameFault> {
        self.names.issuers(host).await
    }

    /// Whether `address` accepts connections.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn knock(&self, address: SocketAddr) -> Result<(), Dead> {
        connect(address).await.map(drop)
    }

    /// Sends one request and reads the answer.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Fault> {
        timeout(WHOLE, Box::pin(self.exchange(ask))).await.unwrap_or(Err(Fault::Timeout(WHOLE)))
    }

    async fn exchange(&self, ask: Ask) -> Result<Answer, Fault> {
        let host = ask.url().host_str().ok_or(Fault::Url)?.to_owned();
        let secure = match ask.url().scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(Fault::Url),
        };
        if !secure && ask.is_secret() && !ask.stays_here() {
            return Err(Fault::Plain);
        }
        let (tcp, address) = self.dial(&ask, &host).await?;
        if !secure {
            return converse(tcp, ask, address, None).await;
        }
        let judge = self.judge.clone().map_err(|why| refused(TlsFault::Roots(why), None))?;
        let witness = Witness::new(judge, ask.goes_on());
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| Fault::Url)?;
        let config = witness.config();
        let config = config.map_err(|error| refused(TlsFault::Handshake(error.to_string()), None))?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        let connected = timeout(ANSWER, connecting).await.map_err(|_| Fault::Timeout(ANSWER))?;
        let stream = connected.map_err(|error| match witness.shown() {
            Some(Shown { fault: Some(fault), chain }) => {
                refused(fault.clone(), Some(Shown { fault: Some(fault), chain }))
            }
            shown => refused(tls::handshake(&error), shown),
        })?;
        converse(stream, ask, address, witness.shown()).await
    }

    /// Connects to the first address that answers; to those that did not answer before, last.
    async fn dial(&self, ask: &Ask, host: &str) -> Result<(TcpStream, SocketAddr), Fault> {
        let port = ask.url().port_or_known_default().ok_or(Fault::Url)?;
        let mut addresses = if let Some(address) = ask.pinned() {
            vec![address]
        } else {
            let found = self.addresses(host).await?;
            found.into_iter().map(|address| SocketAddr::new(address, port)).collect()
        };
        let known = self.dead.lock().unwrap_or_else(PoisonError::into_inner).clone();
        addresses.sort_by_key(|address| known.contains(address));
        let mut dead = Vec::new();
        for address in addresses.into_iter().take(TRIED) {
            match connect(address).await {
                Ok(stream) => return Ok((stream, address)),
                Err(why) => {
                    self.dead.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
                    dead.push((address, why));
                }
            }
        }
        Err(Fault::Connect(dead))
    }
}

fn refused(fault: TlsFault, shown: Option<Shown>) -> Fault {
    Fault::Tls { fault, shown: shown.map(Arc::new) }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Dead> {
    match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|error| Dead::of(&error)),
        Err(_) => Err(Dead::Silent),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ask: Ask,
    address: SocketAddr,
    shown: Option<Shown>,
) -> Result<Answer, Fault> {
    let broke = |error: hyper::Error| Fault::Broke(error.to_string());
    let deadline = Instant::now() + ANSWER;
    let handshake = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broke)?;
    // Ends with this exchange, whatever the other end does.
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let head_only = ask.head_only();
    let request: Request<Full<Bytes>> = ask.into_request().ok_or(Fault::Url)?;
    let response = timeout_at(deadline, sender.send_request(request)).await;
    let response = response.map_err(|_| Fault::Timeout(ANSWER))?.map_err(broke)?;
    let (parts, body) = response.into_parts();
    let mut answer = Answer::new(parts, address, shown);
    if !head_only {
        read(body, &mut answer, deadline).await;
    }
    Ok(answer)
}

/// Reads what comes until it is enough: all of it, the answer in an event stream, or as much as there is room and time for.
async fn read(mut body: Incoming, answer: &mut Answer, deadline: Instant) {
    let mut read = Vec::new();
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => {
                answer.cut = true;
                break;
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        let room = BODY - read.len();
        read.extend_from_slice(data.get(..room).unwrap_or(&data));
        answer.body = Bytes::copy_from_slice(&read);
        if data.len() > room {
            answer.cut = true;
            break;
        }
        if answer.is_event_stream() && answer.json().is_some() {
            break;
        }
    }
}

#[cfg(test)]
mod tests;
