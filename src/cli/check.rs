//! `portcullis check [FILE]`: reads the configuration as `serve` would, and does nothing else.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Checked, Problems, Surroundings};
use crate::identity;

/// The command.
#[must_use]
pub fn run(file: &Path) -> ExitCode {
    check(file, &config::System, &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// Checks `file`. Problems and remarks go to `errors`, one line each; the one line that all is well to `out`.
pub fn check(
    file: &Path,
    surroundings: &dyn Surroundings,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> ExitCode {
    let checked = match read(file, surroundings, errors) {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    let told = writeln!(out, "{}: good; {}", file.display(), summary(&checked));
    told.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// The configuration in `file`. What there is to say of it goes to `errors`, one line each.
///
/// # Errors
/// The exit status for a configuration with problems.
pub(super) fn read(
    file: &Path,
    surroundings: &dyn Surroundings,
    errors: &mut dyn Write,
) -> Result<Checked, ExitCode> {
    let read = config::read(file, surroundings);
    let lines = match &read {
        Ok(checked) => &checked.remarks,
        Err(problems) => problems.lines(),
    };
    for line in lines {
        // Nothing can be said to a terminal that is gone; the exit status still tells.
        drop(writeln!(errors, "{line}"));
    }
    read.map_err(|_| ExitCode::from(Problems::EXIT_CODE))
}

/// What was understood, and what to enter at GitHub (trouble `github-callback`).
fn summary(Checked { config, .. }: &Checked) -> String {
    let issuer = &config.gateway.issuer;
    let services = match config.gateway.services.len() {
        1 => "1 service".to_owned(),
        number => format!("{number} services"),
    };
    match config.identity {
        identity::Settings::Dev => {
            format!("{services}, issuer {issuer}, any name signs in without a password")
        }
        identity::Settings::GitHub(_) => {
            format!(
                "{services}, issuer {issuer}, callback URL for the OAuth app at GitHub: {issuer}/callback"
            )
        }
    }
}
