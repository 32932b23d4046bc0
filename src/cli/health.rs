//! `portcullis health`: whether the gateway of a configuration is alive, or ready, for a container's health check and for scripts.
//! Whatever is the matter with the gateway, the files or the machine, it ends in time.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::admin::{Failure, converse, send};
use crate::config::{self, Doors};
use crate::internal::{self, Readiness};

/// `portcullis health`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    /// The gateway's configuration, which tells where it is asked: at `listen.internal` if there is one, else at its admin socket.
    #[arg(default_value = "portcullis.yaml", env = "PORTCULLIS_CONFIG", hide_env_values = true)]
    file: PathBuf,
    /// Ask as well whether it takes requests: not while it starts, has no certificate at all, or stops.
    ///
    /// Without this it is asked whether the process answers (liveness), which is what a supervisor that restarts it must know. A
    /// load balancer, or a container that waits for this one, wants this (readiness). A store that has gone away makes neither
    /// of them fail: restarting would not bring it back.
    #[arg(long)]
    ready: bool,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  portcullis health
  portcullis health /etc/portcullis/portcullis.yaml --ready
  HEALTHCHECK CMD [\"portcullis\", \"health\"]";

const STATUS: &str =
    "Exit status: 0 well; 1 not, and a line on standard error says why. It ends within 5 seconds.";

/// How long an answer may take, with everything that is done for it.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is printed for programs.
#[derive(Debug, Default, Serialize)]
struct Told {
    healthy: bool,
    /// Where it was asked.
    asked: Option<String>,
    degraded: Vec<String>,
    waiting_for: Vec<String>,
    problem: Option<String>,
}

/// What `/health` tells.
#[derive(Deserialize)]
struct Alive {
    status: String,
}

/// Where a gateway is asked.
#[derive(Clone, Debug)]
enum Door {
    /// At the first of these that takes the connection.
    Internal(internal::Settings),
    Socket(PathBuf),
}

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    let told = in_time(arguments);
    let status = if told.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    // Nothing can be said to a terminal that is gone; the exit status still tells.
    drop(tell(arguments, &told));
    status
}

/// Asks on a thread of its own: reading a file may take for ever, too.
fn in_time(arguments: &Arguments) -> Told {
    let (sender, told) = mpsc::channel();
    let arguments = arguments.clone();
    thread::spawn(move || drop(sender.send(look(&arguments))));
    told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let problem = format!("the gateway has not answered within {} seconds", PATIENCE.as_secs());
        Told { problem: Some(problem), ..Told::default() }
    })
}

fn look(arguments: &Arguments) -> Told {
    let door = match door(&arguments.file) {
        Ok(door) => door,
        Err(problem) => return Told { problem: Some(problem), ..Told::default() },
    };
    let asked = Some(door.to_string());
    match door.ask(arguments) {
        Ok(Readiness { ready, degraded, waiting_for }) => {
            let healthy = ready || !arguments.ready;
            let problem = (!healthy).then(|| format!("not ready: {}", waiting_for.join("; ")));
            Told { healthy, asked, degraded, waiting_for, problem }
        }
        Err(problem) => Told { asked, problem: Some(problem), ..Told::default() },
    }
}

fn tell(arguments: &Arguments, told: &Told) -> io::Result<()> {
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(told)?)?;
    }
    match &told.problem {
        Some(problem) => writeln!(io::stderr(), "portcullis: {problem}"),
        None if arguments.json => Ok(()),
        None => {
            let state = if arguments.ready { "ready" } else { "alive" };
            let lines = [state].into_iter().chain(told.degraded.iter().map(String::as_str));
            writeln!(io::stdout(), "{}", lines.collect::<Vec<_>>().join("; "))
        }
    }
}

/// Where the gateway of `file` is asked.
fn door(file: &Path) -> Result<Door, String> {
    let Doors { admin, internal } = config::doors(file, &config::System)?;
    let internal = internal.filter(|internal| internal.listen.iter().any(|address| address.port() != 0));
    let socket = admin.and_then(|admin| admin.path().cloned());
    internal.map(Door::Internal).or(socket.map(Door::Socket)).ok_or_else(|| {
        let file = file.display();
        format!(
            "{file} says neither listen.internal nor admin_socket; write listen: {{ internal: localhost:9400 }}"
        )
    })
}

impl Door {
    /// How the gateway stands. Nothing but that it answers is known where it is not asked whether it is ready.
    fn ask(&self, arguments: &Arguments) -> Result<Readiness, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            match self {
                Self::Internal(settings) => ask_internal(settings, arguments.ready).await,
                Self::Socket(path) => ask_socket(path).await,
            }
        })
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Internal(settings) => {
                let addresses = settings.listen.iter().map(|address| near(*address).to_string());
                f.write_str(&addresses.collect::<Vec<_>>().join(" "))
            }
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

async fn ask_internal(settings: &internal::Settings, ready: bool) -> Result<Readiness, String> {
    let mut refused = None;
    for address in settings.listen.iter().map(|address| near(*address)) {
        match TcpStream::connect(address).await {
            Ok(stream) => return answer(stream, settings, (address, ready)).await,
            Err(error) => refused = refused.or(Some((address, error))),
        }
    }
    Err(match refused {
        Some((address, error)) => {
            format!("no gateway is listening on {address} ({error}): start it (portcullis serve FILE)")
        }
        None => "listen.internal names no address".into(),
    })
}

async fn answer(
    stream: TcpStream,
    settings: &internal::Settings,
    (address, ready): (SocketAddr, bool),
) -> Result<Readiness, String> {
    let path = if ready { "/ready" } else { "/health" };
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
        StatusCode::OK if !ready => {
            let lives = serde_json::from_slice(&body).is_ok_and(|Alive { status }| status == "ok");
            lives.then(Readiness::default).ok_or_else(strange)
        }
        StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE if ready => {
            serde_json::from_slice(&body).map_err(|_| strange())
        }
        _ => Err(strange()),
    }
}

async fn ask_socket(path: &Path) -> Result<Readiness, String> {
    let told = |failure: Failure| match &failure {
        // A gateway without a socket may well run.
        Failure::NotRunning(path) => format!(
            "no gateway is listening on {}: start it (portcullis serve FILE), or give it listen: {{ internal: localhost:9400 }}",
            path.display()
        ),
        Failure::Refused(_)
        | Failure::Usage(_)
        | Failure::NotPermitted(_)
        | Failure::Configuration(_)
        | Failure::Broken(_)
        | Failure::Terminal(_) => failure.to_string(),
    };
    let (status, body) = send(path, "gateway/ready", b"null".to_vec()).await.map_err(told)?;
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
