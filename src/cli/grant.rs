//! `portcullis grant`: what people have allowed clients, at a running gateway.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::admin::{Failure, Reach, STATUS, pages, run as report};
use super::table::List;
use crate::admin::grants::{self, Which};
use crate::oauth::GrantId;

/// `portcullis grant`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  portcullis grant list --user octocat
  portcullis grant revoke --user github:583231 --dry-run
  portcullis grant revoke k3FqVnYy2m1c0sYpR1m9xQ";

#[derive(Args, Clone, Debug)]
struct Named {
    /// Of this user: an id such as github:583231, or a login.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Of this client, by its id.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// At the service of this name.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// List the grants that have not ended; where several are named, those that fit all.
    List {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        reach: Reach,
    },
    /// End grants: their tokens are refused and their streams cut here at once, at other gateways of the same store within two
    /// seconds.
    Revoke {
        /// This grant alone.
        #[arg(allow_hyphen_values = true, value_parser = no_option, conflicts_with_all = ["user", "client", "service"], required_unless_present_any = ["user", "client", "service"])]
        grant: Option<String>,
        #[command(flatten)]
        named: Named,
        /// Only tell which would be.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

/// An id may begin with a hyphen; what is none but begins so was meant as an option.
fn no_option(text: &str) -> Result<String, &'static str> {
    if text.starts_with('-') && GrantId::parse(text).is_none() {
        return Err("no such option, and no id of a grant");
    }
    Ok(text.to_owned())
}

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| match &arguments.command {
        Command::List { named, reach } => list(reach, named),
        Command::Revoke { grant, named, dry_run, reach } => revoke(reach, grant.as_ref(), named, *dry_run),
    })
}

const COLUMNS: &[&str] =
    &["GRANT", "USER", "LOGIN", "CLIENT", "SERVICE", "SCOPES", "STATE", "SINCE", "LAST USED", "FROM"];

fn which(named: &Named, grant: Option<&String>) -> Which {
    let Named { user, client, service } = named.clone();
    Which { grant: grant.cloned(), user, client, service }
}

fn rows(page: Vec<grants::Row>) -> impl Iterator<Item = (String, Vec<String>, grants::Row)> {
    page.into_iter().map(|row| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let cells = vec![
            row.id.clone(),
            row.user.clone(),
            row.login.clone(),
            row.client.clone(),
            row.service.clone(),
            row.scopes.clone(),
            row.state.clone(),
            row.since.clone(),
            or_none(&row.last_used),
            or_none(&row.from),
        ];
        (row.id.clone(), cells, row)
    })
}

fn list(reach: &Reach, named: &Named) -> Result<ExitCode, Failure> {
    let mut list = List::new(COLUMNS, reach.json, None);
    let ask =
        |from| reach.ask::<grants::Listed>("grants/list", &grants::List { which: which(named, None), from });
    pages(ask, |page| {
        list.add(rows(page.grants))?;
        Ok(page.next)
    })?;
    list.end("There are no such grants.")?;
    Ok(ExitCode::SUCCESS)
}

fn revoke(reach: &Reach, grant: Option<&String>, named: &Named, dry_run: bool) -> Result<ExitCode, Failure> {
    let mut list = List::new(COLUMNS, reach.json, None);
    let ask = |from| {
        let which = which(named, grant);
        reach.ask::<grants::Listed>("grants/revoke", &grants::Revoke { which, dry_run, from })
    };
    pages(ask, |page| {
        list.add(rows(page.grants))?;
        Ok(page.next)
    })?;
    let number = list.len();
    list.end("There are no such grants.")?;
    let what = if dry_run { "would be revoked" } else { "revoked" };
    let grants = if number == 1 { "grant" } else { "grants" };
    writeln!(io::stderr(), "{number} {grants} {what}.")?;
    Ok(ExitCode::SUCCESS)
}
