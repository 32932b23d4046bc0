//! `portcullis logs`: every line that the log has of one request, or of one trace, wherever the log is kept.

mod line;
pub(super) mod source;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use http::HeaderValue;

use super::admin::{Failure, run as told};
use super::table::plain;
use crate::clock::{Clock as _, SystemClock};
use crate::telemetry::{RequestId, TraceId};
use line::Entry;
use source::{Lines, Source};

/// `portcullis logs`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    /// The request: the X-Request-ID of its answer, which error pages show, too.
    #[arg(long, value_name = "ID", value_parser = request, required_unless_present = "trace")]
    request: Option<String>,
    /// The trace: the 32 digits in the middle of its `traceparent`, or all of that.
    #[arg(long, value_name = "ID", value_parser = trace, conflicts_with = "request")]
    trace: Option<String>,
    /// The file that the log goes to; - is standard input. Without it, systemd's journal.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The unit whose lines are looked at in the journal.
    #[arg(long, value_name = "NAME", default_value = source::UNIT, value_parser = source::unit, conflicts_with = "file")]
    unit: String,
    /// Not before: so long ago (a number and s, m, h or d), or a day or moment in UTC such as 2026-11-21 or 2026-11-21T09:30:00Z.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  portcullis logs --request kX3bq0Rr1m2c0sYpR1m9xQ
  portcullis logs --request kX3bq0Rr1m2c0sYpR1m9xQ --since 2h --json
  portcullis logs --trace 0af7651916cd43dd8448eb211c80319c --file /var/log/portcullis.log
  docker compose logs --no-log-prefix gateway | portcullis logs --request kX3bq0Rr1m2c0sYpR1m9xQ --file -";

const STATUS: &str =
    "Exit status: 0 there are such lines; 1 there are none, or the log cannot be read; 2 wrong arguments.";

/// More lines of one request than anybody reads, and more bytes than are kept of them.
const MOST: (usize, usize) = (10_000, 16 * 1024 * 1024);

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    told(|| {
        let source = match &arguments.file {
            Some(path) if path.as_os_str() == "-" => Source::Input,
            Some(path) => Source::File(path.clone()),
            None => Source::Journal(arguments.unit.clone()),
        };
        let mut lines = source.open(arguments.since.as_deref(), None).map_err(Failure::Refused)?;
        let found = Found::read(arguments, &mut lines)?;
        lines.end().map_err(Failure::Refused)?;
        found.tell(arguments, &source)
    })
}

/// The lines that were looked for.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    bytes: usize,
    /// Whether there are more than are kept.
    more: bool,
}

impl Found {
    fn read(arguments: &Arguments, lines: &mut Lines) -> Result<Self, Failure> {
        let mut found = Self::default();
        let wanted = arguments.request.as_deref().or(arguments.trace.as_deref()).unwrap_or_default();
        while let Some(line) = lines.next()? {
            // Most lines are others': looking is a hundred times faster than reading them.
            if line.contains(wanted)
                && let Some(entry) = Entry::read(&line)
                && arguments.want(&entry)
            {
                found.add(entry);
            }
        }
        // Workers write side by side, and several processes' logs may have been put together.
        found.entries.sort_by(|one, other| one.time.cmp(&other.time));
        Ok(found)
    }

    fn add(&mut self, entry: Entry) {
        if self.entries.len() == MOST.0 || self.bytes > MOST.1 {
            self.more = true;
        } else {
            self.bytes += entry.length();
            self.entries.push(entry);
        }
    }

    fn tell(&self, arguments: &Arguments, source: &Source) -> Result<ExitCode, Failure> {
        if self.entries.is_empty() {
            return Err(Failure::Refused(nothing(arguments, source)));
        }
        let mut out = io::BufWriter::new(io::stdout().lock());
        for entry in &self.entries {
            let line = if arguments.json { entry.json() } else { plain(&entry.text()) };
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        if self.more {
            writeln!(
                io::stderr(),
                "portcullis: there are more lines; these are the first {}",
                self.entries.len()
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Arguments {
    fn want(&self, entry: &Entry) -> bool {
        let is = |field, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| entry.field(field) == Some(wanted))
        };
        let late = self.since.as_deref().is_none_or(|since| entry.time.get(..since.len()) >= Some(since));
        late && is("request_id", &self.request) && is("trace_id", &self.trace)
    }
}

/// What is said where nothing was found.
fn nothing(arguments: &Arguments, source: &Source) -> String {
    let (what, id) = match (&arguments.request, &arguments.trace) {
        (Some(id), _) => ("request", id.as_str()),
        (None, id) => ("trace", id.as_deref().unwrap_or_default()),
    };
    let elsewhere = match source {
        Source::Journal(_) => "; where the gateway does not log to the journal, name its log by --file",
        Source::File(_) | Source::Input => "",
    };
    format!(
        "there is no line of {what} {id} in {source}; look whether the id is whole (X-Request-ID of the answer), whether the log reaches back \
         that far, whether it says so much (`portcullis log-level` shows it; access lines need info), and whether another process \
         answered{elsewhere}"
    )
}

fn request(text: &str) -> Result<String, String> {
    let id = HeaderValue::from_str(text).ok().and_then(|value| RequestId::accept(&value));
    id.map(|id| id.to_string()).ok_or_else(|| "a request's id has 1 to 64 of A-Z a-z 0-9 . _ -".to_owned())
}

fn trace(text: &str) -> Result<String, String> {
    let id = TraceId::from_text(text).or_else(|| TraceId::parse(text.as_bytes()));
    let wrong = || "a trace's id has 32 digits of 0-9 and a-f, not all 0".to_owned();
    id.map(|id| id.as_str().to_owned()).ok_or_else(wrong)
}

/// A moment in UTC as the log's lines begin with it, to the second.
fn since(text: &str) -> Result<String, String> {
    if let Some(seconds) = super::length(text) {
        let then = SystemClock.now().before(std::time::Duration::from_secs(seconds));
        return Ok(then.to_rfc3339().trim_end_matches('Z').to_owned());
    }
    let bare = text.strip_suffix('Z').unwrap_or(text).replace(' ', "T");
    let shape: String = bare.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    match shape.as_str() {
        "0000-00-00" => return Ok(format!("{bare}T00:00:00")),
        "0000-00-00T00:00:00" => return Ok(bare),
        _ => {}
    }
    Err("write how long ago, such as 2h, or a moment in UTC, such as 2026-11-21T09:30:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_an_id_or_nothing_is_looked_for() {
        for good in ["a", "kX3bq0Rr1m2c0sYpR1m9xQ", "-x", "req_1.2-3", &"x".repeat(64)] {
            assert_eq!(request(good).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "a\nb", "$(reboot)", "a;b", "é", "\x1b[2J", &"x".repeat(65)] {
            assert!(request(bad).is_err(), "{bad:?}");
        }
        let id = "0af7651916cd43dd8448eb211c80319c";
        for good in [id, &format!("00-{id}-b7ad6b7169203331-01")] {
            assert_eq!(trace(good).as_deref(), Ok(id));
        }
        for bad in ["", "x", &id[1..], &id.to_uppercase(), &"0".repeat(32), &format!("{id} ")] {
            assert!(trace(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_moment_is_said_in_two_ways() {
        for (said, read) in [
            ("2026-11-21", "2026-11-21T00:00:00"),
            ("2026-11-21T09:30:00Z", "2026-11-21T09:30:00"),
            ("2026-11-21 09:30:00", "2026-11-21T09:30:00"),
        ] {
            assert_eq!(since(said).as_deref(), Ok(read));
        }
        assert_eq!(since("2h").unwrap().len(), 19);
        for bad in ["", "yesterday", "--since", "2026", "2026-11-21T09:30", "2h ", "@0; reboot"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
