//! Identifiers, each a type of its own, so that none can stand where another belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret;

/// How many revocation logs there are; a grant's log is its id modulo this.
pub const SHARDS: u8 = 32;

/// An OAuth client's identifier (RFC 6749 §2.2): one of ours (`c_` and 22 URL-safe characters), or one
/// from the configuration. 1 to 512 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(String);

impl ClientId {
    /// The id of a client that registers now, from 16 random bytes.
    #[must_use]
    pub fn issue(random: [u8; 16]) -> Self {
        Self(format!("c_{}", secret::to_base64url(&random)))
    }

    /// Reads an id from a request; `None` if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// Whether it has the form of those that [`Self::issue`] makes: a registered client's.
    #[must_use]
    pub fn is_issued(&self) -> bool {
        self.0.strip_prefix("c_").is_some_and(|random| secret::base64url::<16>(random).is_some())
    }

    /// The id as it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a client id")
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A grant's identifier: the tokens' `sid`. 16 random bytes, 22 characters in base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId([u8; 16]);

/// Which of the [`SHARDS`] revocation logs a grant belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(u8);

impl GrantId {
    /// A new grant's id, from 16 random bytes.
    #[must_use]
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads the 22 characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        secret::base64url(text).map(Self)
    }

    /// The bytes, as they go into a MAC.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The revocation log this grant's end is written to.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        ShardId(self.0[15] % SHARDS)
    }
}

impl ShardId {
    /// Every shard, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// 0 to 31.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&secret::to_base64url(&self.0))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({self})")
    }
}

impl Serialize for GrantId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GrantId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a grant id"))
    }
}

/// Who a user is to us and to the servers behind: `github:<numeric id>` or `dev:<name>`. Never a login, which
/// its owner can change and somebody else can take over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

/// What stands before the colon where a client acts on its own.
const CLIENT: &str = "client";

impl Subject {
    /// A subject from an identity provider's name and its id for the user.
    #[must_use]
    pub fn new(provider: &str, id: &str) -> Self {
        Self(format!("{provider}:{id}"))
    }

    /// A configured client that acts on its own (RFC 6749 §4.4): `client:<id>`. No identity provider has this name, so no
    /// person is ever taken for a client.
    #[must_use]
    pub fn of_client(client: &ClientId) -> Self {
        Self::new(CLIENT, client.as_str())
    }

    /// Whether this is a client that acts on its own, and no person.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.0.split_once(':').is_some_and(|(provider, _)| provider == CLIENT)
    }

    /// A subject as it stands in a token or record.
    #[must_use]
    pub const fn from_text(text: String) -> Self {
        Self(text)
    }

    /// `github:583231`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The provider's own id: what stands behind the colon.
    #[must_use]
    pub fn bare(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(_, id)| id)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Written into every record by the commit that made it, so that a commit whose answer was lost is
/// recognised when the record is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(u64);

impl AttemptId {
    /// An id from 8 random bytes.
    #[must_use]
    pub const fn new(random: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(random))
    }
}

/// The name of a key: a JWT's `kid`, the first part of a refresh token. 1 to 32 URL-safe characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// A new key's id, from 6 random bytes.
    #[must_use]
    pub fn issue(random: [u8; 6]) -> Self {
        Self(secret::to_base64url(&random))
    }

    /// Reads an id from a token; `None` if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        ((1..=32).contains(&text.len()) && text.bytes().all(url_safe)).then(|| Self(text.to_owned()))
    }

    /// The id as it stands in a token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_1_to_512_visible_ascii_characters() {
        for fits in ["c", "https://claude.ai/oauth/client", &"c".repeat(512)] {
            assert_eq!(ClientId::parse(fits).unwrap().as_str(), fits);
        }
        for wrong in ["", " ", "a b", "a\n", "é", &"c".repeat(513)] {
            assert_eq!(ClientId::parse(wrong), None, "{wrong}");
            assert!(serde_json::from_value::<ClientId>(wrong.into()).is_err(), "{wrong}");
        }
        assert_eq!(ClientId::issue([0; 16]).as_str(), "c_AAAAAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn a_grant_id_is_read_in_one_spelling_only() {
        let id = GrantId::new([255; 16]);
        assert_eq!(id.to_string(), "_____________________w");
        assert_eq!(GrantId::parse(&id.to_string()), Some(id));
        for wrong in ["", "_____________________x", "_____________________", "/////////////////////w"] {
            assert_eq!(GrantId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_grant_has_one_of_the_shards() {
        assert_eq!(ShardId::all().count(), usize::from(SHARDS));
        for byte in 0..=255 {
            assert!(ShardId::all().any(|shard| shard == GrantId::new([byte; 16]).shard()));
        }
    }

    #[test]
    fn a_key_id_has_no_dot() {
        assert_eq!(KeyId::issue([255; 6]).as_str(), "________");
        for wrong in ["", "a.b", "a b", "é", &"k".repeat(33)] {
            assert_eq!(KeyId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_client_that_acts_on_its_own_is_no_person() {
        let client = Subject::of_client(&ClientId::parse("ci").unwrap());
        assert_eq!((client.as_str(), client.is_client()), ("client:ci", true));
        for person in ["github:583231", "dev:client", "dev:client:ci", "clients:ci", "client"] {
            assert!(!Subject::from_text(person.to_owned()).is_client(), "{person}");
        }
    }

    // F3
    #[test]
    fn a_bare_subject_is_the_provider_s_own_id() {
        assert_eq!(Subject::new("github", "583231").bare(), "583231");
        assert_eq!(Subject::from_text("dev:a:b".to_owned()).bare(), "a:b");
        assert_eq!(Subject::from_text("plain".to_owned()).bare(), "plain");
    }
}
