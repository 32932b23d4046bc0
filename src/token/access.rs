//! Access tokens: RFC 9068, `typ: at+jwt`, ES256, at most 1 KB.

mod inspect;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header, crypto};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{KeyError, SigningKeys};
use crate::oauth::{ClientId, GrantId, KeyId, Resource, Scopes, Subject};
use crate::secret::Secret;
use crate::time::Timestamp;

pub use inspect::{Check, Finding, claimed, inspect};

/// The longest token that is looked at.
const MAX_LENGTH: usize = 4096;

/// How far the clock of another gateway may be ahead: for `iat` and `nbf` only.
const SKEW: Duration = Duration::from_secs(30);

/// A minted access token, to be sent once.
pub type AccessToken = Secret;

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: Subject,
    /// `aud`: one canonical resource (T7).
    pub resource: Resource,
    /// `client_id`.
    pub client: ClientId,
    /// `scope`, space-separated on the wire.
    pub scopes: Scopes,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// `jti`: 16 random bytes in base64url.
    pub token_id: String,
    /// `sid`.
    pub grant: GrantId,
    /// `gen`: the refresh generation it was issued with.
    pub generation: u64,
    /// `acc`: the fingerprint of the service's access rules.
    pub access: String,
    /// `preferred_username`.
    pub login: String,
    /// `email`, only for services with `forward_email`.
    pub email: Option<String>,
}

/// The claims of a token whose signature, type, issuer and times were checked. Only [`verify`] makes one. Whether
/// it is for this service, and still wanted, is for the guard to say on every request.
#[derive(Clone, Debug)]
pub struct Verified {
    key: KeyId,
    claims: Claims,
}

impl Verified {
    /// The claims.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The key that signed it.
    #[must_use]
    pub const fn key(&self) -> &KeyId {
        &self.key
    }
}

/// Why a token is refused: always 401 `invalid_token` (R4, R12).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than 4,096 bytes, or no compact JWS of three parts with JSON in it.
    #[error("the token is malformed")]
    Malformed,
    /// `alg` is not ES256.
    #[error("the token is not signed with ES256")]
    Algorithm,
    /// `typ` is not `at+jwt` (or `application/at+jwt`).
    #[error("the token is not an access token (typ at+jwt)")]
    Type,
    /// The header carries `crit`, `jku`, `jwk`, `x5u` or `x5c`.
    #[error("the token's header has {0}, which is not accepted")]
    Header(&'static str),
    /// No key of that name: another issuer's, or one that was rotated away.
    #[error("the token's key is unknown")]
    UnknownKey(Option<KeyId>),
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// `iss` is another.
    #[error("the token is from another issuer")]
    Issuer,
    /// `exp` is past. No leeway.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is over 30 s ahead.
    #[error("the token is not valid yet")]
    NotYet,
    /// A claim is missing or of a wrong type.
    #[error("the token lacks the claim {0}")]
    Claim(&'static str),
}

/// Verifies a token's signature, header, issuer and times. Does not say for which service it is.
///
/// # Errors
/// [`TokenError`].
pub fn verify(token: &str, keys: &SigningKeys, issuer: &str, now: Timestamp) -> Result<Verified, TokenError> {
    let parts = Parts::split(token).ok_or(TokenError::Malformed)?;
    let kid = json_object::<ReadHeader>(parts.header).ok_or(TokenError::Malformed)?.accept()?;
    let key = kid.as_ref().and_then(|kid| keys.named(kid)).ok_or(TokenError::UnknownKey(kid))?;
    match crypto::verify(parts.signature, parts.signed.as_bytes(), key.public(), Algorithm::ES256) {
        Ok(true) => {}
        Ok(false) => return Err(TokenError::Signature),
        Err(_) => return Err(TokenError::Malformed),
    }
    let claims = ReadClaims(json_object(parts.claims).ok_or(TokenError::Malformed)?);
    claims.check(issuer, now)?;
    Ok(Verified { key: key.id().clone(), claims: claims.read()? })
}

impl SigningKeys {
    /// Signs `claims` with the active key.
    ///
    /// # Errors
    /// [`KeyError`] if the cryptographic library fails.
    pub fn mint(&self, claims: &Claims) -> Result<AccessToken, KeyError> {
        let key = self.active().ok_or(KeyError::None)?;
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(key.id().as_str().to_owned());
        let token = jsonwebtoken::encode(&header, &WrittenClaims::of(claims), key.private());
        token.map(Secret::new).map_err(KeyError::Sign)
    }
}

/// A compact JWS (RFC 7515 §7.1), taken apart and not decoded.
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    pub(super) claims: &'a str,
    pub(super) signature: &'a str,
    /// What the signature is over: header and claims.
    pub(super) signed: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn split(token: &'a str) -> Option<Self> {
        if token.len() > MAX_LENGTH {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        (!claims.contains('.')).then_some(Self { header, claims, signature, signed })
    }
}

/// A base64url part that is a JSON object; serde would take an array for a struct's members in order.
pub(super) fn json_object<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(&json).ok()).flatten()
}

/// The members of a header that decide. A member that comes twice makes the header malformed.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "one for each member that must not be there")]
struct ReadHeader {
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

/// True whatever the member's value is, `null` too.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl ReadHeader {
    /// The name of the key, if the header is one of ours (RFC 9068 §4, RFC 8725 §3). A key is only ever looked up
    /// among our own: what a header says of where to find it is refused, not ignored.
    fn accept(self) -> Result<Option<KeyId>, TokenError> {
        if !self.has_our_algorithm() {
            return Err(TokenError::Algorithm);
        }
        if !self.has_our_type() {
            return Err(TokenError::Type);
        }
        match self.refused().next() {
            Some(name) => Err(TokenError::Header(name)),
            None => Ok(self.key_id()),
        }
    }

    fn has_our_algorithm(&self) -> bool {
        self.alg == "ES256"
    }

    fn has_our_type(&self) -> bool {
        matches!(self.typ.as_deref(), Some("at+jwt" | "application/at+jwt"))
    }

    /// The members that must not be there, and are.
    fn refused(&self) -> impl Iterator<Item = &'static str> {
        let members =
            [("crit", self.crit), ("jku", self.jku), ("jwk", self.jwk), ("x5u", self.x5u), ("x5c", self.x5c)];
        members.into_iter().filter(|(_, present)| *present).map(|(name, _)| name)
    }

    fn key_id(&self) -> Option<KeyId> {
        self.kid.as_deref().and_then(KeyId::parse)
    }
}

/// Claims whose signature was right.
struct ReadClaims(Map<String, Value>);

impl ReadClaims {
    fn check(&self, issuer: &str, now: Timestamp) -> Result<(), TokenError> {
        if self.text("iss")? != issuer {
            return Err(TokenError::Issuer);
        }
        // RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted".
        if now >= self.time("exp")? {
            return Err(TokenError::Expired);
        }
        if self.is_too_early("iat", now)? || (self.0.contains_key("nbf") && self.is_too_early("nbf", now)?) {
            return Err(TokenError::NotYet);
        }
        Ok(())
    }

    fn is_too_early(&self, claim: &'static str, now: Timestamp) -> Result<bool, TokenError> {
        self.time(claim).map(|time| time > now.after(SKEW))
    }

    fn read(&self) -> Result<Claims, TokenError> {
        Ok(Claims {
            issuer: self.text("iss")?.to_owned(),
            subject: Subject::from_text(self.text("sub")?.to_owned()),
            resource: Resource::from_canonical(self.text("aud")?.to_owned()),
            client: ClientId::parse(self.text("client_id")?).ok_or(TokenError::Claim("client_id"))?,
            scopes: Scopes::parse(self.text("scope")?),
            issued_at: self.time("iat")?,
            expires: self.time("exp")?,
            token_id: self.text("jti")?.to_owned(),
            grant: GrantId::parse(self.text("sid")?).ok_or(TokenError::Claim("sid"))?,
            generation: self.number("gen")?,
            access: self.text("acc")?.to_owned(),
            login: self.text("preferred_username")?.to_owned(),
            email: self.0.get("email").map(|_| self.text("email").map(str::to_owned)).transpose()?,
        })
    }

    fn text(&self, claim: &'static str) -> Result<&str, TokenError> {
        self.0.get(claim).and_then(Value::as_str).ok_or(TokenError::Claim(claim))
    }

    /// A whole number; `1.5` and `1e3` are none.
    fn number(&self, claim: &'static str) -> Result<u64, TokenError> {
        self.0.get(claim).and_then(Value::as_u64).ok_or(TokenError::Claim(claim))
    }

    fn time(&self, claim: &'static str) -> Result<Timestamp, TokenError> {
        self.number(claim).map(Timestamp::from_seconds)
    }
}

/// Claims as they are written: the names of RFC 9068 §2.2 and ours.
#[derive(Serialize)]
struct WrittenClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    client_id: &'a str,
    scope: String,
    iat: u64,
    exp: u64,
    jti: &'a str,
    sid: GrantId,
    r#gen: u64,
    acc: &'a str,
    preferred_username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
}

impl<'a> WrittenClaims<'a> {
    fn of(claims: &'a Claims) -> Self {
        Self {
            iss: &claims.issuer,
            sub: claims.subject.as_str(),
            aud: claims.resource.as_str(),
            client_id: claims.client.as_str(),
            scope: claims.scopes.to_string(),
            iat: claims.issued_at.seconds(),
            exp: claims.expires.seconds(),
            jti: &claims.token_id,
            sid: claims.grant,
            r#gen: claims.generation,
            acc: &claims.access,
            preferred_username: &claims.login,
            email: claims.email.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::{ISSUER, NOW, claims, keys};
    use super::*;

    fn later(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    /// The header and the claims of an ordinary token, to be changed.
    fn ordinary() -> (Value, Value) {
        let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "k"});
        (header, serde_json::to_value(WrittenClaims::of(&claims())).unwrap())
    }

    fn encoded(value: &str) -> String {
        URL_SAFE_NO_PAD.encode(value)
    }

    /// Signs whatever is given with the first key.
    fn sign(keys: &SigningKeys, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let key = keys.active().unwrap().private();
        format!("{signed}.{}", crypto::sign(signed.as_bytes(), key, Algorithm::ES256).unwrap())
    }

    /// What becomes of an ordinary token whose header and claims were changed before it was signed.
    fn changed(change: impl FnOnce(&mut Value, &mut Value)) -> Result<Claims, TokenError> {
        let keys = keys(&["k"]);
        let (mut header, mut claims) = ordinary();
        change(&mut header, &mut claims);
        let token = sign(&keys, &header.to_string(), &claims.to_string());
        let verdict = verify(&token, &keys, ISSUER, NOW).map(|verified| verified.claims);
        let checks = inspect(&token, &keys, ISSUER, NOW);
        let is_passed = checks.iter().all(|check| check.finding != Finding::Refused);
        assert_eq!(
            is_passed,
            verdict.is_ok(),
            "what an operator is told is what happens: {verdict:?} {checks:?}"
        );
        verdict
    }

    // R12, T7
    #[test]
    fn a_minted_token_verifies_and_says_the_same() {
        let keys = keys(&["new", "old"]);
        let email = Some("octocat@example.com".to_owned());
        for claims in [claims(), Claims { email, generation: u64::MAX, ..claims() }] {
            let token = keys.mint(&claims).unwrap();
            assert_eq!(verify(token.expose(), &keys, ISSUER, NOW).unwrap().claims(), &claims);
        }
    }

    // R12, RFC 9068 §2
    #[test]
    fn a_minted_token_has_the_members_of_the_rfc() {
        let keys = keys(&["k"]);
        let token = keys.mint(&claims()).unwrap();
        let part = |index| json_object::<Value>(token.expose().split('.').nth(index).unwrap()).unwrap();
        assert_eq!(part(0), json!({"typ": "at+jwt", "alg": "ES256", "kid": "k"}));
        assert_eq!(
            part(1),
            json!({
                "iss": "https://auth.example.com",
                "sub": "github:583231",
                "aud": "https://fetch.example.com/mcp",
                "client_id": "c_AwMDAwMDAwMDAwMDAwMDAw",
                "scope": "mcp",
                "iat": 1_800_000_000,
                "exp": 1_800_003_600,
                "jti": "BAQEBAQEBAQEBAQEBAQEBA",
                "sid": "BQUFBQUFBQUFBQUFBQUFBQ",
                "gen": 1,
                "acc": "AAAAAAAA",
                "preferred_username": "octocat",
            })
        );
    }

    // design §5: at most 1 KB
    #[test]
    fn a_token_with_long_but_ordinary_values_fits_in_a_kilobyte() {
        let claims = Claims {
            issuer: "https://authorization.department.example-company.com".to_owned(),
            subject: Subject::new("github", "18446744073709551615"),
            resource: Resource::from_canonical(
                "https://documents.department.example-company.com/search/mcp".to_owned(),
            ),
            client: ClientId::parse("https://claude.ai/oauth/claude-code-client-metadata").unwrap(),
            scopes: Scopes::parse("documents:read documents:write documents:delete offline_access"),
            login: "a".repeat(39),
            email: Some(format!("{}@department.example-company.com", "a".repeat(39))),
            generation: 1_000_000,
            ..claims()
        };
        let token = keys(&["12345678"]).mint(&claims).unwrap();
        assert!(token.expose().len() <= 1024, "{}", token.expose().len());
    }

    // V3
    #[test]
    fn a_token_of_a_key_that_was_rotated_verifies_until_the_key_goes() {
        let (old, new) = (super::super::testing::key("old"), super::super::testing::key("new"));
        let before = SigningKeys::new(vec![old]).unwrap();
        let token = before.mint(&claims()).unwrap();
        let without = SigningKeys::new(vec![new]).unwrap();
        assert_eq!(
            verify(token.expose(), &without, ISSUER, NOW).unwrap_err(),
            TokenError::UnknownKey(KeyId::parse("old"))
        );
        assert!(verify(token.expose(), &before, ISSUER, NOW).is_ok());
    }

    // R12
    #[test]
    fn another_key_of_the_same_name_is_a_wrong_signature() {
        let token = keys(&["k"]).mint(&claims()).unwrap();
        assert_eq!(verify(token.expose(), &keys(&["k"]), ISSUER, NOW).unwrap_err(), TokenError::Signature);
    }

    // R12
    #[test]
    fn a_header_that_is_not_ours_is_refused() {
        for (member, value, error) in [
            ("alg", json!("none"), TokenError::Algorithm),
            ("alg", json!("HS256"), TokenError::Algorithm),
            ("alg", json!("ES384"), TokenError::Algorithm),
            ("alg", json!("es256"), TokenError::Algorithm),
            ("alg", json!(256), TokenError::Malformed),
            ("alg", Value::Null, TokenError::Malformed),
            ("typ", json!("JWT"), TokenError::Type),
            ("typ", json!("dpop+jwt"), TokenError::Type),
            ("typ", Value::Null, TokenError::Type),
            ("crit", json!(["exp"]), TokenError::Header("crit")),
            ("crit", json!([]), TokenError::Header("crit")),
            ("crit", Value::Null, TokenError::Header("crit")),
            ("jku", json!("https://evil.example/jwks"), TokenError::Header("jku")),
            ("jwk", json!({"kty": "EC"}), TokenError::Header("jwk")),
            ("x5u", json!("https://evil.example/"), TokenError::Header("x5u")),
            ("x5c", json!(["AAAA"]), TokenError::Header("x5c")),
            ("kid", json!("other"), TokenError::UnknownKey(KeyId::parse("other"))),
            ("kid", json!("../k"), TokenError::UnknownKey(None)),
            ("kid", Value::Null, TokenError::UnknownKey(None)),
        ] {
            let result = changed(|header, _| header[member] = value.clone());
            assert_eq!(result, Err(error), "{member}: {value}");
        }
        assert!(changed(|header, _| header["typ"] = json!("application/at+jwt")).is_ok());
        assert!(changed(|header, _| header["unknown"] = json!(1)).is_ok());
    }

    // R12
    #[test]
    fn another_issuer_is_refused() {
        for other in ["https://auth.example.com/", "https://AUTH.example.com", "http://auth.example.com", ""]
        {
            assert_eq!(changed(|_, claims| claims["iss"] = json!(other)), Err(TokenError::Issuer), "{other}");
        }
    }

    // R12
    #[test]
    fn times_are_checked_against_the_moment_that_is_passed() {
        let keys = keys(&["k"]);
        let token = keys.mint(&claims()).unwrap();
        let at = |now| verify(token.expose(), &keys, ISSUER, now).map(|_| ());
        assert_eq!(at(later(3599)), Ok(()));
        assert_eq!(at(later(3600)), Err(TokenError::Expired), "no leeway");
        assert_eq!(at(NOW.before(Duration::from_secs(30))), Ok(()));
        assert_eq!(at(NOW.before(Duration::from_secs(31))), Err(TokenError::NotYet));
        for (nbf, result) in [(30, None), (31, Some(TokenError::NotYet))] {
            let nbf = later(nbf).seconds();
            assert_eq!(changed(|_, claims| claims["nbf"] = json!(nbf)).err(), result);
        }
    }

    // R12
    #[test]
    fn every_claim_must_be_there_and_of_its_type() {
        let (_, claims) = ordinary();
        for claim in claims.as_object().unwrap().keys() {
            let without = changed(|_, claims| {
                claims.as_object_mut().unwrap().remove(claim);
            });
            assert!(
                matches!(&without, Err(TokenError::Claim(name)) if name == claim),
                "{claim}: {without:?}"
            );
            for wrong in [json!(null), json!([]), json!(1.5), json!(-1), json!({"a": 1})] {
                let result = changed(|_, claims| claims[claim] = wrong.clone());
                assert!(
                    matches!(&result, Err(TokenError::Claim(name)) if name == claim),
                    "{claim}: {result:?}"
                );
            }
        }
        for (claim, value) in [
            ("aud", json!(["https://fetch.example.com/mcp"])),
            ("exp", json!("1800003600")),
            ("exp", json!(1_800_003_600.0)),
            ("nbf", json!("now")),
            ("sid", json!("short")),
            ("client_id", json!("two words")),
            ("email", json!(1)),
        ] {
            let result = changed(|_, claims| claims[claim] = value.clone());
            assert!(matches!(&result, Err(TokenError::Claim(name)) if *name == claim), "{claim}: {result:?}");
        }
    }

    #[test]
    fn what_is_no_compact_jws_is_malformed() {
        let keys = keys(&["k"]);
        let good = keys.mint(&claims()).unwrap().expose().to_owned();
        let (header, claims) = ordinary();
        let (header, claims) = (header.to_string(), claims.to_string());
        let arrays = sign(&keys, r#"["ES256","at+jwt","k"]"#, &claims);
        let twice = sign(&keys, &header.replace('{', r#"{"alg":"none","#), &claims);
        let long = sign(&keys, &header, &claims.replace("octocat", &"a".repeat(3000)));
        assert!(long.len() > 4096);
        let padded = format!("{good}=");
        let (unsigned, _) = good.rsplit_once('.').unwrap();
        for wrong in [
            "",
            "..",
            "a.b.c",
            unsigned,
            &good[1..],
            &padded,
            &format!("{good}."),
            &format!(".{good}"),
            &good.replace('.', ". "),
            &arrays,
            &twice,
            &long,
            &sign(&keys, &header, "[]"),
            &sign(&keys, &header, "1"),
            &sign(&keys, &header, "{"),
            &sign(&keys, "", ""),
        ] {
            assert_eq!(verify(wrong, &keys, ISSUER, NOW).unwrap_err(), TokenError::Malformed, "{wrong}");
        }
        assert_eq!(verify(&format!("{unsigned}."), &keys, ISSUER, NOW).unwrap_err(), TokenError::Signature);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        // R12: no changed token verifies as something else.
        #[test]
        fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), byte in "[A-Za-z0-9_.-]") {
            let keys = keys(&["k"]);
            let token = keys.mint(&claims()).unwrap().expose().to_owned();
            let at = at.index(token.len());
            let changed = format!("{}{byte}{}", &token[..at], &token[at + 1..]);
            prop_assert_eq!(verify(&changed, &keys, ISSUER, NOW).is_ok(), changed == token);
        }

        #[test]
        fn any_text_is_verified_or_refused(
            text in "\\PC{0,60}",
            parts in proptest::collection::vec("[A-Za-z0-9_-]{0,20}", 3),
            header in "\\{(\"(alg|typ|kid|crit)\":(\"ES256\"|\"at\\+jwt\"|\"k\"|null|1),?){0,4}\\}",
        ) {
            let keys = keys(&["k"]);
            prop_assert!(verify(&text, &keys, ISSUER, NOW).is_err());
            prop_assert!(verify(&parts.join("."), &keys, ISSUER, NOW).is_err());
            let headed = format!("{}.{}.{}", encoded(&header), parts[1], parts[2]);
            prop_assert!(verify(&headed, &keys, ISSUER, NOW).is_err());
        }
    }
}
