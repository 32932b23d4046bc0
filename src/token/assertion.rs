//! A client's signed proof of who it is: `private_key_jwt` (RFC 7523 §3).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::ClientKeys;
use super::access::{Parts, json_object, present};
use crate::oauth::ClientId;
use crate::time::Timestamp;

/// How far ahead an assertion may end: its `jti` is kept for so long.
pub const LONGEST_ASSERTION: Duration = Duration::from_mins(5);

/// How far a client's clock may be ahead: for `iat` and `nbf` only.
const SKEW: Duration = Duration::from_secs(30);

/// The longest `jti`.
const LONGEST_ID: usize = 256;

/// An assertion whose signature and claims were checked. It counts once: who believes it must first have taken its `jti`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// `jti`.
    pub token_id: String,
    /// `exp`.
    pub expires: Timestamp,
}

/// What an assertion must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `iss` and `sub`.
    pub client: &'a ClientId,
    /// The issuer and the token endpoint: nobody else may be in `aud`, or who else is meant could use it here.
    pub audiences: &'a [&'a str],
    /// The present moment.
    pub now: Timestamp,
}

/// Why an assertion proves nothing: 401 `invalid_client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Longer than 4,096 bytes, no compact JWS with JSON in it, or a claim that is missing or of a wrong type.
    #[error("the client_assertion is no JWT with iss, sub, aud, exp and jti")]
    Malformed,
    /// `typ` says that it is something else (RFC 8725 §3.11).
    #[error("the client_assertion has another typ than JWT or client-authentication+jwt")]
    Type,
    /// The header carries `crit`, `jku`, `jwk`, `x5u` or `x5c`.
    #[error("the client_assertion's header has {0}, which is not accepted")]
    Header(&'static str),
    /// No key of this client has that `alg` and `kid`.
    #[error("the client_assertion is signed with no key of this client (by alg and kid)")]
    Key,
    /// The signature is wrong.
    #[error("the client_assertion's signature is wrong")]
    Signature,
    /// `iss` or `sub` is not the client.
    #[error("iss and sub of the client_assertion must both be the client_id")]
    Client,
    /// `aud` is not us, or not us alone.
    #[error("aud of the client_assertion must be the issuer or its token endpoint, and nothing else")]
    Audience,
    /// `exp` is past. No leeway.
    #[error("the client_assertion has expired")]
    Expired,
    /// `exp` is over [`LONGEST_ASSERTION`] ahead.
    #[error("exp of the client_assertion is more than 5 minutes ahead")]
    TooLong,
    /// `iat` or `nbf` is over 30 s ahead.
    #[error("the client_assertion is not valid yet")]
    NotYet,
    /// An empty `jti`, or one of more than 256 bytes.
    #[error("jti of the client_assertion must have 1 to 256 bytes")]
    TokenId,
}

impl Assertion {
    /// Whom an assertion claims to be from, before anything of it is believed: where to look for the keys.
    #[must_use]
    pub fn claimed_client(text: &str) -> Option<ClientId> {
        let claims: Claims = json_object(Parts::split(text)?.claims)?;
        ClientId::parse(&claims.sub)
    }

    /// Verifies signature, header and claims.
    ///
    /// # Errors
    /// [`AssertionError`].
    pub fn verify(text: &str, keys: &ClientKeys, expected: &Expected<'_>) -> Result<Self, AssertionError> {
        let parts = Parts::split(text).ok_or(AssertionError::Malformed)?;
        let header: Header = json_object(parts.header).ok_or(AssertionError::Malformed)?;
        header.check()?;
        let signature = URL_SAFE_NO_PAD.decode(parts.signature).map_err(|_| AssertionError::Malformed)?;
        let mut candidates = keys.candidates(&header.alg, header.kid.as_deref()).peekable();
        candidates.peek().ok_or(AssertionError::Key)?;
        if !candidates.any(|key| key.verifies(parts.signed.as_bytes(), &signature)) {
            return Err(AssertionError::Signature);
        }
        let claims: Claims = json_object(parts.claims).ok_or(AssertionError::Malformed)?;
        claims.check(expected)
    }
}

/// The members of a header that decide. A member that comes twice makes the header malformed.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "one for each member that must not be there")]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
}

impl Header {
    /// Keys are only ever those that the operator configured: what a header says of where to find one is refused.
    fn check(&self) -> Result<(), AssertionError> {
        let typ = self.typ.as_deref().map(str::to_ascii_lowercase);
        if !matches!(typ.as_deref(), None | Some("jwt" | "client-authentication+jwt")) {
            return Err(AssertionError::Type);
        }
        let refused =
            [("crit", self.crit), ("jku", self.jku), ("jwk", self.jwk), ("x5u", self.x5u), ("x5c", self.x5c)];
        match refused.into_iter().find(|(_, present)| *present) {
            Some((name, _)) => Err(AssertionError::Header(name)),
            None => Ok(()),
        }
    }
}

/// The claims that decide, each of its type. One that comes twice is an error.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: u64,
    jti: String,
    iat: Option<u64>,
    nbf: Option<u64>,
}

/// `aud` (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn is_only(&self, allowed: &[&str]) -> bool {
        match self {
            Self::One(one) => allowed.contains(&one.as_str()),
            Self::Several(all) => !all.is_empty() && all.iter().all(|one| allowed.contains(&one.as_str())),
        }
    }
}

impl Claims {
    fn check(self, expected: &Expected<'_>) -> Result<Assertion, AssertionError> {
        let (now, client) = (expected.now, expected.client.as_str());
        let expires = Timestamp::from_seconds(self.exp);
        let too_early = |time: Option<u64>| time.is_some_and(|time| time > now.after(SKEW).seconds());
        if self.iss != client || self.sub != client {
            return Err(AssertionError::Client);
        }
        if !self.aud.is_only(expected.audiences) {
            return Err(AssertionError::Audience);
        }
        // RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted".
        if now >= expires {
            return Err(AssertionError::Expired);
        }
        if expires > now.after(LONGEST_ASSERTION) {
            return Err(AssertionError::TooLong);
        }
        if too_early(self.iat) || too_early(self.nbf) {
            return Err(AssertionError::NotYet);
        }
        if !(1..=LONGEST_ID).contains(&self.jti.len()) {
            return Err(AssertionError::TokenId);
        }
        Ok(Assertion { token_id: self.jti, expires })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::testing::{ISSUER, NOW};
    use super::*;
    use crate::secret::to_base64url;

    const TOKEN_ENDPOINT: &str = "https://auth.example.com/token";

    /// A client's key, and how it signs.
    enum Pair {
        Ec(EcdsaKeyPair),
        Ed(Ed25519KeyPair),
        Rsa(Box<RsaKeyPair>),
    }

    impl Pair {
        fn ec() -> Self {
            let random = SystemRandom::new();
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Self::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap())
        }

        fn ed() -> Self {
            Self::Ed(Ed25519KeyPair::generate().unwrap())
        }

        fn rsa() -> Self {
            Self::Rsa(Box::new(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap()))
        }

        const fn algorithm(&self) -> &'static str {
            match self {
                Self::Ec(_) => "ES256",
                Self::Ed(_) => "EdDSA",
                Self::Rsa(_) => "RS256",
            }
        }

        fn jwk(&self) -> Value {
            match self {
                Self::Ec(pair) => {
                    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                    json!({ "kty": "EC", "crv": "P-256", "x": to_base64url(x), "y": to_base64url(y), "kid": "k" })
                }
                Self::Ed(pair) => {
                    let x = to_base64url(pair.public_key().as_ref());
                    json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k" })
                }
                Self::Rsa(pair) => {
                    let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                    let n = to_base64url(n.big_endian_without_leading_zero());
                    let e = to_base64url(e.big_endian_without_leading_zero());
                    json!({ "kty": "RSA", "n": n, "e": e, "kid": "k" })
                }
            }
        }

        fn signature(&self, message: &[u8]) -> Vec<u8> {
            let random = SystemRandom::new();
            match self {
                Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
                Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
                Self::Rsa(pair) => {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                    signature
                }
            }
        }

        fn sign(&self, header: &str, claims: &str) -> String {
            let signed = format!("{}.{}", to_base64url(header.as_bytes()), to_base64url(claims.as_bytes()));
            format!("{signed}.{}", to_base64url(&self.signature(signed.as_bytes())))
        }
    }

    fn ordinary(pair: &Pair) -> (Value, Value) {
        let header = json!({ "alg": pair.algorithm(), "typ": "JWT", "kid": "k" });
        let now = NOW.seconds();
        let claims =
            json!({ "iss": "ci", "sub": "ci", "aud": ISSUER, "exp": now + 60, "iat": now, "jti": "one" });
        (header, claims)
    }

    fn verdict(pair: &Pair, text: &str) -> Result<Assertion, AssertionError> {
        let keys = ClientKeys::read(&json!({ "keys": [pair.jwk()] })).unwrap();
        let client = ClientId::parse("ci").unwrap();
        let audiences = [ISSUER, TOKEN_ENDPOINT];
        Assertion::verify(text, &keys, &Expected { client: &client, audiences: &audiences, now: NOW })
    }

    /// What becomes of an ordinary assertion whose header and claims were changed before it was signed.
    fn changed(change: impl FnOnce(&mut Value, &mut Value)) -> Result<Assertion, AssertionError> {
        let pair = Pair::ec();
        let (mut header, mut claims) = ordinary(&pair);
        change(&mut header, &mut claims);
        verdict(&pair, &pair.sign(&header.to_string(), &claims.to_string()))
    }

    fn claim(name: &str, value: Value) -> Result<Assertion, AssertionError> {
        changed(|_, claims| claims[name] = value)
    }

    #[test]
    fn an_assertion_of_each_algorithm_proves_its_client() {
        for pair in [Pair::ec(), Pair::ed(), Pair::rsa()] {
            let (header, claims) = ordinary(&pair);
            let text = pair.sign(&header.to_string(), &claims.to_string());
            let expires = NOW.after(Duration::from_mins(1));
            let algorithm = pair.algorithm();
            assert_eq!(
                verdict(&pair, &text),
                Ok(Assertion { token_id: "one".into(), expires }),
                "{algorithm}"
            );
            assert_eq!(Assertion::claimed_client(&text), ClientId::parse("ci"));
        }
    }

    #[test]
    fn what_is_optional_may_be_left_out() {
        let without = |name: &'static str| {
            changed(|header, claims| {
                for part in [header, claims] {
                    part.as_object_mut().unwrap().remove(name);
                }
            })
        };
        for name in ["typ", "kid", "iat", "nbf"] {
            assert!(without(name).is_ok(), "{name}");
        }
        for name in ["alg", "iss", "sub", "aud", "exp", "jti"] {
            assert_eq!(without(name), Err(AssertionError::Malformed), "{name}");
        }
        assert!(changed(|header, _| header["typ"] = json!("client-authentication+jwt")).is_ok());
    }

    // RFC 7523 §3 items 1 to 3
    #[test]
    fn it_must_be_from_the_client_and_for_us_alone() {
        for name in ["iss", "sub"] {
            assert_eq!(claim(name, json!("other")), Err(AssertionError::Client));
        }
        for aud in [json!(TOKEN_ENDPOINT), json!([ISSUER]), json!([ISSUER, TOKEN_ENDPOINT])] {
            assert!(claim("aud", aud.clone()).is_ok(), "{aud}");
        }
        for aud in [
            json!("https://other.example"),
            json!("https://auth.example.com/"),
            json!([]),
            json!([ISSUER, "https://other.example"]),
        ] {
            assert_eq!(claim("aud", aud.clone()), Err(AssertionError::Audience), "{aud}");
        }
    }

    // RFC 7523 §3 items 4 to 7
    #[test]
    fn it_lives_five_minutes_at_most_and_counts_only_in_its_time() {
        let at = |offset: i64| json!(NOW.seconds().checked_add_signed(offset).unwrap());
        assert!(claim("exp", at(1)).is_ok() && claim("exp", at(300)).is_ok());
        assert_eq!(claim("exp", at(0)), Err(AssertionError::Expired));
        assert_eq!(claim("exp", at(301)), Err(AssertionError::TooLong));
        assert_eq!(claim("exp", json!(u64::MAX)), Err(AssertionError::TooLong));
        for name in ["iat", "nbf"] {
            assert!(claim(name, at(30)).is_ok() && claim(name, at(-86_400)).is_ok(), "{name}");
            assert_eq!(claim(name, at(31)), Err(AssertionError::NotYet), "{name}");
        }
        for wrong in [json!("1800000060"), json!(1.5), json!(-1), json!(null)] {
            assert_eq!(claim("exp", wrong), Err(AssertionError::Malformed));
        }
        assert_eq!(claim("jti", json!("")), Err(AssertionError::TokenId));
        assert!(claim("jti", json!("x".repeat(256))).is_ok());
        assert_eq!(claim("jti", json!("x".repeat(257))), Err(AssertionError::TokenId));
    }

    // RFC 8725 §3.1, §3.11
    #[test]
    fn the_key_says_the_algorithm_and_the_header_nothing_else() {
        for alg in ["none", "None", "HS256", "RS256", "EdDSA", "ES384", "es256", ""] {
            assert_eq!(changed(|header, _| header["alg"] = json!(alg)), Err(AssertionError::Key), "{alg}");
        }
        assert_eq!(changed(|header, _| header["kid"] = json!("other")), Err(AssertionError::Key));
        for typ in ["at+jwt", "logout+jwt", ""] {
            assert_eq!(changed(|header, _| header["typ"] = json!(typ)), Err(AssertionError::Type), "{typ}");
        }
        for name in ["crit", "jku", "jwk", "x5u", "x5c"] {
            assert_eq!(changed(|header, _| header[name] = json!(null)), Err(AssertionError::Header(name)));
        }
    }

    #[test]
    fn another_key_s_signature_proves_nothing() {
        let (ours, theirs) = (Pair::ec(), Pair::ec());
        let (header, claims) = ordinary(&ours);
        let text = theirs.sign(&header.to_string(), &claims.to_string());
        assert_eq!(verdict(&ours, &text), Err(AssertionError::Signature));
        let (signed, _) = text.rsplit_once('.').unwrap();
        assert_eq!(verdict(&ours, &format!("{signed}.")), Err(AssertionError::Signature));
        // The public key as the secret of an HMAC: the oldest trick there is.
        let hmac = json!({ "alg": "HS256" });
        assert_eq!(
            verdict(&ours, &ours.sign(&hmac.to_string(), &claims.to_string())),
            Err(AssertionError::Key)
        );
    }

    #[test]
    fn a_claim_that_comes_twice_is_no_claim() {
        let pair = Pair::ec();
        let (header, claims) = ordinary(&pair);
        let twice = claims.to_string().replacen('{', "{\"sub\":\"other\",", 1);
        assert_eq!(verdict(&pair, &pair.sign(&header.to_string(), &twice)), Err(AssertionError::Malformed));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC{0,80}", dotted in "[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}") {
            let pair = Pair::ec();
            for text in [&text, &dotted] {
                prop_assert!(verdict(&pair, text).is_err());
                prop_assert_eq!(Assertion::claimed_client(text), None);
            }
        }
    }
}
