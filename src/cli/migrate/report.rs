//! What was done and what is left to do, for people or for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::New;
use super::clients::Fault;
use super::settings::{Line, Settings};
use crate::cli::init::told;
use crate::cli::table::{json_pretty, plain};
use crate::config::Config;

/// Everything there is to say.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Whether nothing was done.
    dry_run: bool,
    #[serde(flatten)]
    pub(super) settings: Settings,
    /// Configuration and variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clients: Option<Clients>,
    /// What a person has to do.
    to_do: Vec<String>,
    /// How it is started.
    #[serde(skip)]
    commands: String,
}

#[derive(Debug, Serialize)]
struct Written {
    configuration: String,
    variables: String,
}

/// What became of the registered clients.
#[derive(Debug, Default, Serialize)]
pub(super) struct Clients {
    /// Records that were found.
    pub(super) found: usize,
    /// Those that may come in.
    pub(super) good: usize,
    /// Those that came in now.
    pub(super) imported: usize,
    /// Those that were there before.
    pub(super) already_there: usize,
    /// Those whose time is over.
    pub(super) expired: usize,
    /// What of those that came in was left out.
    pub(super) without: Vec<Fault>,
    /// Those that may not come in.
    pub(super) refused: Vec<Fault>,
}

const TOKENS: &str = "Tokens and grants are not taken over, since for which server they were was never checked: each client finds its \
                      token refused and opens the browser once; then it is connected again.";

impl Report {
    /// An empty one.
    pub(super) fn of(dry_run: bool) -> Self {
        Self { dry_run, ..Self::default() }
    }

    /// What there is to say of a new configuration.
    pub(super) fn has_new(&mut self, new: &New, config: &Config) {
        self.written = Some(Written {
            configuration: new.places.yaml.display().to_string(),
            variables: new.places.env.display().to_string(),
        });
        let issuer = &config.gateway.issuer;
        self.to_do = vec![
            format!("GitHub: the callback URL of the OAuth app is {issuer}/callback, as before; nothing to change if it is that."),
            format!("DNS: the records stay as they are: {}.", new.plan.hosts().join(", ")),
            "Ports 443 and 80 are Portcullis's: stop Traefik and the auth service; the servers behind stay. It must reach them by the \
             names under `upstream`, so run it in their network, or write where they are."
                .to_owned(),
            TOKENS.to_owned(),
        ];
        let mut commands = Vec::new();
        // Writing to memory does not fail.
        drop(told::commands(&new.places, &mut commands));
        self.commands = String::from_utf8_lossy(&commands).into_owned();
    }

    /// Says it.
    pub(super) fn say(&mut self, json: bool) -> io::Result<()> {
        if self.to_do.is_empty() {
            self.to_do.push(TOKENS.to_owned());
        }
        let mut out = io::stdout().lock();
        if json {
            writeln!(out, "{}", json_pretty(self)?)?;
        } else {
            self.tell(&mut out)?;
        }
        out.flush()
    }

    fn tell(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.dry_run {
            writeln!(out, "Nothing is done: this is what would be.\n")?;
        }
        section(out, "Taken over", &self.settings.taken)?;
        section(out, "Without a counterpart", &self.settings.left)?;
        list(out, "Unknown here, and not taken over", &self.settings.unknown)?;
        list(out, "Look at", &self.settings.look)?;
        if let Some(Written { configuration, variables }) = &self.written {
            let written = if self.dry_run { "To be written" } else { "Written" };
            writeln!(out, "{written}:\n  {configuration}\n  {variables} (for its owner only)\n")?;
        }
        if let Some(clients) = &self.clients {
            clients.tell(self.dry_run, out)?;
        }
        list(out, "To do", &self.to_do)?;
        if !self.commands.is_empty() {
            write!(out, "Check and start it:\n{}", self.commands)?;
        }
        Ok(())
    }
}

impl Clients {
    fn tell(&self, dry_run: bool, out: &mut dyn Write) -> io::Result<()> {
        let Self { found, good, imported, already_there, expired, refused, .. } = self;
        let refused = refused.len();
        if dry_run {
            writeln!(
                out,
                "Clients: {found} found, {good} to be imported, {expired} expired, {refused} refused"
            )?;
        } else {
            writeln!(
                out,
                "Clients: {found} found, {imported} imported, {already_there} there already, {expired} expired, {refused} refused"
            )?;
        }
        for Fault { key, why } in self.refused.iter().chain(&self.without) {
            writeln!(out, "  {}: {}", plain(key), plain(why))?;
        }
        writeln!(out)
    }
}

fn section(out: &mut dyn Write, title: &str, lines: &[Line]) -> io::Result<()> {
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or_default();
    let lines: Vec<_> = lines.iter().map(|line| format!("{:width$}  {}", line.name, line.told)).collect();
    list(out, title, &lines)
}

fn list(out: &mut dyn Write, title: &str, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}:")?;
    for line in lines {
        writeln!(out, "  {}", plain(line))?;
    }
    writeln!(out)
}
