//! An access token taken apart for an operator: every check of [`verify`] by itself, none of which stops the next. The
//! verdict is `verify`'s own; if the checks do not show what it refuses, it is said in its words.

use jsonwebtoken::{Algorithm, crypto};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Claims, MAX_LENGTH, Parts, ReadClaims, ReadHeader, TokenError, json_object, verify};
use crate::time::Timestamp;
use crate::token::SigningKeys;

/// How one check of a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// As it must be.
    Ok,
    /// For this the token is refused.
    Refused,
    /// Nothing that this request is refused for, and worth knowing.
    Note,
}

/// One check of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Of what: a claim, a member of the header, or a word.
    pub of: String,
    /// What it has to be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// How it ended.
    pub finding: Finding,
}

impl Check {
    /// A check that decides.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "texts, numbers and errors alike, made for this call")]
    pub fn new(of: &str, expected: impl ToString, found: impl ToString, passed: bool) -> Self {
        let finding = if passed { Finding::Ok } else { Finding::Refused };
        Self { of: of.to_owned(), expected: expected.to_string(), found: found.to_string(), finding }
    }

    /// Something that decides nothing: fine as it is, or worth a note.
    #[must_use]
    pub fn aside(of: &str, expected: impl ToString, found: impl ToString, fine: bool) -> Self {
        let finding = if fine { Finding::Ok } else { Finding::Note };
        Self { finding, ..Self::new(of, expected, found, true) }
    }
}

/// Every check that [`verify`] makes of `token`. All are passed if and only if it is accepted.
#[must_use]
pub fn inspect(token: &str, keys: &SigningKeys, issuer: &str, now: Timestamp) -> Vec<Check> {
    let mut checks = Vec::new();
    take_apart(token, keys, (issuer, now), &mut checks);
    if let Err(error) = verify(token, keys, issuer, now)
        && checks.iter().all(|check| check.finding != Finding::Refused)
    {
        checks.push(Check::new("token", "accepted", error, false));
    }
    checks
}

/// What a token says, whoever made it: to be shown, never believed.
#[must_use]
pub fn claimed(token: &str) -> Option<Claims> {
    ReadClaims(json_object(Parts::split(token)?.claims)?).read().ok()
}

fn take_apart(token: &str, keys: &SigningKeys, (issuer, now): (&str, Timestamp), checks: &mut Vec<Check>) {
    let form = format!("three parts of base64url with JSON in them, at most {MAX_LENGTH} characters");
    let parts = Parts::split(token);
    let header = parts.as_ref().and_then(|parts| json_object::<ReadHeader>(parts.header));
    let claims = parts.as_ref().and_then(|parts| json_object::<Map<String, Value>>(parts.claims));
    let (Some(parts), Some(header), Some(claims)) = (parts, header, claims) else {
        let found = format!("{} parts, {} characters", token.split('.').count(), token.len());
        checks.push(Check::new("form", form, found, false));
        return;
    };
    checks.push(Check::new("form", form, "that", true));
    of_header(&header, checks);
    of_signature(&parts, &header, keys, checks);
    of_claims(&ReadClaims(claims), issuer, now, checks);
}

fn of_header(header: &ReadHeader, checks: &mut Vec<Check>) {
    checks.push(Check::new("alg", "ES256", &header.alg, header.has_our_algorithm()));
    let found = header.typ.as_deref().unwrap_or(ABSENT);
    checks.push(Check::new("typ", "at+jwt", found, header.has_our_type()));
    for name in header.refused() {
        checks.push(Check::new(name, ABSENT, "present", false));
    }
}

fn of_signature(parts: &Parts<'_>, header: &ReadHeader, keys: &SigningKeys, checks: &mut Vec<Check>) {
    let key = header.key_id().and_then(|kid| keys.named(&kid));
    let found = header.kid.as_deref().unwrap_or(ABSENT);
    checks.push(Check::new("kid", "a key of this gateway that is trusted now", found, key.is_some()));
    let Some(key) = key else { return };
    let verified =
        crypto::verify(parts.signature, parts.signed.as_bytes(), key.public(), Algorithm::ES256).ok();
    let found = match verified {
        Some(true) => "by that key",
        Some(false) => "not by that key, or the token was changed",
        None => "no signature",
    };
    checks.push(Check::new("signature", "by that key", found, verified == Some(true)));
}

fn of_claims(claims: &ReadClaims, issuer: &str, now: Timestamp, checks: &mut Vec<Check>) {
    checks.push(Check::new("iss", issuer, claims.shown("iss"), claims.text("iss") == Ok(issuer)));
    let is_good = claims.time("exp").is_ok_and(|ends| now < ends);
    checks.push(Check::new("exp", format!("after now, {}", now.seconds()), claims.shown("exp"), is_good));
    for claim in ["iat", "nbf"] {
        if claim == "nbf" && !claims.0.contains_key("nbf") {
            continue;
        }
        let expected = format!("at most 30 s after now, {}", now.seconds());
        checks.push(Check::new(
            claim,
            expected,
            claims.shown(claim),
            claims.is_too_early(claim, now) == Ok(false),
        ));
    }
    // What is right about these only a service can say; here they must be readable.
    match claims.read() {
        Ok(_) | Err(TokenError::Claim("iss" | "exp" | "iat")) => {}
        Err(TokenError::Claim(claim)) => {
            checks.push(Check::new(claim, "present, in the form of ours", claims.shown(claim), false));
        }
        Err(other) => checks.push(Check::new("claims", "readable", other, false)),
    }
}

impl ReadClaims {
    /// A claim as it stands there.
    fn shown(&self, claim: &str) -> String {
        match self.0.get(claim) {
            None => ABSENT.to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

const ABSENT: &str = "absent";
