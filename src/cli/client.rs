//! `portcullis client`: the clients that a running gateway knows.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::admin::{Failure, Reach, STATUS, pages, print_json, run as report};
use super::table::{List, harmless};
use crate::admin::clients;

/// `portcullis client`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  portcullis client list --unused
  portcullis client show c_4Xb0cY0ZQm2mPqY8r3y1eA
  portcullis client delete c_4Xb0cY0ZQm2mPqY8r3y1eA --yes";

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// List the clients: registered ones, and those that people approved by their documents.
    List {
        /// Only those that nobody has allowed anything yet.
        #[arg(long, conflicts_with = "used")]
        unused: bool,
        /// Only those that somebody has allowed something.
        #[arg(long)]
        used: bool,
        /// Stop after so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show one client and how many grants it has.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// End a client's grants and forget it. Whoever uses it signs in again.
    Delete {
        /// Its id.
        id: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| match &arguments.command {
        Command::List { unused, used, limit, reach } => list(reach, used_or_not(*used, *unused), *limit),
        Command::Show { id, reach } => show(reach, id),
        Command::Delete { id, yes, reach } => delete(reach, id, *yes),
    })
}

const fn used_or_not(used: bool, unused: bool) -> Option<bool> {
    match (used, unused) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

fn list(reach: &Reach, used: Option<bool>, limit: Option<usize>) -> Result<ExitCode, Failure> {
    let mut list = List::new(&["CLIENT", "NAME", "USED", "SINCE", "UNTIL"], reach.json, limit);
    let ask = |from| reach.ask::<clients::Listed>("clients/list", &clients::List { used, from });
    pages(ask, |page| {
        let more = list.add(page.clients.into_iter().map(|row| (row.id.clone(), cells(&row), row)))?;
        Ok(page.next.filter(|_| more))
    })?;
    list.end("There are no such clients.")?;
    Ok(ExitCode::SUCCESS)
}

fn cells(row: &clients::Row) -> Vec<String> {
    let name = row.name.clone().unwrap_or_default();
    let used = if row.used { "yes" } else { "no" };
    vec![row.id.clone(), name, used.to_owned(), row.since.clone(), row.until.clone()]
}

fn show(reach: &Reach, id: &str) -> Result<ExitCode, Failure> {
    let shown = ask_for(reach, id)?;
    if reach.json {
        print_json(&shown)?;
        return Ok(ExitCode::SUCCESS);
    }
    let clients::Shown { client, grants } = shown;
    let mut out = io::stdout().lock();
    writeln!(out, "client    {}", harmless(&client.id))?;
    writeln!(out, "name      {}", harmless(client.name.as_deref().unwrap_or("(none)")))?;
    writeln!(out, "used      {}", if client.used { "yes" } else { "no" })?;
    writeln!(out, "since     {}", client.since)?;
    writeln!(out, "until     {}", client.until)?;
    writeln!(out, "grants    {grants}")?;
    for uri in &client.redirect_uris {
        writeln!(out, "redirect  {}", harmless(uri))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ask_for(reach: &Reach, id: &str) -> Result<clients::Shown, Failure> {
    reach.ask("clients/show", &clients::One { id: id.to_owned() })
}

fn delete(reach: &Reach, id: &str, yes: bool) -> Result<ExitCode, Failure> {
    if !yes && !is_meant(&ask_for(reach, id)?)? {
        return Err(Failure::Refused("nothing was deleted".to_owned()));
    }
    let gone: clients::Deleted = reach.ask("clients/delete", &clients::One { id: id.to_owned() })?;
    if reach.json {
        print_json(&gone)?;
    } else {
        writeln!(
            io::stdout(),
            "Deleted {}; {} of its grants ended.",
            harmless(&gone.id),
            gone.grants_revoked
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_meant(shown: &clients::Shown) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("nobody is here to confirm this; write --yes".to_owned()));
    }
    let name = harmless(shown.client.name.as_deref().unwrap_or("(no name)"));
    let (id, grants) = (harmless(&shown.client.id), shown.grants);
    write!(io::stderr(), "Delete {name}, {id}, and end its grants ({grants})? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
