//! Why Redis does not do it, so that a person can tell what to look at (finding `redis-down`).

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

/// An error of Redis, or on the way to it.
#[derive(Debug)]
pub(super) struct Trouble {
    /// `host:port`; never with the password.
    server: Arc<str>,
    what: What,
    error: Option<RedisError>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.what)
    }
}

impl Error for Trouble {
    /// A `RedisError` says its cause and has it as its source too, so where there is one, it is told alone.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let error = self.error.as_ref()?;
        Some(error.source().unwrap_or(error))
    }
}

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Nobody listens.
    Refused,
    /// No such host.
    Name,
    /// Wrong or missing.
    Password,
    /// A handshake that fails, or no TLS at all.
    Tls,
    /// No answer in time.
    Silent,
    /// No answer in time, by TLS: a port without TLS waits for the rest of what it takes for a command.
    SilentTls,
    /// The connection broke.
    Broken,
    /// A replica.
    ReadOnly,
    /// An answer that is an error.
    Answer,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused; Redis is not running, or has another port",
            Self::Name => "no such host name",
            Self::Password => "wrong user name or password, or none given where one is needed",
            Self::Tls => "TLS fails; redis:// is without TLS, rediss:// with",
            Self::Silent => "no answer in time",
            Self::SilentTls => "no answer in time; if there never was one, the port is without TLS: redis://",
            Self::Broken => "the connection broke; is the port for TLS? then rediss://",
            Self::ReadOnly => "a replica, which cannot be written",
            Self::Answer => "Redis answered with an error",
        })
    }
}

impl Trouble {
    /// What is to be looked at.
    pub(super) const fn what(&self) -> What {
        self.what
    }

    /// What `error` means on the way to `server`; `None` is no answer in time.
    pub(super) fn new(server: &Arc<str>, tls: bool, error: Option<RedisError>) -> Self {
        let what = error.as_ref().map_or(What::Silent, what);
        let what = if what == What::Silent && tls { What::SilentTls } else { what };
        Self { server: Arc::clone(server), what, error }
    }
}

fn what(error: &RedisError) -> What {
    let password = matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
    if cause::<rustls::Error>(error).is_some() {
        What::Tls
    } else if cause(error).is_some_and(is_failed_look_up) {
        What::Name
    } else if error.is_connection_refusal() {
        What::Refused
    } else if password || error.kind() == ErrorKind::AuthenticationFailed {
        What::Password
    } else if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
        What::ReadOnly
    } else if error.is_timeout() {
        What::Silent
    } else if error.is_io_error() {
        What::Broken
    } else {
        What::Answer
    }
}

/// std gives a failed look-up no kind of its own, only this text.
fn is_failed_look_up(error: &io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address")
}

/// The first error of type `E` in the chain that begins with `error`.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // Both hand out what they wrap as their source's source only, so the wrapped error itself must be asked for.
        let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>().map(|shared| &**shared);
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match shared.or(wrapped) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
