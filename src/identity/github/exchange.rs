//! The token endpoint through our own client, and what GitHub's error codes mean. GitHub says errors with HTTP 200,
//! which RFC 6749 §5.2 does not know: they get the status 400 before the `oauth2` crate sees them.

use http::StatusCode;
use oauth2::basic::BasicErrorResponse;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse, RequestTokenError};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{BOUNDS, api, no_answer};
use crate::fetch::Fetcher;
use crate::identity::{BoxFuture, IdentityError};

/// How the crate reaches the token endpoint. A struct and not a closure: a closure's future is not `Send` enough
/// for a spawned task.
pub(super) struct TokenEndpoint<'a>(pub(super) &'a Fetcher);

impl<'c> AsyncHttpClient<'c> for TokenEndpoint<'_> {
    type Error = IdentityError;
    type Future = BoxFuture<'c, Result<HttpResponse, IdentityError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let response =
                self.0.send(request.map(Into::into), BOUNDS).await.map_err(|error| no_answer(&error))?;
            if let Some(error) = api::refusal(&response) {
                return Err(error);
            }
            // What GitHub answers for a client id it never issued.
            if response.status() == StatusCode::NOT_FOUND {
                return Err(IdentityError::Credentials);
            }
            let mut response = response.map(|body| body.to_vec());
            if response.status() == StatusCode::OK && says_error(response.body()) {
                *response.status_mut() = StatusCode::BAD_REQUEST;
            }
            Ok(response)
        })
    }
}

/// Whether `body` is a JSON object with the member `error`.
fn says_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        error: Option<IgnoredAny>,
    }
    serde_json::from_slice(body).is_ok_and(|answer: Answer| answer.error.is_some())
}

/// What a failed exchange means. The crate's error may hold the answer's body: it ends here and is not logged.
pub(super) fn error(error: RequestTokenError<IdentityError, BasicErrorResponse>) -> IdentityError {
    match error {
        RequestTokenError::ServerResponse(response) => meaning(response.error().as_ref()),
        RequestTokenError::Request(error) => error,
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => IdentityError::Answer,
    }
}

/// GitHub's error codes, of the token endpoint and of the callback.
pub(super) fn meaning(code: &str) -> IdentityError {
    match code {
        "access_denied" => IdentityError::Denied,
        "bad_verification_code" | "invalid_grant" => IdentityError::Code,
        "bad_refresh_token" => IdentityError::TokenRejected,
        "incorrect_client_credentials" | "invalid_client" | "unauthorized_client" => {
            IdentityError::Credentials
        }
        "redirect_uri_mismatch" => IdentityError::Callback,
        "application_suspended" => IdentityError::Suspended,
        "unverified_user_email" => IdentityError::UnverifiedEmail,
        "server_error" | "temporarily_unavailable" => IdentityError::Unreachable,
        _ => IdentityError::Answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F1
    #[test]
    fn an_error_is_recognised_by_the_body_alone() {
        assert!(says_error(br#"{"error":"bad_verification_code","error_description":"x"}"#));
        assert!(says_error(br#"{"error":{"unheard":"of"}}"#));
        for good in
            [&br#"{"access_token":"gho_x","token_type":"bearer","scope":""}"#[..], b"", b"error=x", b"[]"]
        {
            assert!(!says_error(good), "{good:?}");
        }
    }

    // F1
    #[test]
    fn every_documented_code_has_its_meaning() {
        for (code, expected) in [
            ("bad_verification_code", IdentityError::Code),
            ("bad_refresh_token", IdentityError::TokenRejected),
            ("incorrect_client_credentials", IdentityError::Credentials),
            ("redirect_uri_mismatch", IdentityError::Callback),
            ("unverified_user_email", IdentityError::UnverifiedEmail),
            ("application_suspended", IdentityError::Suspended),
            ("unheard_of", IdentityError::Answer),
        ] {
            assert_eq!(meaning(code), expected, "{code}");
        }
    }
}
