//! Why an operator's request is not done, and how that is told over the socket.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::gateway::{IssueError, KeyRingError, Unknown};
use crate::store::StoreError;
use crate::telemetry::LevelError;

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Another user of this machine.
    #[error("only root and the user that runs the gateway (user id {0}) may administer it")]
    NotPermitted(u32),
    /// No such request.
    #[error("this gateway has no {0}; are command and gateway of the same version?")]
    NoSuchRequest(String),
    /// Over the size that a request may have, or too slow.
    #[error("the request did not come whole: it is too large, too slow, or was broken off")]
    Body,
    /// Not the JSON that is expected.
    #[error("the request cannot be read; are command and gateway of the same version?")]
    Json,
    /// Something named that is not there.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// No such client.
    #[error("there is no client {0}")]
    NoClient(String),
    /// A client that is not in the store.
    #[error(
        "the client {0} stands in the configuration; take it away there, and end its grants by grant revoke --client"
    )]
    Configured(String),
    /// No such grant, or it has ended.
    #[error("there is no grant {0} that has not ended")]
    NoGrant(String),
    /// Nothing that can be a name of the kind.
    #[error("{0} cannot be the id of a {1}")]
    NoId(String, &'static str),
    /// A revocation of everything, which nobody means.
    #[error("name a grant, a user, a client or a service")]
    NothingNamed,
    /// Nobody has signed in with this login.
    #[error("the login {0} is not pinned to anybody")]
    NoPin(String),
    /// No such kind of key, or way of rotating.
    #[error("{0} is no {1}; write one of {2}")]
    NoWord(String, &'static str, &'static str),
    /// No such host; those that there are.
    #[error("no certificate is kept for {0}; there is {1}")]
    NoHost(String, String),
    /// A certificate that the gateway does not order.
    #[error("the certificate of {0} {1}")]
    NotOrdered(String, &'static str),
    /// The log's level stays as it was.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// No token is issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys cannot be read or written.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
}

/// A fault as it goes over the socket.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answered {
    /// In words for the operator, with its causes.
    pub error: String,
}

impl Fault {
    /// The status it is answered with.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::NotPermitted(_) => StatusCode::FORBIDDEN,
            Self::NoSuchRequest(_)
            | Self::Unknown(_)
            | Self::NoClient(_)
            | Self::NoGrant(_)
            | Self::NoPin(_)
            | Self::NoHost(..) => StatusCode::NOT_FOUND,
            Self::Body
            | Self::Json
            | Self::NoId(..)
            | Self::NothingNamed
            | Self::NoWord(..)
            | Self::Level(_) => StatusCode::BAD_REQUEST,
            Self::Issue(_) | Self::Configured(_) | Self::NotOrdered(..) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Store(_) | Self::Keys(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// As it is answered.
    pub(super) fn answered(&self) -> Answered {
        let mut error = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(why) = cause {
            error = format!("{error}: {why}");
            cause = why.source();
        }
        Answered { error }
    }
}
