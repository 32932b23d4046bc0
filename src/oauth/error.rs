//! OAuth's error codes, and the one form in which an endpoint tells them.

use std::fmt::Display;

use serde::{Serialize, Serializer};

/// The `error` values we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// RFC 6749 §5.2, §4.1.2.1.
    InvalidRequest,
    /// RFC 6749 §5.2: 401 at the token endpoint.
    InvalidClient,
    /// RFC 6749 §5.2.
    InvalidGrant,
    /// RFC 6749 §5.2.
    UnauthorizedClient,
    /// RFC 6749 §5.2.
    UnsupportedGrantType,
    /// RFC 6749 §4.1.2.1.
    UnsupportedResponseType,
    /// RFC 6749 §5.2.
    InvalidScope,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 6749 §4.1.2.1.
    AccessDenied,
    /// RFC 6749 §4.1.2.1.
    ServerError,
    /// RFC 6749 §4.1.2.1.
    TemporarilyUnavailable,
    /// RFC 7009 §2.2.1.
    UnsupportedTokenType,
    /// RFC 6750 §3.1: at the client configuration endpoint (RFC 7592 §2).
    InvalidToken,
    /// RFC 7591 §3.2.2.
    InvalidRedirectUri,
    /// RFC 7591 §3.2.2.
    InvalidClientMetadata,
}

impl ErrorCode {
    /// The code as it goes over the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::InvalidToken => "invalid_token",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
        }
    }
}

/// An error as a client reads it: a code, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OAuthError {
    /// What went wrong, in OAuth's words.
    #[serde(rename = "error")]
    pub code: ErrorCode,
    /// What went wrong, in ours. On the wire ASCII without quotes and backslashes (RFC 6749 §5.2): both ways out,
    /// JSON and redirect, send [`Self::wire_description`].
    #[serde(rename = "error_description", serialize_with = "serialize_description")]
    pub description: String,
    /// Where a person reads what to do about it (RFC 6749 §5.2). RFC 7591 §3.2.2 lets registrations have it, too.
    #[serde(rename = "error_uri", skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// The longest description that is sent; it may quote what a client sent, whose length nobody has chosen.
const MAX_DESCRIPTION: usize = 400;

impl OAuthError {
    /// An error with the sentence of `description`, which may quote foreign text.
    pub fn new(code: ErrorCode, description: impl Display) -> Self {
        Self { code, description: wire_text(&description.to_string()), uri: None }
    }

    /// The same, explained at `uri`.
    #[must_use]
    pub fn explained_at(self, uri: Option<String>) -> Self {
        Self { uri, ..self }
    }

    /// The description in the characters that RFC 6749 §5.2 allows, at most 400 of them.
    #[must_use]
    pub fn wire_description(&self) -> String {
        wire_text(&self.description)
    }
}

/// `text` in the characters of `error_description`: `%x20-21 / %x23-5B / %x5D-7E`.
fn wire_text(text: &str) -> String {
    let allowed = |character| match character {
        '"' | '\\' => '\'',
        ' '..='~' => character,
        _ => '?',
    };
    let mut out: String = text.chars().take(MAX_DESCRIPTION).map(allowed).collect();
    if text.chars().nth(MAX_DESCRIPTION).is_some() {
        out.replace_range(MAX_DESCRIPTION - 3.., "...");
    }
    out
}

fn serialize_description<S: Serializer>(description: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&wire_text(description))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_ascii_without_quotes_and_backslashes_on_both_ways_out() {
        let error = OAuthError {
            code: ErrorCode::InvalidTarget,
            description: "no \"ürl\"\r\nSet-Cookie: \\ here".to_owned(),
            uri: None,
        };
        assert_eq!(error.wire_description(), "no '?rl'??Set-Cookie: ' here");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"error":"invalid_target","error_description":"no '?rl'??Set-Cookie: ' here"}"#
        );
    }

    #[test]
    fn an_error_that_is_explained_says_where() {
        let error = OAuthError::new(ErrorCode::InvalidGrant, "no");
        let error = error.explained_at(Some("https://auth.example.com/help/exchange-failed".to_owned()));
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"error":"invalid_grant","error_description":"no","error_uri":"https://auth.example.com/help/exchange-failed"}"#
        );
    }

    #[test]
    fn a_long_description_is_cut() {
        let error = OAuthError::new(ErrorCode::InvalidRequest, "ä".repeat(100_000));
        assert_eq!(error.description.len(), 400);
        assert!(error.description.ends_with("?..."));
        assert_eq!(error.wire_description(), error.description);
    }

    #[test]
    fn every_code_is_serialized_as_it_is_spelt_on_the_wire() {
        for code in [
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidClient,
            ErrorCode::InvalidGrant,
            ErrorCode::UnauthorizedClient,
            ErrorCode::UnsupportedGrantType,
            ErrorCode::UnsupportedResponseType,
            ErrorCode::InvalidScope,
            ErrorCode::InvalidTarget,
            ErrorCode::AccessDenied,
            ErrorCode::ServerError,
            ErrorCode::TemporarilyUnavailable,
            ErrorCode::UnsupportedTokenType,
            ErrorCode::InvalidToken,
            ErrorCode::InvalidRedirectUri,
            ErrorCode::InvalidClientMetadata,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
