//! Why a metadata document is not used, and how that is told: to a person on a page, to a program as JSON, never by a
//! redirect, since nothing that a client said is proven yet.

use std::time::Duration;

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::fetch::PublicError;
use crate::gateway::Body;
use crate::gateway::exchange::{Exchange, noted, refused_page};
use crate::gateway::limits::Hit;
use crate::gateway::reply::{self, WireError};
use crate::oauth::{ClientId, DocumentError, DocumentUrl, DocumentUrlError, ErrorCode};
use crate::pages::Problem;
use crate::telemetry::Note;
use crate::trouble::Trouble;

/// Why a document is not used. `Display` is for the application's developer.
#[derive(Debug, thiserror::Error)]
pub(in crate::gateway) enum Fault {
    /// M1.
    #[error(transparent)]
    Url(#[from] DocumentUrlError),
    /// M9.
    #[error("this server does not accept applications from there")]
    NotAdmitted,
    /// M4: one of our own hosts.
    #[error("it is on a host of this very server")]
    OwnHost,
    /// M4, M5.
    #[error(transparent)]
    Fetch(#[from] PublicError),
    /// M2, M8.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Too many fetches are under way, here or from this host.
    #[error("too many descriptions are being fetched just now")]
    Busy,
    /// Too many fetches for this address.
    #[error("too many descriptions were fetched for your network")]
    TooMany(Hit),
    /// A fault of ours.
    #[error("fetching it did not end")]
    Ended,
}

/// How long to wait where a fetch may work later.
const SOON: Duration = Duration::from_secs(5);

impl WireError for Fault {
    fn status(&self) -> StatusCode {
        match self {
            Self::Url(_) | Self::OwnHost | Self::Document(_) => StatusCode::BAD_REQUEST,
            Self::NotAdmitted => StatusCode::FORBIDDEN,
            Self::Fetch(error) => fetch_status(error),
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Ended => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> ErrorCode {
        let status = self.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            ErrorCode::ServerError
        } else if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            ErrorCode::TemporarilyUnavailable
        } else {
            ErrorCode::InvalidClient
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Url(_)
            | Self::NotAdmitted
            | Self::OwnHost
            | Self::Fetch(_)
            | Self::Document(_)
            | Self::Busy
            | Self::Ended => Some(Trouble::ClientDocument),
            Self::TooMany(_) => Some(Trouble::RateLimited),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany(hit) => Some(hit.wait),
            Self::Busy => Some(SOON),
            Self::Fetch(_) if self.code() == ErrorCode::TemporarilyUnavailable => Some(SOON),
            Self::Fetch(_)
            | Self::Url(_)
            | Self::NotAdmitted
            | Self::OwnHost
            | Self::Document(_)
            | Self::Ended => None,
        }
    }
}

/// What the document's owner has to mend is a bad request; what may mend itself is a bad gateway.
fn fetch_status(error: &PublicError) -> StatusCode {
    match error {
        PublicError::Status(status) if is_passing(*status) => StatusCode::BAD_GATEWAY,
        PublicError::Url
        | PublicError::NotPublic(_)
        | PublicError::Redirect(_)
        | PublicError::Status(_)
        | PublicError::ContentType(_)
        | PublicError::TooLarge(_) => StatusCode::BAD_REQUEST,
        PublicError::Roots(_) => StatusCode::INTERNAL_SERVER_ERROR,
        PublicError::Unresolved(_)
        | PublicError::Unreachable(_)
        | PublicError::Tls(_)
        | PublicError::BrokeOff(_) => StatusCode::BAD_GATEWAY,
        PublicError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

impl Fault {
    /// Whether a document that was good a while ago may still be used: nothing was heard against it, only nothing of it.
    /// Real clients' documents have been a 404 or a page of HTML for an afternoon; 410 says that it is gone, and an
    /// address that is not public, or a document that says something else now, is an answer too.
    pub(super) const fn says_nothing(&self) -> bool {
        match self {
            Self::Fetch(
                PublicError::NotPublic(_) | PublicError::Url | PublicError::Status(StatusCode::GONE),
            )
            | Self::Url(_)
            | Self::NotAdmitted
            | Self::OwnHost
            | Self::Document(_) => false,
            Self::Fetch(_) | Self::Busy | Self::TooMany(_) | Self::Ended => true,
        }
    }

    /// What can be done, in steps.
    fn next(&self) -> &'static [&'static str] {
        match self.status() {
            StatusCode::BAD_REQUEST => &[
                "Nothing was granted. The application's developer has to mend the description; the sentence above says what.",
                "Until then, use another version of the application, or one that registers itself.",
            ],
            StatusCode::FORBIDDEN => {
                &["The operator decides whose applications may come: clients.documents in the configuration."]
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                &["Wait a minute, then reload this page."]
            }
            _ => &[
                "Wait a moment, then reload this page.",
                "If that does not help: the application's server may be down, or this server may not connect to the internet; the operator can try with curl.",
            ],
        }
    }
}

/// The page or the JSON that tells why the client `id` cannot go on.
pub(in crate::gateway) fn refuse(
    exchange: &Exchange<'_>,
    id: &ClientId,
    fault: &Fault,
    json: bool,
) -> Response<Body> {
    // Whatever it is, a stranger has caused it: not loudly.
    exchange.log(StatusCode::BAD_REQUEST, fault.trouble(), fault);
    let host = DocumentUrl::parse(id).map(|url| url.host().to_owned()).ok();
    let mut problem = Problem::client_document(host.as_deref(), &fault.to_string(), fault.next());
    problem.trouble = fault.trouble().unwrap_or(problem.trouble);
    let mut reply = if json {
        reply::json(fault.status(), &reply::oauth(exchange, fault.code(), &problem.what, fault.trouble()))
    } else {
        refused_page(exchange, fault.status(), &problem)
    };
    if let Some(wait) = fault.retry_after() {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    // Whoever is over the limit may name as many as they like.
    let client = (!matches!(fault, Fault::TooMany(_))).then(|| id.to_string());
    noted(reply, Note { client, ..Note::of_trouble(problem.trouble) })
}
