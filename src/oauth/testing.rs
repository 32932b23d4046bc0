//! Clients, users and grants for the tests of this and other modules.

use super::{Client, ClientId, ClientLimits, Facts, RedirectPolicy, Subject, User, register};
use crate::time::Timestamp;

/// A redirect URI that a recorded client sent.
pub(crate) const CALLBACK: &str = "http://localhost:4741/callback";

/// The verifier of RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// Its challenge.
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A registered client `c1` with these redirect URIs.
pub(crate) fn client_with(redirect_uris: &[&str]) -> Client {
    let body = serde_json::json!({ "client_name": "Test", "redirect_uris": redirect_uris }).to_string();
    Client {
        id: ClientId::parse("c1").unwrap(),
        metadata: register(body.as_bytes(), &RedirectPolicy::default(), ClientLimits::default()).unwrap(),
        issued_at: Timestamp::from_seconds(1_000_000),
        expires: Timestamp::from_seconds(1_086_400),
        registration_token: None,
        secret: None,
    }
}

/// A user, in no organisation and pinned to no login.
pub(crate) fn facts() -> Facts {
    let user = User { subject: Subject::new("github", "583231"), login: "Octocat".to_owned(), email: None };
    Facts { user, pinned: Vec::new(), orgs: Vec::new(), teams: Vec::new() }
}
