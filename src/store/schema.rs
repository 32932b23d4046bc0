//! Every key of the store, how long it lives and how it is written. Golden bytes below: a change here is a change of
//! every operator's store, and needs a new version that the one before can be upgraded from.
//!
//! | name | what | written as | ends |
//! |---|---|---|---|
//! | `meta:schema` | [`SCHEMA`] | record | never |
//! | `meta:check` | [`CHECK`] | sealed | never |
//! | `client:<digest of id>` | [`Client`] | record | `client.expires` |
//! | `assertion:<digest of client id and jti>` | [`AttemptId`] | record | when the assertion does |
//! | `flow:<digest of state>` | [`Flow`] | sealed | `flow.expires` |
//! | `session:<digest of cookie>` | [`Session`] | record | `session.expires` |
//! | `grant:<grant id>`, in its shard | [`Grant`] | record | [`Grant::expires`] |
//! | `revoked:<shard>`, in its shard | [`Revocation`] | log | entries by `sweep` |
//! | `grants-of-user:<digest of subject>` | grant ids | log, a hint | entries with the longest grant |
//! | `grants-of-client:<digest of id>` | grant ids | log, a hint | entries with the longest grant |
//! | `pin:<digest of login>` | [`Pin`] | record | never |
//! | `pins-of:<digest of subject>` | logins | log, a hint | never |
//! | `ring:signing`, `ring:refresh`, `ring:session` | [`StoredKey`]s | sealed | never |
//! | `count:<digest of name>:<window>` | a counter | number | with its window |
//!
//! A record is a version byte and JSON `{"exp":…,"value":…}`, `exp` absent where there is no end. A sealed record is the
//! same inside [`Sealer::seal`] under its name, behind a version byte. A log's entries are text.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::backend::Name;
use super::{Damage, Flow, Revocation, RingKind, Session, StoreError, StoredKey};
use crate::oauth::{AttemptId, Client, ClientId, Grant, GrantId, ShardId, Subject};
use crate::seal::Sealer;
use crate::secret::{Digest, Secret};
use crate::time::Timestamp;

/// The schema this version writes, and the newest it can read.
pub const SCHEMA: u32 = 1;
/// What `meta:check` says when it opens.
pub(super) const CHECK: &str = "portcullis";
/// How the names of the revocation logs begin: those a reader goes on from where it was.
pub(super) const REVOKED: &str = "revoked:";
/// The form of every record.
const VERSION: u8 = 1;

/// A record's type: how it is written.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// Whether it is sealed.
    const SEALED: bool = false;
}

impl Record for u32 {}
impl Record for Client {}
impl Record for AttemptId {}
impl Record for Session {}
impl Record for Grant {}
impl Record for Pin {}
impl Record for String {
    const SEALED: bool = true;
}
impl Record for Flow {
    const SEALED: bool = true;
}
impl Record for Vec<StoredKey> {
    const SEALED: bool = true;
}

/// Whose a login of the access rules is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    /// The login, lower-case.
    pub(super) login: String,
    /// Who signed in with it first.
    pub(super) subject: Subject,
}

/// A record as read: what it says, and when that ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read<T> {
    pub(super) value: T,
    pub(super) exp: Option<Timestamp>,
}

impl<T> Read<T> {
    /// The record, unless it has ended.
    pub(super) fn at(self, now: Timestamp) -> Option<T> {
        self.exp.is_none_or(|exp| now < exp).then_some(self.value)
    }
}

#[derive(Serialize)]
struct EnvelopeOut<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<Timestamp>,
    value: &'a T,
}

#[derive(Deserialize)]
struct EnvelopeIn<T> {
    exp: Option<Timestamp>,
    value: T,
}

/// The bytes of a record.
///
/// # Panics
/// Never: records are structs of text and numbers, which JSON can always say.
pub(super) fn write<T: Record>(name: &Name, value: &T, exp: Option<Timestamp>, sealer: &Sealer) -> Vec<u8> {
    let json = serde_json::to_vec(&EnvelopeOut { exp, value }).expect("a record is plain data");
    let body = if T::SEALED { sealer.seal(name.as_str(), &json) } else { json };
    [&[VERSION], body.as_slice()].concat()
}

/// Reads what [`write()`] wrote under the same name.
pub(super) fn read<T: Record>(name: &Name, bytes: &[u8], sealer: &Sealer) -> Result<Read<T>, StoreError> {
    let Some((&VERSION, body)) = bytes.split_first() else {
        return Err(StoreError::damaged(name, Damage::Form));
    };
    let opened;
    let json = if T::SEALED {
        opened = sealer.open(name.as_str(), body).map_err(|error| StoreError::damaged(name, error))?;
        opened.as_slice()
    } else {
        body
    };
    let envelope: EnvelopeIn<T> = serde_json::from_slice(json)
        .map_err(|error| StoreError::damaged(name, Damage::Content(error.column())))?;
    Ok(Read { value: envelope.value, exp: envelope.exp })
}

fn digested(kind: &str, text: &str) -> Name {
    Name::new(format!("{kind}:{}", Digest::of(text.as_bytes()).to_base64url()))
}

pub(super) fn schema() -> Name {
    Name::new("meta:schema".to_owned())
}

pub(super) fn check() -> Name {
    Name::new("meta:check".to_owned())
}

pub(super) fn client(id: &ClientId) -> Name {
    digested("client", id.as_str())
}

/// A client id has no space in it, so two pairs never are one name.
pub(super) fn assertion(client: &ClientId, token_id: &str) -> Name {
    digested("assertion", &format!("{client} {token_id}"))
}

pub(super) fn flow(state: &Secret) -> Name {
    digested("flow", state.expose())
}

pub(super) fn session(cookie: &Secret) -> Name {
    digested("session", cookie.expose())
}

pub(super) fn grant(id: GrantId) -> Name {
    Name::in_shard(format!("grant:{id}"), id.shard())
}

pub(super) fn revoked(shard: ShardId) -> Name {
    Name::in_shard(format!("{REVOKED}{:02}", shard.index()), shard)
}

pub(super) fn grants_of_user(subject: &Subject) -> Name {
    digested("grants-of-user", subject.as_str())
}

pub(super) fn grants_of_client(id: &ClientId) -> Name {
    digested("grants-of-client", id.as_str())
}

pub(super) fn pin(login: &str) -> Name {
    digested("pin", login)
}

pub(super) fn pins_of(subject: &Subject) -> Name {
    digested("pins-of", subject.as_str())
}

pub(super) fn ring(kind: RingKind) -> Name {
    let name = match kind {
        RingKind::Signing => "ring:signing",
        RingKind::Refresh => "ring:refresh",
        RingKind::Session => "ring:session",
    };
    Name::new(name.to_owned())
}

/// A counter of `name` in one of its windows, which are numbered from the epoch on.
pub(super) fn count(name: &str, window: u64) -> Name {
    Name::new(format!("{}:{window}", digested("count", name)))
}

/// `<grant id> <seconds>`.
pub(super) fn write_revocation(revocation: Revocation) -> Vec<u8> {
    format!("{} {}", revocation.grant, revocation.at.seconds()).into_bytes()
}

/// Reads what [`write_revocation`] wrote.
pub(super) fn read_revocation(entry: &[u8]) -> Result<Revocation, StoreError> {
    let parse = || {
        let (grant, at) = std::str::from_utf8(entry).ok()?.split_once(' ')?;
        let at = Timestamp::from_seconds(at.parse().ok()?);
        Some(Revocation { grant: GrantId::parse(grant)?, at })
    };
    parse().ok_or_else(|| StoreError::damaged("revoked", Damage::Form))
}

#[cfg(test)]
mod tests;
