//! Keys, claims and verified tokens for the tests of this and other modules: minted and verified for real.

use super::{Claims, SigningKey, SigningKeys, Verified, verify};
use crate::oauth::{ClientId, GrantId, KeyId, Resource, Scopes, Subject};
use crate::time::Timestamp;

/// The issuer of [`claims`].
pub(crate) const ISSUER: &str = "https://auth.example.com";

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
