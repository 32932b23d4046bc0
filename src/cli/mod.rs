//! The command line's commands, one file each.

mod admin;
pub mod backup;
pub mod cert;
pub mod check;
pub mod client;
mod console;
#[cfg(feature = "echo")]
pub mod demo;
pub mod doctor;
mod door;
#[cfg(feature = "echo")]
pub mod echo_server;
mod env_file;
pub mod expose;
mod facts;
pub mod grant;
pub mod health;
pub mod init;
mod keeping;
pub mod key;
pub mod log_level;
pub mod logs;
mod manager;
pub mod migrate;
mod open_files;
mod port;
mod refusal;
mod reload;
pub mod restore;
pub mod rotate_secrets;
pub mod serve;
mod state;
pub mod status;
pub mod support_bundle;
mod table;
mod takeover;
pub mod token;
mod troubles;
pub mod user;

use std::process::ExitCode;

/// A number and `s`, `m`, `h` or `d`, in seconds.
fn length(text: &str) -> Option<u64> {
    crate::config::parse_duration(text).map(|length| length.as_secs())
}

/// What a command came to: an error is told with its causes, in one line, and below it where more is said of its trouble.
fn report(outcome: anyhow::Result<()>) -> ExitCode {
    crate::telemetry::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            if let Some(trouble) = troubles::of(&error) {
                eprintln!("more: portcullis doctor --explain {trouble}");
            }
            ExitCode::FAILURE
        }
    }
}
