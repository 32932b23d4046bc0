//! `portcullis support-bundle`: what whoever helps needs to know, in one text file that can be read before it is sent, without secrets.

mod asked;
mod config;
mod machine;
mod redact;

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::admin::{Failure, Reach, run as told};
use super::logs::source::{self, Source};
use crate::clock::{Clock as _, SystemClock};
use crate::config as configuration;
use crate::internal::Figures;
use crate::store;
use asked::asked;
use config::Shown;
use redact::Redactor;

/// `portcullis support-bundle`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    /// The file to write; - is standard output.
    file: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
    /// The file that the gateway's log goes to; - is standard input. Without it, systemd's journal.
    #[arg(long, value_name = "PATH")]
    log: Option<PathBuf>,
    /// The unit whose lines are taken from the journal.
    #[arg(long, value_name = "NAME", default_value = source::UNIT, value_parser = source::unit, conflicts_with = "log")]
    unit: String,
    /// The gateway's configuration.
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
}

const EXAMPLES: &str = "Examples:
  portcullis support-bundle portcullis-support.txt
  portcullis support-bundle portcullis-support.txt --config /etc/portcullis/portcullis.yaml
  docker compose logs --no-log-prefix gateway | portcullis support-bundle portcullis-support.txt --log -

The file has: versions; limits; the configuration, of which every secret is taken out; what check, doctor and status say; the figures of
/metrics; and the end of the log. Tokens, cookies, passwords, keys, e-mail addresses and queries of URLs are taken out of all of it. Names of
hosts, services and users, and addresses of clients, stay. Read it before you send it.";

const STATUS: &str = "Exit status: 0 it is written; 1 it cannot be written, or there is a file of that name; 2 wrong arguments.";

/// The first thing that is read.
const READ_IT: &str = "Secrets, tokens, cookies, e-mail addresses and queries of URLs were taken out. Names of hosts, services and users,
and addresses of clients, were not: read it before you send it.";

/// How much of the log's end: so many lines, if they are no longer than lines usually are.
const LINES: usize = 2_000;
const BYTES: usize = 4 * 1024 * 1024;

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    told(|| {
        let is_output = arguments.file.as_os_str() == "-";
        // Before anything takes time.
        if !is_output && !arguments.force && fs::symlink_metadata(&arguments.file).is_ok() {
            return Err(Failure::Refused(format!(
                "{} is there already; name another file, or write over it with --force",
                arguments.file.display()
            )));
        }
        let bundle = arguments.bundle();
        if is_output {
            io::stdout().write_all(bundle.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        write(&arguments.file, &bundle, arguments.force).map_err(|error| {
            Failure::Refused(format!("{} cannot be written: {error}", arguments.file.display()))
        })?;
        let (file, length) = (arguments.file.display(), bundle.len());
        writeln!(io::stdout(), "{file} ({length} bytes). Read it before you send it; it is plain text.")?;
        Ok(ExitCode::SUCCESS)
    })
}

/// For its owner alone from the first moment, never through a link.
fn write(file: &Path, text: &str, force: bool) -> io::Result<()> {
    if force && fs::symlink_metadata(file).is_ok() {
        fs::remove_file(file)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

impl Arguments {
    /// All of it. Nothing goes in but through the redactor.
    fn bundle(&self) -> String {
        let shown = Shown::of(&self.config);
        let mut redactor = Redactor::new(shown.secrets.iter().cloned());
        let sections = [
            ("Versions", machine::versions()),
            ("Limits, of this command", machine::limits(folder(&self.config).as_deref())),
            ("Configuration, as it is written", shown.text.clone()),
            ("Check", asked(&["check", "--", &self.config_name()])),
            ("Doctor", asked(&["doctor", "--json", &format!("--config={}", self.config_name())])),
            ("Status", self.asked_of_gateway("status")),
            ("Metrics", self.metrics()),
            ("Log", self.log()),
        ];
        let now = SystemClock.now().to_rfc3339();
        let titles =
            sections.iter().enumerate().map(|(number, (title, _))| format!("{}. {title}", number + 1));
        let titles: Vec<_> = titles.collect();
        let texts = titles.iter().zip(&sections).map(|(title, (_, text))| {
            let text = redactor.text(text);
            format!("\n======== {title} ========\n\n{}\n", text.trim_end())
        });
        let texts: String = texts.collect();
        format!("Portcullis support bundle, made {now}.\n{READ_IT}\n\n{}\n{texts}", titles.join("\n"))
    }

    fn config_name(&self) -> String {
        self.config.display().to_string()
    }

    fn asked_of_gateway(&self, command: &str) -> String {
        let config = format!("--config={}", self.config_name());
        let socket = self.socket.as_ref().map(|socket| format!("--socket={}", socket.display()));
        let named = [Some(command), Some("--json"), Some(config.as_str()), socket.as_deref()];
        asked(&named.into_iter().flatten().collect::<Vec<_>>())
    }

    /// Through the admin socket, for the internal listener may be off.
    fn metrics(&self) -> String {
        match Reach::at(&self.config, self.socket.as_deref()).ask::<Figures>("gateway/metrics", &()) {
            Ok(figures) => figures.text,
            Err(failure) => format!("({failure})"),
        }
    }

    /// The end of the log.
    fn log(&self) -> String {
        let source = match &self.log {
            Some(path) if path.as_os_str() == "-" => Source::Input,
            Some(path) => Source::File(path.clone()),
            None => Source::Journal(self.unit.clone()),
        };
        match tail(&source) {
            Ok(lines) if lines.is_empty() => format!("(there is nothing in {source})"),
            Ok(lines) => {
                format!("The last {} lines of {source}:\n\n{}", lines.len(), Vec::from(lines).join("\n"))
            }
            Err(why) => {
                format!("({})", why.replace("logs --request ID --file -", "support-bundle FILE --log -"))
            }
        }
    }
}

fn tail(source: &Source) -> Result<VecDeque<String>, String> {
    let mut lines = source.open(None, Some(LINES))?;
    let (mut last, mut bytes) = (VecDeque::with_capacity(LINES), 0);
    while let Some(line) = lines.next().map_err(|error| format!("{source} cannot be read: {error}"))? {
        bytes += line.len();
        last.push_back(line);
        while last.len() > LINES || bytes > BYTES {
            bytes -= last.pop_front().map_or(bytes, |line: String| line.len());
        }
    }
    lines.end()?;
    Ok(last)
}

/// Where the gateway keeps things on this machine.
fn folder(config: &Path) -> Option<PathBuf> {
    let checked = configuration::read(config, &configuration::System).ok()?;
    match checked.config.store {
        store::Settings::Embedded { path } => path.parent().map(Path::to_owned),
        store::Settings::Redis { .. } => checked.config.admin.path()?.parent().map(Path::to_owned),
    }
}
