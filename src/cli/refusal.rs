//! Why a command that makes something does not: each kind with an exit status of its own.

use std::io;
use std::process::ExitCode;

use crate::config::Problems;

/// What is wrong with how the command was called: `EX_USAGE` of clap and of every shell.
const USAGE: u8 = 2;

/// Why nothing was done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Arguments that are wrong or missing, one text each.
    Usage(Vec<String>),
    /// What was asked for makes no configuration, one line each.
    Configuration(Vec<String>),
    /// Anything else.
    Failure(anyhow::Error),
}

impl Refusal {
    /// One wrong argument.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(vec![text.into()])
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Failure(error)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Failure(error.into())
    }
}

impl From<Problems> for Refusal {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems.lines().to_vec())
    }
}

/// What the command came to.
pub(super) fn report(outcome: Result<(), Refusal>) -> ExitCode {
    let (lines, status) = match outcome {
        Ok(()) => return super::report(Ok(())),
        Err(Refusal::Failure(error)) => return super::report(Err(error)),
        Err(Refusal::Usage(lines)) => (lines, USAGE),
        Err(Refusal::Configuration(lines)) => (lines, Problems::EXIT_CODE),
    };
    crate::telemetry::flush();
    for line in lines {
        eprintln!("portcullis: {line}");
    }
    ExitCode::from(status)
}
