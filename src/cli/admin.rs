//! What the commands for a running gateway share: finding its socket, asking, and telling what went wrong.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::door::Door;
use super::table::json_pretty;
use crate::{admin, config};

/// Where the gateway is, and how its answer is shown.
#[derive(Args, Clone, Debug)]
pub(super) struct Reach {
    /// The gateway's configuration, which tells where its socket is.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "portcullis.yaml",
        env = "PORTCULLIS_CONFIG",
        hide_env_values = true
    )]
    pub(super) config: PathBuf,
    /// The gateway's socket, in place of what the configuration tells.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// The last lines of every such command's help.
pub(super) const STATUS: &str = "Exit status: 0 done; 1 refused, or there is no such thing; 2 wrong arguments; 69 no gateway listens at the socket; 77 \
this user may not; 78 the configuration does not tell the socket.";

/// Why a command ends otherwise than well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The gateway's words.
    #[error("{0}")]
    Refused(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    #[error("no gateway is listening on {}: start it (portcullis serve FILE), or name its socket by --socket", .0.display())]
    NotRunning(PathBuf),
    #[error("{} is not to be used by this user; run this as root, or as the user that runs portcullis", .0.display())]
    NotPermitted(PathBuf),
    #[error("{0}; name the gateway's socket by --socket")]
    Configuration(String),
    #[error("the gateway at {} broke the connection off; see its log", .0.display())]
    Broken(PathBuf),
    /// Told already; the exit status.
    #[error("it was told")]
    Told(u8),
    /// Standard output or input.
    #[error(transparent)]
    Terminal(#[from] io::Error),
}

impl Failure {
    /// As in sysexits.h where that has one.
    fn status(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Terminal(_) => 1,
            Self::Usage(_) => 2,
            Self::NotRunning(_) | Self::Broken(_) => 69,
            Self::NotPermitted(_) => 77,
            Self::Configuration(_) => 78,
            Self::Told(status) => *status,
        }
    }
}

/// Runs a command; what it returns is its exit status.
pub(super) fn run(command: impl FnOnce() -> Result<ExitCode, Failure>) -> ExitCode {
    match command() {
        Ok(status) => status,
        // Whoever reads the output has seen enough.
        Err(Failure::Terminal(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Told(status)) => ExitCode::from(status),
        Err(failure) => {
            drop(writeln!(io::stderr(), "portcullis: {failure}"));
            ExitCode::from(failure.status())
        }
    }
}

/// The JSON of an answer on standard output.
pub(super) fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    let json = json_pretty(answer).map_err(io::Error::from)?;
    Ok(writeln!(io::stdout(), "{json}")?)
}

/// Whether people read what is printed there, and like colours.
pub(super) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

impl Reach {
    /// The gateway of `config`, or the one at `socket`.
    pub(super) fn at(config: &Path, socket: Option<&Path>) -> Self {
        Self { config: config.to_owned(), socket: socket.map(Path::to_owned), json: false }
    }

    /// Asks the gateway.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn ask<A: DeserializeOwned>(
        &self,
        verb: &str,
        question: &impl Serialize,
    ) -> Result<A, Failure> {
        let socket = self.socket()?;
        let body = serde_json::to_vec(question).map_err(io::Error::from)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (status, answer) = runtime.block_on(send(&socket, verb, body))?;
        let broken = || Failure::Broken(socket.clone());
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|_| broken());
        }
        Err(refused(&socket, status, &answer))
    }

    /// The gateway's answer to a question as it comes, on `runtime`; `None` if no gateway listens.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn stream(
        &self,
        verb: &str,
        runtime: &Runtime,
    ) -> Result<Option<(PathBuf, Incoming)>, Failure> {
        let socket = self.socket()?;
        let broken = |_: hyper::Error| Failure::Broken(socket.clone());
        let answer = async {
            let stream = match connect(&socket).await {
                Err(Failure::NotRunning(_)) => return Ok(None),
                connected => connected?,
            };
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
            tokio::spawn(connection);
            let response = sender.send_request(post(verb, b"null".to_vec())?).await.map_err(broken)?;
            let status = response.status();
            if status.is_success() {
                return Ok(Some(response.into_body()));
            }
            let answer = response.into_body().collect().await.map_err(broken)?.to_bytes();
            Err(refused(&socket, status, &answer))
        };
        let answer = runtime.block_on(answer)?;
        Ok(answer.map(|answer| (socket, answer)))
    }

    /// The gateway's socket, if one listens there.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn listening(&self) -> Result<Option<PathBuf>, Failure> {
        let socket = match self.socket() {
            // `admin_socket: off`.
            Err(Failure::Configuration(_)) => return Ok(None),
            socket => socket?,
        };
        match std::os::unix::net::UnixStream::connect(&socket) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Ok(None),
            Ok(_) | Err(_) => Ok(Some(socket)),
        }
    }

    /// Where it is asked how it stands.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(super) fn door(&self) -> Result<Door, String> {
        self.socket.clone().map_or_else(|| Door::of(&self.config), |socket| Ok(Door::Socket(socket)))
    }

    fn socket(&self) -> Result<PathBuf, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let settings = config::admin_socket(&self.config, &config::System).map_err(Failure::Configuration)?;
        let off = || Failure::Configuration(format!("{} says admin_socket: off", self.config.display()));
        settings.path().cloned().ok_or_else(off)
    }
}

/// What the gateway says of why not.
fn refused(socket: &Path, status: http::StatusCode, answer: &[u8]) -> Failure {
    match (serde_json::from_slice::<admin::Answered>(answer), status.as_u16()) {
        (Err(_), _) => Failure::Broken(socket.to_owned()),
        (Ok(_), 403) => Failure::NotPermitted(socket.to_owned()),
        (Ok(fault), _) => Failure::Refused(fault.error),
    }
}

async fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(socket).await.map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            Failure::NotPermitted(socket.to_owned())
        } else {
            Failure::NotRunning(socket.to_owned())
        }
    })
}

fn post(verb: &str, body: Vec<u8>) -> Result<http::Request<Full<Bytes>>, Failure> {
    http::Request::post(format!("/v1/{verb}"))
        .header(http::header::HOST, "localhost")
        .body(Full::from(body))
        .map_err(|error| Failure::Terminal(io::Error::other(error)))
}

pub(super) async fn send(
    socket: &Path,
    verb: &str,
    body: Vec<u8>,
) -> Result<(http::StatusCode, Bytes), Failure> {
    let stream = connect(socket).await?;
    converse(stream, post(verb, body)?).await.map_err(|_| Failure::Broken(socket.to_owned()))
}

/// One request over a connection of its own, and its whole answer.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: http::Request<Full<Bytes>>,
) -> hyper::Result<(http::StatusCode, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    // The connection does its work beside the request, and ends with it.
    let (answer, ()) = tokio::join!(answer, async { drop(connection.await) });
    answer
}

/// Asks page by page, from the first to the last.
pub(super) fn pages<P>(
    mut page: impl FnMut(Option<String>) -> Result<P, Failure>,
    mut told: impl FnMut(P) -> Result<Option<String>, Failure>,
) -> Result<(), Failure> {
    let mut from = None;
    loop {
        from = told(page(from)?)?;
        if from.is_none() {
            return Ok(());
        }
    }
}
