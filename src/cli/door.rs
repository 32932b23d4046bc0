//! Where a running gateway is asked how it stands: at its internal listener if it has one, which answers from the first moment on,
//! else at its admin socket. What an internal listener without a token does not tell is asked at the socket first.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::admin::{Failure, converse, send};
use crate::config::{self, Doors};
use crate::internal;

/// How long an answer may take, with everything that is done for it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where a gateway is asked.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// At the first of these that takes the connection; or at the socket, if there is one and it is about people.
    Internal(internal::Settings, Option<PathBuf>),
    Socket(PathBuf),
}

/// What is asked, in the words of both doors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// At the internal listener.
    pub(super) path: &'static str,
    /// At the admin socket.
    pub(super) verb: &'static str,
    /// Whether there is more in the answer for whoever proves who asks.
    pub(super) of_people: bool,
}

/// How every word begins that says that no gateway runs.
const NOBODY: &str = "no gateway is listening on";

/// Whether an answer says that nobody listens where the gateway would be asked: then it does not run.
pub(super) fn is_about_nobody(why: &str) -> bool {
    why.starts_with(NOBODY)
}

/// Does something on a thread of its own, and waits only so long for it: even reading a file may take for ever.
pub(super) fn in_time<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, told) = mpsc::channel();
    thread::spawn(move || drop(sender.send(ask())));
    let late = |_| format!("the gateway has not answered within {} seconds", PATIENCE.as_secs());
    told.recv_timeout(PATIENCE).map_err(late)
}

impl Door {
    /// That of the gateway of `file`.
    pub(super) fn of(file: &Path) -> Result<Self, String> {
        let Doors { admin, internal } = config::doors(file, &config::System)?;
        let internal = internal.filter(|internal| internal.listen.iter().any(|address| address.port() != 0));
        let socket = admin.and_then(|admin| admin.path().cloned());
        match (internal, socket) {
            (Some(internal), socket) => Ok(Self::Internal(internal, socket)),
            (None, Some(socket)) => Ok(Self::Socket(socket)),
            (None, None) => Err(format!(
                "{} says neither listen.internal nor admin_socket; write listen: {{ internal: localhost:9400 }}",
                file.display()
            )),
        }
    }

    /// The gateway's answer.
    pub(super) fn ask<A: DeserializeOwned>(&self, question: Question) -> Result<A, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            match self {
                Self::Internal(settings, socket) => {
                    let is_better = question.of_people && settings.token.is_none();
                    if let Some(socket) = socket.as_deref().filter(|_| is_better)
                        && let Ok(answer) = ask_socket(socket, question.verb).await
                    {
                        return Ok(answer);
                    }
                    // There is no socket while it starts, and not everybody may use it.
                    ask_internal(settings, question.path).await
                }
                Self::Socket(path) => ask_socket(path, question.verb).await,
            }
        })
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internal(settings, _) => {
                let addresses = settings.listen.iter().map(|address| near(*address).to_string());
                f.write_str(&addresses.collect::<Vec<_>>().join(" "))
            }
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

async fn ask_internal<A: DeserializeOwned>(
    settings: &internal::Settings,
    path: &'static str,
) -> Result<A, String> {
    let mut refused = None;
    for address in settings.listen.iter().map(|address| near(*address)) {
        match TcpStream::connect(address).await {
            Ok(stream) => return answer(stream, settings, (address, path)).await,
            Err(error) => refused = refused.or(Some((address, error))),
        }
    }
    Err(match refused {
        Some((address, error)) => {
            format!("{NOBODY} {address} ({error}): start it (portcullis serve FILE)")
        }
        None => "listen.internal names no address".into(),
    })
}

async fn answer<A: DeserializeOwned>(
    stream: TcpStream,
    settings: &internal::Settings,
    (address, path): (SocketAddr, &'static str),
) -> Result<A, String> {
    let mut request = Request::get(path).header(HOST, format!("localhost:{}", address.port()));
    if let Some(token) = &settings.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let request = request.body(Full::<Bytes>::default()).map_err(|error| error.to_string())?;
    let broken = |error| format!("the gateway at {address} broke the connection off ({error}); see its log");
    let (status, body) = converse(stream, request).await.map_err(broken)?;
    let strange = || format!("what answers at {address} is no gateway: {status} for {path}");
    match status {
        StatusCode::UNAUTHORIZED => Err(format!(
            "the gateway at {address} has another internal_token than the configuration: restart it"
        )),
        // Whoever is not ready says so in the same words.
        StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => {
            serde_json::from_slice(&body).map_err(|_| strange())
        }
        _ => Err(strange()),
    }
}

async fn ask_socket<A: DeserializeOwned>(path: &Path, verb: &str) -> Result<A, String> {
    let told = |failure: Failure| match &failure {
        // A gateway without a socket may well run.
        Failure::NotRunning(path) => format!(
            "{NOBODY} {}: start it (portcullis serve FILE), or give it listen: {{ internal: localhost:9400 }}",
            path.display()
        ),
        Failure::Refused(_)
        | Failure::Usage(_)
        | Failure::NotPermitted(_)
        | Failure::Configuration(_)
        | Failure::Broken(_)
        | Failure::Told(_)
        | Failure::Terminal(_) => failure.to_string(),
    };
    let (status, body) = send(path, verb, b"null".to_vec()).await.map_err(told)?;
    if status == StatusCode::FORBIDDEN {
        return Err(Failure::NotPermitted(path.to_owned()).to_string());
    }
    let strange = || format!("the gateway at {} is of another version than this command", path.display());
    serde_json::from_slice(&body).map_err(|_| strange())
}

/// Where an address that stands for all of this machine's is reached from here.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}
