//! `portcullis log-level`: how much a running gateway's log says, and more or less of it for a while.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::admin::{Failure, Reach, STATUS, print_json, run as told};
use super::table::plain;
use crate::admin::log;

/// `portcullis log-level`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    /// What the log is to say: a level, or `module=level` for some modules, as under `log.filter` in the configuration. Without it,
    /// the present one is shown.
    filter: Option<String>,
    /// For how long: a number and s, m, h or d; then the configured one holds again. Without it, until the configuration is read again.
    #[arg(long = "for", value_name = "DURATION", requires = "filter", value_parser = seconds)]
    duration: Option<u64>,
    #[command(flatten)]
    reach: Reach,
}

const EXAMPLES: &str = "Examples:
  portcullis log-level
  portcullis log-level debug --for 10m
  portcullis log-level portcullis::acme=trace,info --for 1h
  portcullis log-level warn
  kill -HUP $(pidof portcullis)           the configured one again, at once

Audit events are written at any level.";

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    told(|| {
        let level: log::Level = match &arguments.filter {
            None => arguments.reach.ask("log/show", &())?,
            Some(filter) => {
                let wanted = log::Set { filter: filter.clone(), seconds: arguments.duration };
                arguments.reach.ask("log/set", &wanted)?
            }
        };
        show(&level, arguments.reach.json)
    })
}

fn show(level: &log::Level, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print_json(level)?;
    } else {
        writeln!(io::stdout(), "{}", text(level))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(log::Level { filter, configured, until }: &log::Level) -> String {
    let (filter, configured) = (plain(filter), plain(configured));
    match until {
        Some(until) => format!("{filter} (until {}; configured: {configured})", plain(until)),
        None if filter == configured => format!("{filter} (configured)"),
        None => format!("{filter} (until the configuration is read again; configured: {configured})"),
    }
}

/// The longest: whoever wants it for longer writes it into the configuration.
const LONGEST: u64 = 7 * 24 * 60 * 60;

fn seconds(text: &str) -> Result<u64, String> {
    let said = super::length(text).filter(|seconds| (1..=LONGEST).contains(seconds));
    said.ok_or_else(|| "write a number and s, m, h or d, such as 10m; 7d at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(filter: &str, until: Option<&str>) -> log::Level {
        log::Level { filter: filter.into(), configured: "info".into(), until: until.map(Into::into) }
    }

    #[test]
    fn it_is_told_until_when() {
        assert_eq!(text(&level("info", None)), "info (configured)");
        assert_eq!(
            text(&level("debug", None)),
            "debug (until the configuration is read again; configured: info)"
        );
        assert_eq!(
            text(&level("debug", Some("2026-11-21T09:30:00Z"))),
            "debug (until 2026-11-21T09:30:00Z; configured: info)"
        );
        assert_eq!(text(&level("a\x1b[2J=debug", None)).matches('\x1b').count(), 0);
    }

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        assert_eq!((seconds("10m"), seconds("7d"), seconds("1s")), (Ok(600), Ok(LONGEST), Ok(1)));
        for bad in ["", "10", "m", "0s", "8d", "-1m", "1.5h", "10 m", "99999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
