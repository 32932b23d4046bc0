//! `portcullis check [FILE]`: reads the configuration as `serve` would, and does nothing else.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Checked, Config, Problems, Surroundings};
use crate::identity;

/// Checks `file`. Problems and remarks go to `errors`, one line each; the one line that all is well to `out`.
///
/// # Errors
/// If nothing can be written.
pub fn check(
    file: &Path,
    surroundings: &dyn Surroundings,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<ExitCode> {
    match config::read(file, surroundings) {
        Ok(checked) => {
            for remark in &checked.remarks {
                writeln!(errors, "{remark}")?;
            }
            writeln!(out, "{}: good; {}", file.display(), summary(&checked))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            writeln!(errors, "{problems}")?;
            Ok(ExitCode::from(Problems::EXIT_CODE))
        }
    }
}

/// The command.
#[must_use]
pub fn run(file: &Path) -> ExitCode {
    let checked = check(file, &config::System, &mut io::stdout().lock(), &mut io::stderr().lock());
    // Nothing can be said of a terminal that is gone.
    checked.unwrap_or(ExitCode::FAILURE)
}

/// The configuration that a command runs with; its remarks and problems are told.
///
/// # Errors
/// The exit status for a configuration with problems.
pub(super) fn load(file: &Path) -> Result<Config, ExitCode> {
    match config::read(file, &config::System) {
        Ok(Checked { config, remarks }) => {
            for remark in &remarks {
                eprintln!("{remark}");
            }
            Ok(config)
        }
        Err(problems) => {
            eprintln!("{problems}");
            Err(ExitCode::from(Problems::EXIT_CODE))
        }
    }
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
