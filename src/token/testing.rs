//! Keys, claims and verified tokens for the tests of this and other modules: minted and verified for real.

use super::{Claims, SigningKey, SigningKeys, Verified, verify};
use crate::oauth::{ClientId, GrantId, KeyId, Resource, Scopes, Subject};
use crate::time::Timestamp;

/// The issuer of [`claims`].
pub(crate) const ISSUER: &str = "https://auth.example.com";

/// A client's keys: the examples of RFC 7517 appendix A.1 and RFC 8037 appendix A.2.
pub(crate) const EC_JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
pub(crate) const RSA_JWK: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}"#;
pub(crate) const ED_JWK: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// When [`claims`] were issued; they live an hour.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A fresh key of this name.
pub(crate) fn key(id: &str) -> SigningKey {
    SigningKey::read(KeyId::parse(id).unwrap(), &SigningKey::generate().unwrap()).unwrap()
}

/// Fresh keys of these names; the first signs.
pub(crate) fn keys(ids: &[&str]) -> SigningKeys {
    SigningKeys::new(ids.iter().map(|id| key(id)).collect()).unwrap()
}

/// What an ordinary token says.
pub(crate) fn claims() -> Claims {
    Claims {
        issuer: ISSUER.to_owned(),
        subject: Subject::new("github", "583231"),
        resource: Resource::from_canonical("https://fetch.example.com/mcp".to_owned()),
        client: ClientId::issue([3; 16]),
        scopes: Scopes::parse("mcp"),
        issued_at: NOW,
        expires: Timestamp::from_seconds(NOW.seconds() + 3600),
        token_id: "BAQEBAQEBAQEBAQEBAQEBA".to_owned(),
        grant: GrantId::new([5; 16]),
        generation: 1,
        access: "AAAAAAAA".to_owned(),
        login: "octocat".to_owned(),
        email: None,
    }
}

/// `claims` minted with a fresh key and verified at the moment they were issued.
pub(crate) fn verified(claims: &Claims) -> Verified {
    let keys = keys(&["test"]);
    let token = keys.mint(claims).unwrap();
    verify(token.expose(), &keys, &claims.issuer, claims.issued_at).unwrap()
}
