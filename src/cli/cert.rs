//! `portcullis cert`: the certificates of a running gateway.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::admin::{Failure, Reach, STATUS, print_json, run as report};
use super::table::{List, plain};
use crate::admin::certs::{Listed, Named, Row};

/// `portcullis cert`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  portcullis cert list
  portcullis cert show auth.example.com --json
  portcullis cert renew auth.example.com";

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// List the certificates: a host each, until when it is valid, and what is wrong with it.
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Show everything that is known of a host's certificate.
    Show {
        /// The host.
        host: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Order a host's certificate anew, now, and wait for it.
    ///
    /// After a failure the gateway waits before it tries again; this does not. The certificate there is is shown until the new one
    /// is there. Certificate authorities limit how often they are asked.
    Renew {
        /// The host.
        host: String,
        /// Do not wait for it.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

/// How long a certificate is waited for, and how often it is looked.
const PATIENCE: Duration = Duration::from_mins(10);
const LOOK: Duration = Duration::from_millis(500);

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| match &arguments.command {
        Command::List { reach } => list(reach),
        Command::Show { host, reach } => show(reach, host),
        Command::Renew { host, no_wait, reach } => renew(reach, host, *no_wait),
    })
}

fn list(reach: &Reach) -> Result<ExitCode, Failure> {
    let listed: Listed = reach.ask("certs/list", &())?;
    let columns = &["HOST", "STATE", "ISSUER", "UNTIL", "RENEWS", "PROBLEM"];
    let mut list = List::new(columns, reach.json, None);
    list.add(listed.certificates.into_iter().map(|row| {
        let shown = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".to_owned());
        let cells = [&row.issuer, &row.not_after, &row.renews, &row.problem].map(shown);
        let cells = [row.host.clone(), row.state.clone()].into_iter().chain(cells).collect();
        (row.host.clone(), cells, row)
    }))?;
    list.end("There are no certificates: tls is off.")?;
    Ok(ExitCode::SUCCESS)
}

fn show(reach: &Reach, host: &str) -> Result<ExitCode, Failure> {
    let row: Row = reach.ask("certs/show", &Named { host: host.to_owned() })?;
    tell(reach, &row)?;
    Ok(ExitCode::SUCCESS)
}

fn renew(reach: &Reach, host: &str, no_wait: bool) -> Result<ExitCode, Failure> {
    let named = Named { host: host.to_owned() };
    let before: Row = reach.ask("certs/show", &named)?;
    let mut row: Row = reach.ask("certs/renew", &named)?;
    if no_wait {
        writeln!(io::stderr(), "Asked for; portcullis cert show {} tells what comes of it.", row.host)?;
        return Ok(ExitCode::SUCCESS);
    }
    if io::stderr().is_terminal() {
        writeln!(io::stderr(), "Waiting for the certificate authority …")?;
    }
    let start = Instant::now();
    while row.asked && row.next_try.is_none() && start.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
        row = reach.ask("certs/show", &named)?;
    }
    if row.serial != before.serial && row.serial.is_some() {
        tell(reach, &row)?;
        return Ok(ExitCode::SUCCESS);
    }
    let problem = row.problem.unwrap_or_else(|| "it is not there yet".to_owned());
    let next = row.next_try.map(|next| format!("; it is tried again at {next}")).unwrap_or_default();
    Err(Failure::Refused(format!("{}: {}{next}", row.host, plain(&problem))))
}

/// For programs as it came, for people line by line.
fn tell(reach: &Reach, row: &Row) -> Result<(), Failure> {
    if reach.json {
        return print_json(row);
    }
    let lines = [
        ("host", Some(row.host.clone())),
        ("state", Some(row.state.clone())),
        ("source", Some(row.source.clone())),
        ("issuer", row.issuer.clone()),
        ("serial", row.serial.clone()),
        ("names", (!row.names.is_empty()).then(|| row.names.join(" "))),
        ("valid from", row.not_before.clone()),
        ("valid until", row.not_after.clone()),
        ("renewed at", row.renews.clone()),
        ("why then", row.explanation.clone()),
        ("problem", row.problem.clone()),
        ("failures", (row.failures > 0).then(|| row.failures.to_string())),
        ("next try", row.next_try.clone()),
    ];
    let mut out = io::stdout().lock();
    for (name, value) in lines {
        if let Some(value) = value {
            writeln!(out, "{name:<12} {}", plain(&value))?;
        }
    }
    Ok(())
}
