//! The public keys of a client that signs its proof (`private_key_jwt`), from a JWK Set (RFC 7517 §5).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// What a key signs with. It is the key that says so, never the header of what was signed (RFC 8725 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Es256,
    Rs256,
    EdDsa,
}

/// The keys of one client, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKeys(Vec<ClientKey>);

/// One of them.
#[derive(Clone)]
pub(super) struct ClientKey {
    id: Option<String>,
    algorithm: Algorithm,
    public: ParsedPublicKey,
}

/// Why a JWK Set is none of a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeysError {
    /// No object with the array `keys` of objects.
    #[error("no JWK Set, {{ \"keys\": [...] }}")]
    NotASet,
    /// A private or a symmetric key: nobody but the client may have it.
    #[error("a private key, which nobody but the client may have")]
    Private,
    /// More than [`MOST`].
    #[error("more than {MOST} keys")]
    TooMany,
    /// None that verifies ES256 (P-256), RS256 (2048 bits or more) or `EdDSA` (Ed25519).
    #[error("no key that verifies ES256, RS256 (2048 bits or more) or EdDSA (Ed25519)")]
    NoneUsable,
}

/// Most keys in a set: a rotation needs two, and each may be tried.
const MOST: usize = 16;

/// The members of a JWK that only its owner may know (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl ClientKeys {
    /// Reads a JWK Set. Keys for something else (encryption, other curves) are passed over; a private one is an error.
    ///
    /// # Errors
    /// [`ClientKeysError`].
    pub fn read(set: &Value) -> Result<Self, ClientKeysError> {
        let keys = set.get("keys").and_then(Value::as_array).ok_or(ClientKeysError::NotASet)?;
        let keys: Option<Vec<&Map<String, Value>>> = keys.iter().map(Value::as_object).collect();
        let keys = keys.ok_or(ClientKeysError::NotASet)?;
        if keys.iter().any(|key| PRIVATE.iter().any(|member| key.contains_key(*member))) {
            return Err(ClientKeysError::Private);
        }
        if keys.len() > MOST {
            return Err(ClientKeysError::TooMany);
        }
        let usable: Vec<_> = keys.into_iter().filter_map(ClientKey::read).collect();
        if usable.is_empty() { Err(ClientKeysError::NoneUsable) } else { Ok(Self(usable)) }
    }

    /// The keys that may have signed something whose header names `algorithm` and, perhaps, a key. A key without a
    /// name may be meant by any.
    pub(super) fn candidates<'a>(
        &'a self,
        algorithm: &'a str,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a ClientKey> {
        let named = move |key: &&ClientKey| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
        self.0.iter().filter(move |key| key.algorithm.as_str() == algorithm).filter(named)
    }
}

impl ClientKey {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |member: &str| jwk.get(member).and_then(Value::as_str);
        let bytes = |member: &str| URL_SAFE_NO_PAD.decode(text(member)?).ok();
        let (algorithm, public) = match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => {
                // The uncompressed form of SEC 1 §2.3.3: 4, x, y.
                let (x, y) = (bytes("x")?, bytes("y")?);
                let point = (x.len() == 32 && y.len() == 32).then(|| [&[4], &x[..], &y[..]].concat())?;
                (Algorithm::Es256, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?)
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, bytes("x")?).ok()?),
            ("RSA", None) => {
                let components = RsaPublicKeyComponents { n: bytes("n")?, e: bytes("e")? };
                let bits = components.n.len() * 8 - components.n.first()?.leading_zeros() as usize;
                let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
                (Algorithm::Rs256, parsed.ok().filter(|_| (2048..=8192).contains(&bits))?)
            }
            _ => return None,
        };
        let for_signing = text("use").is_none_or(|purpose| purpose == "sig");
        let fits = text("alg").is_none_or(|named| named == algorithm.as_str());
        (for_signing && fits).then(|| Self { id: text("kid").map(str::to_owned), algorithm, public })
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

impl Algorithm {
    /// Its name in a JWT's header (RFC 7518 §3.1, RFC 8037 §3.1).
    const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, algorithm, public } = self;
        (id, algorithm, public.as_ref()) == (&other.id, &other.algorithm, other.public.as_ref())
    }
}

impl Eq for ClientKey {}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({:?}, {:?})", self.algorithm, self.id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{EC_JWK, ED_JWK, RSA_JWK};
    use super::*;

    fn jwk(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn with(text: &str, member: &str, value: Value) -> Value {
        let mut key = jwk(text);
        key[member] = value;
        key
    }

    fn read(keys: &Value) -> Result<usize, ClientKeysError> {
        ClientKeys::read(&json!({ "keys": keys })).map(|keys| keys.0.len())
    }

    #[test]
    fn keys_of_the_three_kinds_are_read_and_others_passed_over() {
        assert_eq!(read(&json!([jwk(EC_JWK), jwk(RSA_JWK), jwk(ED_JWK)])), Ok(3));
        let others = [
            json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }),
            json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
            json!({ "kty": "unheard-of" }),
            json!({}),
            with(EC_JWK, "use", json!("enc")),
            with(EC_JWK, "alg", json!("ES384")),
            with(EC_JWK, "x", json!("AA")),
            // A point that is not on the curve.
            with(EC_JWK, "x", json!("A".repeat(43))),
            with(ED_JWK, "x", json!("AAAA")),
            with(ED_JWK, "x", json!(7)),
            with(RSA_JWK, "e", json!("")),
            with(RSA_JWK, "alg", json!("PS256")),
            // 1,024 bits.
            with(RSA_JWK, "n", json!(format!("{}w", "_".repeat(170)))),
        ];
        for other in others {
            assert_eq!(read(&json!([other.clone()])), Err(ClientKeysError::NoneUsable), "{other}");
            assert_eq!(read(&json!([other, jwk(ED_JWK)])), Ok(1));
        }
    }

    #[test]
    fn what_is_no_set_of_public_keys_is_refused() {
        for wrong in [json!(null), json!([]), json!({}), json!({ "keys": {} }), json!({ "keys": ["x"] })] {
            assert_eq!(ClientKeys::read(&wrong).err(), Some(ClientKeysError::NotASet), "{wrong}");
        }
        assert_eq!(read(&json!([])), Err(ClientKeysError::NoneUsable));
        assert_eq!(read(&json!(vec![jwk(EC_JWK); 17])), Err(ClientKeysError::TooMany));
        for member in PRIVATE {
            let leaked = with(EC_JWK, member, json!("AAAA"));
            assert_eq!(read(&json!([jwk(ED_JWK), leaked])), Err(ClientKeysError::Private), "{member}");
        }
        assert_eq!(read(&json!([{ "kty": "oct", "k": "c2VjcmV0" }])), Err(ClientKeysError::Private));
    }

    #[test]
    fn a_key_is_a_candidate_by_its_algorithm_and_its_name() {
        let named = with(EC_JWK, "kid", json!("one"));
        let set = ClientKeys::read(&json!({ "keys": [named, jwk(ED_JWK)] })).unwrap();
        let count = |algorithm: &str, id: Option<&str>| set.candidates(algorithm, id).count();
        assert_eq!(
            (count("ES256", None), count("ES256", Some("one")), count("ES256", Some("two"))),
            (1, 1, 0)
        );
        assert_eq!((count("EdDSA", None), count("EdDSA", Some("whatever"))), (1, 1), "one without a name");
        assert_eq!((count("none", None), count("HS256", None), count("es256", None)), (0, 0, 0));
    }
}
