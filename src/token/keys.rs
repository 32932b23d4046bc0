//! The keys that sign access tokens.

use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::json;
use zeroize::Zeroizing;

use crate::oauth::KeyId;
use crate::secret::{self, Secret};

/// A P-256 key pair with its name.
pub struct SigningKey {
    id: KeyId,
    private: EncodingKey,
    public: DecodingKey,
    jwk: serde_json::Value,
}

/// Every key in use: the first signs, all verify.
pub struct SigningKeys {
    keys: Vec<SigningKey>,
    jwks: String,
}

/// A signing key that cannot be read, made or used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The system's generator or the cryptographic library fails.
    #[error("no signing key can be made")]
    Make(#[source] Unspecified),
    /// Not base64. The decoder's error would quote the key.
    #[error("the signing key is not base64")]
    Base64,
    /// Not PKCS#8, another curve, or private and public half do not belong together.
    #[error("the signing key is no P-256 key in PKCS#8")]
    Rejected(#[from] KeyRejected),
    /// A public key in another form than SEC 1 §2.3.3's uncompressed one.
    #[error("the signing key's public half cannot be read")]
    Point,
    /// There is no key to sign with.
    #[error("there is no signing key")]
    None,
    /// The cryptographic library fails.
    #[error("the signing key does not sign")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

impl SigningKey {
    /// A fresh P-256 key as PKCS#8, base64: the form in which the store seals it.
    ///
    /// # Errors
    /// [`KeyError`] if the cryptographic library fails.
    pub fn generate() -> Result<Secret, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        pkcs8.map(|document| Secret::new(STANDARD.encode(document.as_ref()))).map_err(KeyError::Make)
    }

    /// Reads what [`Self::generate`] made.
    ///
    /// # Errors
    /// [`KeyError`] if it is none.
    pub fn read(id: KeyId, pkcs8: &Secret) -> Result<Self, KeyError> {
        let der = Zeroizing::new(STANDARD.decode(pkcs8.expose()).map_err(|_| KeyError::Base64)?);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)?;
        let point = pair.public_key().as_ref();
        // The uncompressed form of SEC 1 §2.3.3: 4, x, y.
        let Some((4, coordinates)) = point.split_first().map(|(form, rest)| (*form, rest)) else {
            return Err(KeyError::Point);
        };
        let (x, y) = coordinates.split_at_checked(32).ok_or(KeyError::Point)?;
        let jwk = json!({
            "kty": "EC",
            "crv": "P-256",
            "x": secret::to_base64url(x),
            "y": secret::to_base64url(y),
            "kid": id.as_str(),
            "use": "sig",
            "alg": "ES256",
        });
        Ok(Self { id, private: EncodingKey::from_ec_der(&der), public: DecodingKey::from_ec_der(point), jwk })
    }

    pub(super) const fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) const fn private(&self) -> &EncodingKey {
        &self.private
    }

    pub(super) const fn public(&self) -> &DecodingKey {
        &self.public
    }
}

impl SigningKeys {
    /// `keys[0]` signs.
    ///
    /// # Errors
    /// [`KeyError`] if there is none.
    pub fn new(keys: Vec<SigningKey>) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        let jwks = json!({ "keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() }).to_string();
        Ok(Self { keys, jwks })
    }

    /// The JWK Set (RFC 7517 §5) as JSON text: public parts with `kid`, `use: sig`, `alg: ES256` (V3).
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Whether a key of that name is trusted.
    #[must_use]
    pub fn trusts(&self, id: &KeyId) -> bool {
        self.named(id).is_some()
    }

    /// The name of the key that signs.
    #[must_use]
    pub fn signing(&self) -> Option<&KeyId> {
        self.active().map(SigningKey::id)
    }

    pub(super) fn active(&self) -> Option<&SigningKey> {
        self.keys.first()
    }

    pub(super) fn named(&self, id: &KeyId) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.id == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{key, keys};
    use super::*;

    // V3
    #[test]
    fn the_key_set_has_the_public_parts_and_nothing_else() {
        let set: serde_json::Value = serde_json::from_str(keys(&["new", "old"]).jwks()).unwrap();
        let listed = set["keys"].as_array().unwrap();
        assert_eq!(listed.len(), 2);
        for (jwk, id) in listed.iter().zip(["new", "old"]) {
            let members: Vec<&str> = jwk.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
            assert_eq!((&jwk["kid"], &jwk["kty"], &jwk["crv"]), (&json!(id), &json!("EC"), &json!("P-256")));
            assert_eq!((&jwk["use"], &jwk["alg"]), (&json!("sig"), &json!("ES256")));
            for coordinate in ["x", "y"] {
                assert!(secret::base64url::<32>(jwk[coordinate].as_str().unwrap()).is_some());
            }
        }
    }

    // V3: what an outside verifier does with the set.
    #[test]
    fn a_listed_key_verifies_what_the_private_one_signed() {
        let keys = keys(&["only"]);
        let signed =
            jsonwebtoken::crypto::sign(b"m", keys.keys[0].private(), jsonwebtoken::Algorithm::ES256).unwrap();
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(keys.jwks()).unwrap();
        let public = DecodingKey::from_jwk(set.find("only").unwrap()).unwrap();
        let verified =
            |message| jsonwebtoken::crypto::verify(&signed, message, &public, jsonwebtoken::Algorithm::ES256);
        assert!(verified(b"m").unwrap());
        assert!(!verified(b"n").unwrap());
    }

    #[test]
    fn every_generated_key_is_another() {
        assert!(SigningKey::generate().unwrap() != SigningKey::generate().unwrap());
    }

    #[test]
    fn what_is_no_p_256_key_is_refused() {
        let id = || KeyId::parse("k").unwrap();
        let p384 = EcdsaKeyPair::generate_pkcs8(
            &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            &SystemRandom::new(),
        );
        let good = SigningKey::generate().unwrap();
        let read = |key: &str| SigningKey::read(id(), &Secret::new(key.to_owned())).err();
        assert_eq!(read("not base64!"), Some(KeyError::Base64));
        for wrong in ["", "AAAA", &good.expose()[4..], &STANDARD.encode(p384.unwrap().as_ref())] {
            let error = read(wrong).unwrap();
            assert!(matches!(error, KeyError::Rejected(_)), "{wrong}: {error}");
            assert!(std::error::Error::source(&error).is_some(), "the library says why");
        }
        assert!(SigningKey::read(id(), &good).is_ok());
    }

    #[test]
    fn there_must_be_a_key() {
        assert_eq!(SigningKeys::new(Vec::new()).err(), Some(KeyError::None));
        assert!(SigningKeys::new(vec![key("k")]).is_ok());
    }
}
