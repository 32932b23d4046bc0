//! Sealing: AES-256-GCM for what others keep and must give back, under keys derived by HKDF from a root key: `secret_key`
//! for what the store keeps, a key of the store for what clients keep.
//!
//! Every use of a root key has a label of its own with a version in it, so that no key serves two purposes and a changed
//! construction never meets values of the old one.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac};

use crate::secret::{Key, Secret, to_base64url};

/// The form of a sealed value: this byte, a nonce, ciphertext and tag.
const VERSION: u8 = 1;
/// HKDF's salt: public, and the same for every installation.
const SALT: &[u8] = b"portcullis v1";
/// HKDF's info of the key that seals.
const SEALING: &str = "portcullis v1 seal";
/// Goes before a caller's label, so that none can spell [`SEALING`].
const DERIVING: &str = "portcullis v1 derive ";

/// Seals and opens values under one root key, and derives keys for MACs from it. Clones share the expanded AES key.
#[derive(Clone)]
pub struct Sealer {
    root: Key,
    cipher: Arc<RandomizedNonceKey>,
    previous: Option<Arc<Self>>,
}

/// A value that does not open: another key's, another name's, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value does not open with this key")]
pub struct Unsealable;

impl Sealer {
    /// A sealer under `root`: `secret_key`, or a key that the store keeps. Nonces are random, so one root is good for 2^32
    /// values (NIST SP 800-38D §8.3).
    ///
    /// # Panics
    /// Never: HKDF gives as many bytes as the cipher wants.
    #[must_use]
    pub fn new(root: Key) -> Self {
        let key = expand(&root, SEALING);
        let cipher =
            RandomizedNonceKey::new(&AES_256_GCM, key.expose()).expect("32 bytes are an AES-256 key");
        Self { root, cipher: Arc::new(cipher), previous: None }
    }

    /// The same, which also opens what was sealed under `previous`, and knows the keys that were derived from it.
    #[must_use]
    pub fn with_previous(self, previous: Key) -> Self {
        Self { previous: Some(Arc::new(Self::new(previous))), ..self }
    }

    /// The sealer of the previous root key, if there is one.
    #[must_use]
    pub fn previous(&self) -> Option<&Self> {
        self.previous.as_deref()
    }

    /// Seals `plain` under `name` (the logical name: kind and digest, without prefix or tag), which must be given again to
    /// open it. Output: version byte, 12-byte nonce, ciphertext and tag.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: nothing can be done safely then.
    #[must_use]
    pub fn seal(&self, name: &str, plain: &[u8]) -> Vec<u8> {
        let mut body = plain.to_vec();
        let nonce = self
            .cipher
            .seal_in_place_append_tag(Aad::from(associated(name)), &mut body)
            .expect("the random generator answers, and a value is far below AES-GCM's 64 GiB");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        sealed
    }

    /// Opens what [`Self::seal`] made under the same `name`, with this root key or with the previous one.
    ///
    /// # Errors
    /// [`Unsealable`].
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        match (self.open_as_new(name, sealed), &self.previous) {
            (Err(Unsealable), Some(previous)) => previous.open(name, sealed),
            (opened, _) => opened,
        }
    }

    /// Opens what was made with this root key, and nothing that was made with the previous one.
    ///
    /// # Errors
    /// [`Unsealable`].
    pub fn open_as_new(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (&version, rest) = sealed.split_first().ok_or(Unsealable)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        if version != VERSION {
            return Err(Unsealable);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut body = body.to_vec();
        let plain = self
            .cipher
            .open_in_place(nonce, Aad::from(associated(name)), &mut body)
            .map_err(|_| Unsealable)?
            .len();
        body.truncate(plain);
        Ok(body)
    }

    /// A key for another purpose, by HKDF-SHA-256 with `label` as info.
    #[must_use]
    pub fn derive(&self, label: &str) -> Key {
        expand(&self.root, &format!("{DERIVING}{label}"))
    }

    /// [`Self::derive`], and the same of the previous root key: what a MAC that comes back may have been made with.
    pub fn derived(&self, label: &str) -> impl Iterator<Item = Key> {
        std::iter::successors(Some(self), |sealer| sealer.previous()).map(|sealer| sealer.derive(label))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// HKDF-SHA-256 (RFC 5869): extract with our salt, expand with `info`.
fn expand(root: &Key, info: &str) -> Key {
    let mut out = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
        .extract(root.expose())
        .expand(&[info.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("HKDF-SHA-256 gives 32 bytes");
    Key::new(out)
}

/// What a sealed value is bound to: its form and its name.
fn associated(name: &str) -> Vec<u8> {
    [&[VERSION], name.as_bytes()].concat()
}

/// HMAC-SHA-256 of `parts`, of which no two lists look the same to it. The tag in base64url, 43 characters.
#[must_use]
pub fn mac(key: &Key, parts: &[&[u8]]) -> Secret {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    Secret::new(to_base64url(hmac::sign(&key, &joined(parts)).as_ref()))
}

/// Whether `tag` is the [`mac`] of `parts`. Takes the same time whether it is or not.
#[must_use]
pub fn is_mac(tag: &[u8; 32], key: &Key, parts: &[&[u8]]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    hmac::verify(&key, &joined(parts), tag).is_ok()
}

/// `parts`, each preceded by its length (8 bytes, big-endian).
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::base64url;

    fn sealer() -> Sealer {
        Sealer::new(Key::new([0x42; 32]))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .bytes()
            .map(|digit| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap())
            .collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn what_was_sealed_opens_under_its_name_only() {
        let sealed = sealer().seal("flow:abc", b"the verifier");
        assert_eq!(sealer().open("flow:abc", &sealed), Ok(b"the verifier".to_vec()));
        assert_eq!(sealer().open("flow:abd", &sealed), Err(Unsealable), "another name");
        let other = Sealer::new(Key::new([0x43; 32]));
        assert_eq!(other.open("flow:abc", &sealed), Err(Unsealable), "another key");
    }

    // secret-key-changed
    #[test]
    fn what_the_previous_key_sealed_opens_and_is_told_from_what_the_new_one_did() {
        let (old, new) = (sealer(), Sealer::new(Key::new([0x43; 32])));
        let both = new.clone().with_previous(Key::new([0x42; 32]));
        let (before, after) = (old.seal("n", b"before"), both.seal("n", b"after"));
        assert_eq!(both.open("n", &before), Ok(b"before".to_vec()));
        assert_eq!(both.open_as_new("n", &before), Err(Unsealable));
        assert_eq!(both.open("m", &before), Err(Unsealable), "another name");
        assert_eq!(new.open("n", &after), Ok(b"after".to_vec()), "it seals with the new one");
        assert_eq!(old.open("n", &after), Err(Unsealable));
        let keys: Vec<_> = both.derived("form").map(|key| *key.expose()).collect();
        assert_eq!(keys, [*new.derive("form").expose(), *old.derive("form").expose()]);
        assert_eq!(old.derived("form").count(), 1);
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let sealed = sealer().seal("n", b"plain");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(sealer().open("n", &changed), Err(Unsealable), "byte {index} flipped");
            assert_eq!(sealer().open("n", &sealed[..index]), Err(Unsealable), "cut at {index}");
        }
    }

    #[test]
    fn the_same_value_is_never_sealed_the_same_way_twice() {
        assert_ne!(sealer().seal("n", b"plain"), sealer().seal("n", b"plain"));
        assert!(!hex(&sealer().seal("n", b"plain")).contains(&hex(b"plain")));
    }

    #[test]
    fn an_empty_value_can_be_sealed() {
        assert_eq!(sealer().open("n", &sealer().seal("n", b"")), Ok(Vec::new()));
    }

    /// The golden values were computed by an independent implementation (Python's `hmac` and `cryptography`): a store
    /// that an earlier build wrote must stay readable.
    #[test]
    fn the_construction_does_not_change() {
        assert_eq!(
            hex(sealer().derive("cookies").expose()),
            "1763cba8dc4e1eab50b042570ec68cb32d0dcfccd9c4b9ff7474afc2a5b4081e"
        );
        let sealed =
            unhex("01000102030405060708090a0bc92549b63c197beb3d0d9aa8c09c499e663390a16e5ea5a14276e4e5");
        assert_eq!(sealer().open("flow:abc", &sealed), Ok(b"the verifier".to_vec()));
        assert_eq!(
            mac(&Key::new([7; 32]), &[b"one", b""]).expose(),
            "qEdmgIU8l8Fnsu7XBRkRBnXgT2xn0QUEVtrvseKNrys"
        );
    }

    #[test]
    fn derived_keys_differ_by_label_and_from_the_sealing_key() {
        assert_ne!(sealer().derive("a").expose(), sealer().derive("b").expose());
        assert_ne!(sealer().derive("seal").expose(), expand(&Key::new([0x42; 32]), SEALING).expose());
    }

    #[test]
    fn clones_share_one_cipher_and_debug_shows_no_key() {
        let sealer = sealer();
        assert!(Arc::ptr_eq(&sealer.cipher, &sealer.clone().cipher), "the key schedule is made once");
        assert_eq!(format!("{sealer:?}"), "Sealer");
    }

    #[test]
    fn a_mac_depends_on_where_its_parts_are_cut() {
        let key = Key::new([7; 32]);
        assert_eq!(mac(&key, &[b"ab", b"c"]), mac(&key, &[b"ab", b"c"]));
        for other in [&[b"a".as_slice(), b"bc"] as &[&[u8]], &[b"abc"], &[b"ab", b"c", b""], &[b"c", b"ab"]] {
            assert_ne!(mac(&key, &[b"ab", b"c"]), mac(&key, other));
        }
        assert_ne!(mac(&key, &[b"ab", b"c"]), mac(&Key::new([8; 32]), &[b"ab", b"c"]));
    }

    #[test]
    fn a_tag_is_believed_for_its_own_key_and_parts_only() {
        let key = Key::new([7; 32]);
        let tag = base64url(mac(&key, &[b"ab", b"c"]).expose()).unwrap();
        assert!(is_mac(&tag, &key, &[b"ab", b"c"]));
        assert!(!is_mac(&tag, &key, &[b"a", b"bc"]));
        assert!(!is_mac(&tag, &Key::new([8; 32]), &[b"ab", b"c"]));
        let mut changed = tag;
        changed[31] ^= 1;
        assert!(!is_mac(&changed, &key, &[b"ab", b"c"]));
    }
}
