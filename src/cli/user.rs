//! `portcullis user`: whose a login of the access rules is.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::admin::{Failure, Reach, STATUS, print_json, run as report};
use super::table::harmless;
use crate::admin::users;

/// `portcullis user`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  portcullis user forget octocat";

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Unpin a login: the next who signs in with it is its owner.
    ///
    /// A login in the access rules belongs to the first account that signs in with it, also when the account is renamed or the login is
    /// given to somebody else. Forget it when somebody has a new account under the same login.
    Forget {
        /// The login as the access rules have it.
        login: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| match &arguments.command {
        Command::Forget { login, reach } => forget(reach, login),
    })
}

fn forget(reach: &Reach, login: &str) -> Result<ExitCode, Failure> {
    let gone: users::Forgotten = reach.ask("users/forget", &users::Forget { login: login.to_owned() })?;
    if reach.json {
        print_json(&gone)?;
    } else {
        let (login, user) = (harmless(&gone.login), harmless(&gone.user));
        writeln!(
            io::stdout(),
            "{login} was {user}'s; it is the next one's who signs in with it. To end what {user} has: portcullis grant \
             revoke --user {user}"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
