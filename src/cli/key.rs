//! `portcullis key`: the keys of tokens and session ids.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::admin::{Failure, Reach, STATUS, print_json, run as report};
use super::table::List;
use crate::admin::keys;

/// `portcullis key`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  portcullis key list
  portcullis key rotate signing
  portcullis key rotate refresh --compromised";

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// List the keys: those that sign, those that will, and those that are still trusted.
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Replace a key before its time: after ten minutes, by when every process and every reader of /jwks has the new one.
    Rotate {
        /// Of access tokens, of refresh tokens, or of the session ids of legacy servers.
        #[arg(value_parser = ["signing", "refresh", "session"])]
        kind: String,
        /// At once; other processes may refuse a token or two until they have read the new key.
        #[arg(long, conflicts_with = "compromised")]
        at_once: bool,
        /// The key was given away: at once, and what the keys of this kind have made is trusted no more. `signing`: access tokens, which
        /// clients refresh silently, and issued ones. `refresh`: everybody signs in again. `session`: MCP sessions begin anew.
        #[arg(long)]
        compromised: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| match &arguments.command {
        Command::List { reach } => list(reach),
        Command::Rotate { kind, at_once, compromised, reach } => {
            let how = match (compromised, at_once) {
                (true, _) => "compromised",
                (false, true) => "at-once",
                (false, false) => "after-wait",
            };
            rotate(reach, &keys::Rotate { kind: kind.clone(), how: how.to_owned() })
        }
    })
}

fn list(reach: &Reach) -> Result<ExitCode, Failure> {
    let listed: keys::Listed = reach.ask("keys/list", &())?;
    let mut list = List::new(&["KIND", "KEY", "STATE", "CREATED", "SIGNS FROM", "LEAVES"], reach.json, None);
    list.add(listed.keys.into_iter().map(|row| {
        let leaves = row.leaves.clone().unwrap_or_else(|| "-".to_owned());
        let cells = [&row.kind, &row.id, &row.state, &row.created, &row.signs_from, &leaves];
        (format!("{} {}", row.kind, row.id), cells.map(Clone::clone).to_vec(), row)
    }))?;
    list.end("There are no keys.")?;
    Ok(ExitCode::SUCCESS)
}

fn rotate(reach: &Reach, wanted: &keys::Rotate) -> Result<ExitCode, Failure> {
    let key: keys::Row = reach.ask("keys/rotate", wanted)?;
    if reach.json {
        print_json(&key)?;
    } else {
        writeln!(io::stdout(), "The {} key {} signs from {} on.", key.kind, key.id, key.signs_from)?;
    }
    Ok(ExitCode::SUCCESS)
}
