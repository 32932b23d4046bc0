//! What the commands for a running gateway share: finding its socket, asking, and telling what went wrong.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::door::Door;
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
    config: PathBuf,
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
        }
    }
}

/// Runs a command; what it returns is its exit status.
pub(super) fn run(command: impl FnOnce() -> Result<ExitCode, Failure>) -> ExitCode {
    match command() {
        Ok(status) => status,
        // Whoever reads the output has seen enough.
        Err(Failure::Terminal(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            drop(writeln!(io::stderr(), "portcullis: {failure}"));
            ExitCode::from(failure.status())
        }
    }
}

/// The JSON of an answer on standard output.
pub(super) fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(answer).map_err(io::Error::from)?;
    Ok(writeln!(io::stdout(), "{json}")?)
}

/// Whether people read what is printed there, and like colours.
pub(super) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

impl Reach {
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
        let fault: admin::Answered = serde_json::from_slice(&answer).map_err(|_| broken())?;
        match status.as_u16() {
            403 => Err(Failure::NotPermitted(socket)),
            _ => Err(Failure::Refused(fault.error)),
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

pub(super) async fn send(
    socket: &Path,
    verb: &str,
    body: Vec<u8>,
) -> Result<(http::StatusCode, Bytes), Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            Failure::NotPermitted(socket.to_owned())
        } else {
            Failure::NotRunning(socket.to_owned())
        }
    })?;
    let request = http::Request::post(format!("/v1/{verb}"))
        .header(http::header::HOST, "localhost")
        .body(Full::<Bytes>::from(body))
        .map_err(|error| Failure::Terminal(io::Error::other(error)))?;
    converse(stream, request).await.map_err(|_| Failure::Broken(socket.to_owned()))
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
