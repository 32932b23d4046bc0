//! `portcullis token`: why a token would be refused, and tokens for programs that cannot sign in.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::admin::{Failure, Reach, STATUS, colours, print_json, run as report};
use super::table::harmless;
use crate::admin::tokens;
use crate::gateway::Inspection;
use crate::token::Finding;

/// `portcullis token`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  portcullis token inspect - --service todo < token.txt
  TOKEN=$(portcullis token issue --user octocat --service todo --ttl 30d)";

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Say claim by claim what a token is, and whether it would be accepted.
    ///
    /// Takes an access token, a refresh token or a code. The exit status is 0 if it would be accepted, and 1 if not. Nothing is used up
    /// or changed, and the token is not logged.
    Inspect {
        /// The token; `-` reads it from standard input, so that it does not stay in the shell's history.
        #[arg(allow_hyphen_values = true)]
        token: String,
        /// Hold it against the service of this name; without it, against the one that it is for.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// The tool that is to be called. Tools have no scopes of their own yet, so this changes nothing.
        #[arg(long, value_name = "NAME", requires = "service")]
        tool: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Issue a token for a program that cannot sign in; only the token is printed on standard output.
    ///
    /// It is a grant like any other: `grant list` shows it and `grant revoke` ends it. Nothing refreshes it, so it ends when it ends,
    /// at the latest after 90 days, or as soon as the access rules of its service are changed.
    Issue {
        /// On whose behalf: an id such as github:583231, or a login. The service's access rules must let that user in.
        #[arg(long, value_name = "USER")]
        user: String,
        /// For the service of this name.
        #[arg(long, value_name = "NAME")]
        service: String,
        /// Scopes beside the service's own, space-separated.
        #[arg(long, value_name = "SCOPES", default_value = "")]
        scope: String,
        /// How long it lives: a number and s, m, h or d; 90d at most.
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
        ttl: u64,
        #[command(flatten)]
        reach: Reach,
    },
}

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| match &arguments.command {
        Command::Inspect { token, service, tool, reach } => {
            inspect(reach, token, service.clone(), tool.as_deref())
        }
        Command::Issue { user, service, scope, ttl, reach } => {
            let (user, service, scope) = (user.clone(), service.clone(), scope.clone());
            issue(reach, &tokens::Issue { user, service, scope, ttl: *ttl })
        }
    })
}

fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text} is no length of time; write a number and s, m, h or d, such as 1h");
    super::length(text).ok_or_else(wrong)
}

/// A token is at most 4 KB; whatever is longer is another file.
const LONGEST: u64 = 32 * 1024;

/// The token alone: people paste the whole header.
fn bare(pasted: &str) -> &str {
    let mut token = pasted.trim();
    for word in ["authorization:", "bearer "] {
        if token.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word)) {
            token = token.get(word.len()..).unwrap_or_default().trim_start();
        }
    }
    token
}

fn inspect(
    reach: &Reach,
    token: &str,
    service: Option<String>,
    tool: Option<&str>,
) -> Result<ExitCode, Failure> {
    let token = if token == "-" {
        let mut text = String::new();
        io::stdin().take(LONGEST).read_to_string(&mut text)?;
        text
    } else {
        token.to_owned()
    };
    let token = bare(&token).to_owned();
    if token.is_empty() {
        return Err(Failure::Usage(
            "there is no token; write one, or - and give it on standard input".to_owned(),
        ));
    }
    if tool.is_some() {
        writeln!(
            io::stderr(),
            "Scopes of tools are not configured: what the service accepts, all its tools do."
        )?;
    }
    let told: Inspection = reach.ask("tokens/inspect", &tokens::Inspect { token, service })?;
    if reach.json {
        print_json(&told)?;
    } else {
        print(&told)?;
    }
    Ok(if told.accepted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(told: &Inspection) -> Result<(), Failure> {
    let colours = colours();
    let width = told.checks.iter().map(|check| check.of.len()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for check in &told.checks {
        let (mark, colour) = match check.finding {
            Finding::Ok => ("ok  ", "32"),
            Finding::Refused => ("NO  ", "31"),
            Finding::Note => ("note", "33"),
        };
        let mark = if colours { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
        let (of, found) = (&check.of, harmless(&check.found));
        match check.finding {
            Finding::Ok => writeln!(out, "{mark}  {of:width$}  {found}")?,
            Finding::Refused | Finding::Note => {
                writeln!(out, "{mark}  {of:width$}  {found}; expected: {}", harmless(&check.expected))?;
            }
        }
    }
    Ok(writeln!(out, "{}", harmless_line(&told.verdict))?)
}

/// The verdict is a sentence of ours with names in it; it is shown whole.
fn harmless_line(text: &str) -> String {
    text.split(' ').map(harmless).collect::<Vec<_>>().join(" ")
}

fn issue(reach: &Reach, wanted: &tokens::Issue) -> Result<ExitCode, Failure> {
    let issued: tokens::Issued = reach.ask("tokens/issue", wanted)?;
    if reach.json {
        print_json(&issued)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(io::stdout(), "{}", issued.token)?;
    let grant = &issued.grant;
    writeln!(
        io::stderr(),
        "For {} at {}, scope {}, until {}. To end it: portcullis grant revoke {}",
        harmless(&grant.user),
        grant.service,
        grant.scopes,
        issued.expires,
        grant.id
    )?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_header_is_taken_for_its_token() {
        for pasted in ["abc", " abc\n", "Bearer abc", "bearer  abc ", "Authorization: Bearer abc"] {
            assert_eq!(bare(pasted), "abc", "{pasted}");
        }
        assert_eq!(bare("bearers"), "bearers");
    }

    #[test]
    fn a_life_is_a_number_and_a_unit() {
        assert_eq!(
            [seconds("90s"), seconds("2m"), seconds("1h"), seconds("90d")],
            [Ok(90), Ok(120), Ok(3600), Ok(7_776_000)]
        );
        for wrong in ["", "h", "1", "1w", "-1h", "1.5h", "1é", "18446744073709551615d"] {
            assert!(
                seconds(wrong).unwrap_err().ends_with("write a number and s, m, h or d, such as 1h"),
                "{wrong}"
            );
        }
    }
}
