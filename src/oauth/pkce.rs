//! Proof Key for Code Exchange (RFC 7636), S256 only.

use serde::{Deserialize, Serialize};

use super::{ErrorCode, OAuthError};
use crate::secret::{self, Digest, Secret};

/// The S256 challenge of an authorization request: SHA-256 of the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(Digest);

/// A well-formed verifier: 43 to 128 characters of `[A-Za-z0-9-._~]` (RFC 7636 §4.1).
#[derive(Clone, Debug)]
pub struct CodeVerifier(Secret);

/// A verifier that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("code_verifier must be 43 to 128 characters of A-Z a-z 0-9 - . _ ~")]
pub struct VerifierError;

impl CodeChallenge {
    /// As it is sent: base64url.
    #[must_use]
    pub fn to_base64url(&self) -> String {
        self.0.to_base64url()
    }

    /// Reads a `code_challenge` of method S256: 43 base64url characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        secret::base64url(text).map(|bytes| Self(Digest::from_bytes(bytes)))
    }

    /// Whether `verifier` is what this challenge was made of.
    #[must_use]
    pub fn verify(&self, verifier: &CodeVerifier) -> bool {
        self.0 == verifier.0.digest()
    }
}

impl CodeVerifier {
    /// Reads a `code_verifier`.
    ///
    /// # Errors
    /// [`VerifierError`] when it is ill-formed: `invalid_request`, and the code stays untouched.
    pub fn parse(text: &str) -> Result<Self, VerifierError> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if (43..=128).contains(&text.len()) && text.bytes().all(unreserved) {
            Ok(Self(Secret::new(text.to_owned())))
        } else {
            Err(VerifierError)
        }
    }
}

impl From<VerifierError> for OAuthError {
    fn from(error: VerifierError) -> Self {
        Self::new(ErrorCode::InvalidRequest, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636, appendix B
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_verifies() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        assert!(challenge.verify(&CodeVerifier::parse(VERIFIER).unwrap()));
    }

    // T2
    #[test]
    fn another_verifier_does_not_verify() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        for other in [&VERIFIER.to_lowercase(), CHALLENGE, &format!("{VERIFIER}A")] {
            assert!(!challenge.verify(&CodeVerifier::parse(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn a_verifier_is_43_to_128_unreserved_characters() {
        for fits in ["a".repeat(43), "~-._".repeat(32)] {
            assert!(CodeVerifier::parse(&fits).is_ok(), "{fits}");
        }
        let long = "a".repeat(129);
        for wrong in ["", &long[..42], &long, &"+".repeat(43), &"é".repeat(30), &format!("{VERIFIER} ")] {
            assert_eq!(CodeVerifier::parse(wrong).unwrap_err(), VerifierError, "{wrong}");
        }
    }

    #[test]
    fn a_challenge_is_43_base64url_characters() {
        assert!(CodeChallenge::parse(CHALLENGE).is_some());
        let standard = CHALLENGE.replace('-', "+");
        for wrong in
            ["", "abc", &CHALLENGE[1..], &standard, &format!("{CHALLENGE}="), &format!("{CHALLENGE}A")]
        {
            assert_eq!(CodeChallenge::parse(wrong), None, "{wrong}");
        }
    }
}
