//! `portcullis health`: whether the gateway of a configuration is alive, or ready, for a container's health check and for scripts.
//! Whatever is the matter with the gateway, the files or the machine, it ends in time.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::door::{Door, Question, in_time};
use super::table::json;
use crate::internal::Readiness;

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

/// What is asked for readiness, and for life: the socket answers to either in the same words.
const READY: Question = Question { path: "/ready", verb: "gateway/ready", of_people: false };
const ALIVE: Question = Question { path: "/health", verb: "gateway/health", of_people: false };

/// What whoever lives says.
#[derive(Deserialize)]
struct Alive {
    status: String,
}

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    let asked = arguments.clone();
    let told = in_time(move || look(&asked));
    let told = told.unwrap_or_else(|late| Told { problem: Some(late), ..Told::default() });
    let status = if told.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    // Nothing can be said to a terminal that is gone; the exit status still tells.
    drop(tell(arguments, &told));
    status
}

fn look(arguments: &Arguments) -> Told {
    let door = match Door::of(&arguments.file) {
        Ok(door) => door,
        Err(problem) => return Told { problem: Some(problem), ..Told::default() },
    };
    let asked = Some(door.to_string());
    let answered = if arguments.ready {
        door.ask(READY)
    } else {
        door.ask(ALIVE).and_then(|Alive { status }| {
            let strange = || format!("what answers at {door} is no gateway: it says {status:?}");
            let lives = Readiness { ready: true, ..Readiness::default() };
            (status == "ok").then_some(lives).ok_or_else(strange)
        })
    };
    match answered {
        Ok(Readiness { ready, degraded, waiting_for }) => {
            let problem = (!ready).then(|| format!("not ready: {}", waiting_for.join("; ")));
            Told { healthy: ready, asked, degraded, waiting_for, problem }
        }
        Err(problem) => Told { asked, problem: Some(problem), ..Told::default() },
    }
}

fn tell(arguments: &Arguments, told: &Told) -> io::Result<()> {
    if arguments.json {
        writeln!(io::stdout(), "{}", json(told)?)?;
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
