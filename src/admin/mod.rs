//! What an operator asks of a running gateway, over a unix socket: HTTP/1.1 with JSON, `POST /v1/<family>/<verb>`. The socket,
//! since the embedded store belongs to the one process that serves. Only root and the gateway's own user may use it.
//!
//! One module a family: what is asked, what is answered, and who answers.

pub mod clients;
mod fault;
pub mod grants;
pub mod keys;
mod server;
mod socket;
pub mod tokens;
pub mod users;

use std::path::PathBuf;

use crate::time::Timestamp;

pub use fault::{Answered, Fault};
pub use server::{Listening, start};
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
    let seconds = i64::try_from(moment.seconds()).unwrap_or(i64::MAX);
    let Ok(at) = ::time::OffsetDateTime::from_unix_timestamp(seconds) else { return "never".to_owned() };
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", at.hour(), at.minute(), at.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(shown(Timestamp::from_seconds(1_800_000_000)), "2027-01-15T08:00:00Z");
        assert_eq!(shown(Timestamp::from_seconds(u64::MAX)), "never");
    }
}
