//! What an operator asks of a running gateway, over a unix socket: HTTP/1.1 with JSON, `POST /v1/<family>/<verb>`. The socket,
//! since the embedded store belongs to the one process that serves. Only root and the gateway's own user may use it.
//!
//! One module a family: what is asked, what is answered, and who answers.

mod answer;
pub mod certs;
pub mod clients;
mod fault;
pub mod grants;
pub mod kept;
pub mod keys;
pub mod log;
mod server;
mod socket;
pub mod tokens;
pub mod users;

use std::path::PathBuf;

use crate::time::Timestamp;

pub use fault::{Answered, Fault};
pub use server::{Administered, Listening, start};
pub use socket::SocketError;

/// Where the socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// There, or the gateway does not start.
    At(PathBuf),
    /// There, if that folder exists and can be written; else nowhere, with a warning.
    IfPossible(PathBuf),
    /// Nowhere.
    Off,
}

impl Settings {
    /// Where it is for a store that is no file.
    pub const USUAL: &str = "/run/portcullis/admin.sock";

    /// Where it would be.
    #[must_use]
    pub const fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::At(path) | Self::IfPossible(path) => Some(path),
            Self::Off => None,
        }
    }
}

/// A moment as RFC 3339 has it, in UTC.
fn shown(moment: Timestamp) -> String {
    moment.to_rfc3339()
}
