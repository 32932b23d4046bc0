//! What went wrong at the identity provider, as it is told: to the client, to the person, and in the log.

use http::StatusCode;

use super::exchange::Exchange;
use crate::identity::IdentityError;
use crate::oauth::ErrorCode;
use crate::pages::Problem;
use crate::trouble::Trouble;

/// What people read to help themselves.
pub(super) const fn trouble(error: &IdentityError) -> Trouble {
    match error {
        IdentityError::Unreachable | IdentityError::RateLimited => Trouble::GithubUnreachable,
        IdentityError::Credentials => Trouble::GithubCredentials,
        IdentityError::Callback => Trouble::GithubCallback,
        IdentityError::SingleSignOn { .. } | IdentityError::Restricted { .. } => Trouble::NotAllowed,
        IdentityError::Denied
        | IdentityError::Code
        | IdentityError::TokenRejected
        | IdentityError::Suspended
        | IdentityError::UnverifiedEmail
        | IdentityError::Answer => Trouble::SignInRefused,
    }
}

/// OAuth's code, for the client.
pub(super) const fn code(error: &IdentityError) -> ErrorCode {
    match error {
        IdentityError::Denied
        | IdentityError::UnverifiedEmail
        | IdentityError::Suspended
        | IdentityError::SingleSignOn { .. }
        | IdentityError::Restricted { .. } => ErrorCode::AccessDenied,
        IdentityError::Unreachable | IdentityError::RateLimited => ErrorCode::TemporarilyUnavailable,
        IdentityError::Code
        | IdentityError::Answer
        | IdentityError::TokenRejected
        | IdentityError::Credentials
        | IdentityError::Callback => ErrorCode::ServerError,
    }
}

/// The page of an error that somebody can do something about; `again` is where the sign-in begins anew.
pub(super) fn problem(
    exchange: &Exchange<'_>,
    error: &IdentityError,
    again: &str,
) -> Option<(StatusCode, Problem)> {
    let provider = exchange.shared.identity().name();
    match error {
        IdentityError::Unreachable | IdentityError::RateLimited => {
            Some((StatusCode::SERVICE_UNAVAILABLE, Problem::provider_unreachable(provider, again)))
        }
        IdentityError::Credentials => Some((StatusCode::BAD_GATEWAY, Problem::provider_credentials())),
        IdentityError::Callback => {
            let callback = format!("{}/callback", exchange.site.settings.issuer);
            Some((StatusCode::BAD_GATEWAY, Problem::provider_callback(&callback)))
        }
        IdentityError::SingleSignOn { org, url } => {
            Some((StatusCode::FORBIDDEN, Problem::single_sign_on(org, url.as_deref())))
        }
        IdentityError::Restricted { org } => Some((StatusCode::FORBIDDEN, Problem::org_restricted(org))),
        IdentityError::Denied
        | IdentityError::UnverifiedEmail
        | IdentityError::Suspended
        | IdentityError::Code
        | IdentityError::Answer
        | IdentityError::TokenRejected => None,
    }
}
