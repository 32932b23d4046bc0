//! Whatever looks like a token: nothing is believed that we have not made.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis::oauth::{ClientId, Code, GrantId, KeyId, Resource, Scopes, Subject};
use portcullis::secret::Key;
use portcullis::time::Timestamp;
use portcullis::token::{Claims, RefreshKeys, RefreshToken, SigningKey, SigningKeys, verify};
use serde_json::Value;

use crate::text;

const ISSUER: &str = "https://auth.example.com";
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const KID: &str = "fuzz";

/// Our keys, and the claims of a good token.
struct Ring {
    keys: SigningKeys,
    private: EncodingKey,
    claims: String,
}

static RING: LazyLock<Ring> = LazyLock::new(|| {
    let pkcs8 = SigningKey::generate().unwrap();
    let private = EncodingKey::from_ec_der(&STANDARD.decode(pkcs8.expose()).unwrap());
    let id = KeyId::parse(KID).unwrap();
    let keys = SigningKeys::new(vec![SigningKey::read(id, &pkcs8).unwrap()]).unwrap();
    let good = keys.mint(&claims()).unwrap();
    assert!(verify(good.expose(), &keys, ISSUER, NOW).is_ok(), "or nothing below is proven");
    let claims = good.expose().split('.').nth(1).unwrap().to_owned();
    Ring { keys, private, claims }
});

fn claims() -> Claims {
    Claims {
        issuer: ISSUER.to_owned(),
        subject: Subject::new("github", "583231"),
        resource: Resource::from_canonical("https://mcp.example.com/mcp".to_owned()),
        client: ClientId::parse("c_fuzz").unwrap(),
        scopes: Scopes::parse("mcp"),
        issued_at: NOW,
        expires: Timestamp::from_seconds(NOW.seconds() + 3600),
        token_id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        grant: GrantId::new([1; 16]),
        generation: 1,
        access: "rules".to_owned(),
        login: "octocat".to_owned(),
        email: None,
    }
}

/// The input is a token, which is never accepted; and the header of a token that we have signed, which is accepted only if it
/// is a header of ours (R12).
pub(crate) fn jwt(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ring { keys, private, claims } = &*RING;
    assert!(verify(text, keys, ISSUER, NOW).is_err(), "forged");
    let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(text));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), private, Algorithm::ES256).unwrap();
    if verify(&format!("{signed}.{signature}"), keys, ISSUER, NOW).is_ok() {
        let header: Value = serde_json::from_str(text).unwrap();
        assert_eq!((&header["alg"], &header["kid"]), (&"ES256".into(), &KID.into()));
        assert!(["at+jwt", "application/at+jwt"].contains(&header["typ"].as_str().unwrap()));
        for refused in ["crit", "jku", "jwk", "x5u", "x5c"] {
            assert!(header.get(refused).is_none(), "{refused}");
        }
    }
    let wrong = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1; 64]));
    assert!(verify(&wrong, keys, ISSUER, NOW).is_err(), "not signed");
}

/// A refresh token has one spelling, and nobody can make one.
pub(crate) fn refresh(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(token) = RefreshToken::parse(text) else { return };
    let (client, salt) = (ClientId::parse("c_fuzz").unwrap(), [7; 16]);
    let id = KeyId::parse(text.split('.').next().unwrap()).unwrap();
    let keys = RefreshKeys::new(vec![(id, Key::new([9; 32]))]);
    let [_, grant, generation, mac] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(token.grant().to_string(), grant);
    assert_eq!(URL_SAFE_NO_PAD.decode(mac).unwrap().len(), 32);
    let generation: u64 = generation.parse().unwrap();
    let minted = keys.mint(token.grant(), &client, generation, &salt);
    let presented = keys.check(&token, &client, &salt);
    assert_eq!(presented.is_some(), minted.expose() == text);
    let ours = RefreshToken::parse(minted.expose()).unwrap();
    assert_eq!(keys.check(&ours, &client, &salt).map(|presented| presented.generation), Some(generation));
    assert!(keys.check(&ours, &ClientId::parse("c_other").unwrap(), &salt).is_none());
}

/// A code has one spelling.
pub(crate) fn code(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(code) = Code::parse(text) else { return };
    assert_eq!(code.text().expose(), text);
    let (grant, random) = text.split_once('.').unwrap();
    assert_eq!(code.grant().to_string(), grant);
    let random: [u8; 32] = URL_SAFE_NO_PAD.decode(random).unwrap().try_into().unwrap();
    assert_eq!(Code::issue(code.grant(), random).text().expose(), text);
    assert!(!format!("{code:?}").contains(&text[23..]));
}
