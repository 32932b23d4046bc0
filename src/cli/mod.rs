//! The command line's commands, one file each.

pub mod check;
#[cfg(feature = "echo")]
pub mod demo;
#[cfg(feature = "echo")]
pub mod echo_server;
mod port;
pub mod serve;

use std::process::ExitCode;

/// What a command came to: an error is told with its causes, in one line.
fn report(outcome: anyhow::Result<()>) -> ExitCode {
    crate::telemetry::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::FAILURE
        }
    }
}
