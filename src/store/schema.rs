//! Every key of the store, how long it lives and how it is written. Golden bytes below: a change here is a change of
//! every operator's store, and needs a new version that the one before can be upgraded from.
//!
//! | name | what | written as | ends |
//! |---|---|---|---|
//! | `meta:schema` | [`SCHEMA`] | record | never |
//! | `meta:check` | [`CHECK`] | sealed | never |
//! | `meta:resealing` | [`RESEALING`] | record | when nothing is left that a `secret_key` of before sealed |
//! | `meta:restoring` | a restore has begun and not ended | record | when it has ended |
//! | `meta:restored` | a mark that changes with each restore | record | never |
//! | `meta:provider` | [`Provider`] | record | never |
//! | `client:<digest of id>` | [`Client`] | record | `client.expires` |
//! | `assertion:<digest of client id and jti>` | [`AttemptId`] | record | when the assertion does |
//! | `flow:<digest of state>` | [`Flow`], of a client or of our own pages | sealed | `flow.expires` |
//! | `busy:<digest of client id>` | somebody is signing in with it | record | `flow.expires` |
//! | `session:<digest of cookie>` | [`Session`] | record | `session.expires` |
//! | `turns:clients`, `turns:flows`, `turns:sessions-of:<digest of subject>` | how many came | number | never |
//! | `turn:<one of those>:<number>` | [`Place`] | record | with what stands there |
//! | `grant:<grant id>`, in its shard | [`Grant`] | record | [`Grant::expires`] |
//! | `revoked:<shard>`, in its shard | [`Revocation`] | log | entries by `sweep` |
//! | `revoked:issued:<shard>`, in its shard | [`Revocation`] of a long token | log | entries with the longest issued token |
//! | `grants-of-user:<digest of subject>` | grant ids | log, a hint | entries with the longest grant |
//! | `grants-of-client:<digest of id>` | grant ids | log, a hint | entries with the longest grant |
//! | `user:<digest of subject>` | [`UserRecord`] | sealed | `record.expires` |
//! | `pin:<digest of login>` | [`Pin`] | record | never |
//! | `pins-of:<digest of subject>` | logins | log, a hint | never |
//! | `ring:signing`, `ring:refresh`, `ring:session` | [`StoredKey`]s | sealed | never |
//! | `lease:<digest of name>` | [`Lease`] | record | when the lease does |
//! | `acme-account:<digest of directory and binding>` | [`AcmeAccount`] | sealed | never |
//! | `certificate:<digest of directory and host>`, `certificate:<digest of host>` for the newest of all | [`StoredCertificate`] | sealed | long after the certificate |
//! | `acme-order:<digest of directory and host>` | [`AcmeOrder`] | sealed | with the order, or a week later |
//! | `challenge:<digest of kind, host and token>` | what it is answered with | sealed | an hour later |
//! | `renewal:<digest of directory and host>` | [`Renewal`] | record | a year later |
//! | `meta:certificates` | a mark that changes with each of those | record | never |
//! | `count:<digest of name>:<window>` | a counter | number | with its window |
//!
//! A record is a version byte and JSON `{"exp":…,"value":…}`, `exp` absent where there is no end. A sealed record is the
//! same inside [`Sealer::seal`] under its name, behind a version byte; which kinds are sealed says [`SEALED`]. A log's entries are text.
//!
//! What bounds each kind, so that nothing a stranger can do grows the store without bound:
//!
//! | kind | at most |
//! |---|---|
//! | `client` that nobody has used | twice `limits.unused_clients`, for a day, 16 KB each |
//! | `client` that is used | one for each time a person whom the access rules let in has consented |
//! | `flow`, `busy` | `limits.open_sign_ins`, for ten minutes, 6 KB each |
//! | `session` | 100 for each person whom the access rules let in |
//! | `user` | one for each such person, where some rule names an organisation or team |
//! | `lease` | one for each such person, for seconds |
//! | `turns` | two, and one for each such person |
//! | `turn` | one for each record that stands in its queue |
//! | `grant`, `grants-of-…`, `revoked` | consents of people whom the access rules let in, by `limits.authorize` |
//! | `pin`, `pins-of` | logins that the access rules name |
//! | `ring` | keys, by their rotation |
//! | `acme-account` | one for each directory that was ever configured |
//! | `certificate`, `acme-order`, `challenge`, `renewal` | one for each configured host and directory, and `lease` |
//! | `count` | 16,384 for each of two limits, in this window and those of the last twenty minutes |

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::backend::Name;
use super::{
    AcmeAccount, AcmeOrder, Damage, Flow, OpenChallenge, Ordered, Renewal, Revocation, RingKind, Session,
    StoreError, StoredCertificate, StoredKey, UserRecord,
};
use crate::oauth::{AttemptId, Client, ClientId, Grant, GrantId, ShardId, Subject};
use crate::seal::Sealer;
use crate::secret::{Digest, Secret};
use crate::time::Timestamp;

/// The schema this version writes, and the newest it can read.
pub const SCHEMA: u32 = 1;
/// What `meta:check` says when it opens.
pub(super) const CHECK: &str = "portcullis";
/// What `meta:restoring` says: the first form of the mark.
pub(super) const RESTORING: u32 = 1;
/// What `meta:resealing` says: the first form of the mark.
pub(super) const RESEALING: u32 = 1;
/// The kinds whose records are sealed: how their names begin. The one list of them: a record of these is sealed when it is
/// written, opened when it is read, and sealed again under another `secret_key`. They lie in no shard.
pub(super) const SEALED: [&str; 8] =
    ["meta:check", "flow:", "user:", "ring:", "acme-account:", "certificate:", "acme-order:", "challenge:"];
/// How the names of the revocation logs begin: those a reader goes on from where it was.
pub(super) const REVOKED: &str = "revoked:";
/// The form of every record.
const VERSION: u8 = 1;

/// A record's type. Whether it is sealed says its name: [`SEALED`].
pub(super) trait Record: Serialize + DeserializeOwned {}

impl Record for u32 {}
impl Record for Client {}
impl Record for AttemptId {}
impl Record for Session {}
impl Record for Grant {}
impl Record for Pin {}
impl Record for Place {}
impl Record for Provider {}
impl Record for Lease {}
impl Record for String {}
impl Record for Flow {}
impl Record for UserRecord {}
impl Record for Vec<StoredKey> {}
impl Record for AcmeAccount {}
impl Record for StoredCertificate {}
impl Record for AcmeOrder {}
impl Record for Renewal {}

/// Whose a login of the access rules is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    /// The login, lower-case.
    pub(super) login: String,
    /// Who signed in with it first.
    pub(super) subject: Subject,
}

/// A line in which records stand, each at its number.
pub(super) enum Queue<'a> {
    /// Registrations that nobody has used.
    Clients,
    /// Sign-ins that nobody has finished.
    Flows,
    /// The browsers of one person.
    SessionsOf(&'a Subject),
}

/// What stands at one number of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The record that came with this number.
    pub(super) name: String,
    /// One that goes with it: an older client that was spared, the mark that a flow's client is busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) beside: Option<String>,
}

impl Place {
    /// The records, the newest first.
    pub(super) fn names(self) -> Vec<Name> {
        [Some(self.name), self.beside].into_iter().flatten().map(Name::new).collect()
    }
}

/// Whose users the subjects of this store are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Provider {
    /// The origin of the identity provider's pages: `https://github.com`.
    pub(super) origin: String,
}

/// What only one process may do for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    /// Random: whose it is, so that no two write the same bytes.
    pub(super) holder: String,
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
    let body = if is_sealed(name) { sealer.seal(name.as_str(), &json) } else { json };
    [&[VERSION], body.as_slice()].concat()
}

/// The bytes of a record that is not sealed and has no end.
///
/// # Panics
/// Never: records are structs of text and numbers, which JSON can always say.
pub(super) fn unsealed<T: Record>(value: &T) -> Vec<u8> {
    let json = serde_json::to_vec(&EnvelopeOut { exp: None, value }).expect("a record is plain data");
    [&[VERSION], json.as_slice()].concat()
}

/// Reads what [`write()`] wrote under the same name.
pub(super) fn read<T: Record>(name: &Name, bytes: &[u8], sealer: &Sealer) -> Result<Read<T>, StoreError> {
    let EnvelopeIn { value, exp } = envelope(name, bytes, sealer)?;
    Ok(Read { value, exp })
}

/// When a record ends, by its own words.
pub(super) fn ends(name: &Name, bytes: &[u8], sealer: &Sealer) -> Result<Option<Timestamp>, StoreError> {
    Ok(envelope::<IgnoredAny>(name, bytes, sealer)?.exp)
}

fn envelope<T: DeserializeOwned>(
    name: &Name,
    bytes: &[u8],
    sealer: &Sealer,
) -> Result<EnvelopeIn<T>, StoreError> {
    let Some((&VERSION, body)) = bytes.split_first() else {
        return Err(StoreError::damaged(name, Damage::Form));
    };
    let opened;
    let json = if is_sealed(name) {
        opened = sealer.open(name.as_str(), body).map_err(|error| StoreError::damaged(name, error))?;
        opened.as_slice()
    } else {
        body
    };
    serde_json::from_slice(json).map_err(|error| StoreError::damaged(name, Damage::Content(error.column())))
}

fn is_sealed(name: &Name) -> bool {
    SEALED.iter().any(|kind| name.as_str().starts_with(kind))
}

/// A sealed record, sealed again.
pub(super) struct SealedAgain {
    pub(super) bytes: Vec<u8>,
    /// When it ends, as before.
    pub(super) exp: Option<Timestamp>,
}

/// A sealed record as it is under the new `secret_key`; `None` if it is sealed under that one already.
pub(super) fn reseal(name: &Name, bytes: &[u8], sealer: &Sealer) -> Result<Option<SealedAgain>, StoreError> {
    let Some((&VERSION, body)) = bytes.split_first() else {
        return Err(StoreError::damaged(name, Damage::Form));
    };
    if sealer.open_as_new(name.as_str(), body).is_ok() {
        return Ok(None);
    }
    let json = sealer.open(name.as_str(), body).map_err(|error| StoreError::damaged(name, error))?;
    let envelope: EnvelopeIn<IgnoredAny> = serde_json::from_slice(&json)
        .map_err(|error| StoreError::damaged(name, Damage::Content(error.column())))?;
    let bytes = [&[VERSION], sealer.seal(name.as_str(), &json).as_slice()].concat();
    Ok(Some(SealedAgain { bytes, exp: envelope.exp }))
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

pub(super) fn resealing() -> Name {
    Name::new("meta:resealing".to_owned())
}

/// The mark of a store into which a backup is being restored.
pub(super) fn restoring() -> Name {
    Name::new("meta:restoring".to_owned())
}

/// The mark of the last restore.
pub(super) fn restored() -> Name {
    Name::new("meta:restored".to_owned())
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

/// The mark that somebody is signing in with a client.
pub(super) fn busy(id: &ClientId) -> Name {
    digested("busy", id.as_str())
}

/// The last number that a queue has given.
pub(super) fn turns(queue: &Queue<'_>) -> Name {
    Name::new(format!("turns:{}", queue_name(queue)))
}

pub(super) fn place(queue: &Queue<'_>, number: u64) -> Name {
    Name::new(format!("turn:{}:{number}", queue_name(queue)))
}

fn queue_name(queue: &Queue<'_>) -> String {
    match queue {
        Queue::Clients => "clients".to_owned(),
        Queue::Flows => "flows".to_owned(),
        Queue::SessionsOf(subject) => digested("sessions-of", subject.as_str()).to_string(),
    }
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

/// The log of those whose tokens live longer than the entries of the other are kept.
pub(super) fn revoked_issued(shard: ShardId) -> Name {
    Name::in_shard(format!("{REVOKED}issued:{:02}", shard.index()), shard)
}

pub(super) fn grants_of_user(subject: &Subject) -> Name {
    digested("grants-of-user", subject.as_str())
}

pub(super) fn grants_of_client(id: &ClientId) -> Name {
    digested("grants-of-client", id.as_str())
}

pub(super) fn provider() -> Name {
    Name::new("meta:provider".to_owned())
}

pub(super) fn user(subject: &Subject) -> Name {
    digested("user", subject.as_str())
}

pub(super) fn lease(what: &str) -> Name {
    digested("lease", what)
}

/// A URL has no space in it, so two pairs never are one name.
pub(super) fn acme_account(directory: &str, binding: Option<&str>) -> Name {
    digested("acme-account", &format!("{directory} {}", binding.unwrap_or_default()))
}

/// What a directory issued for a host. Neither has a space in it.
pub(super) fn certificate(of: Ordered<'_>) -> Name {
    digested("certificate", &format!("{} {}", of.directory, of.host))
}

/// What any directory issued for a host last.
pub(super) fn newest_certificate(host: &str) -> Name {
    digested("certificate", host)
}

pub(super) fn acme_order(of: Ordered<'_>) -> Name {
    digested("acme-order", &format!("{} {}", of.directory, of.host))
}

pub(super) fn renewal(of: Ordered<'_>) -> Name {
    digested("renewal", &format!("{} {}", of.directory, of.host))
}

/// The mark of [`super::Store::certificates_changed`].
pub(super) fn certificates() -> Name {
    Name::new("meta:certificates".to_owned())
}

/// A host has no space in it.
pub(super) fn challenge(challenge: OpenChallenge<'_>) -> Name {
    match challenge {
        OpenChallenge::Http01 { host, token } => digested("challenge", &format!("http-01 {host} {token}")),
        OpenChallenge::TlsAlpn01 { host } => digested("challenge", &format!("tls-alpn-01 {host}")),
    }
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

/// `<grant id> <seconds>`, and of a long token ` <seconds>` of its end.
pub(super) fn write_revocation(revocation: Revocation) -> Vec<u8> {
    let Revocation { grant, at, until } = revocation;
    let until = until.map(|until| format!(" {}", until.seconds())).unwrap_or_default();
    format!("{grant} {}{until}", at.seconds()).into_bytes()
}

/// Reads what [`write_revocation`] wrote.
pub(super) fn read_revocation(entry: &[u8]) -> Result<Revocation, StoreError> {
    let parse = || {
        let seconds = |text: &str| text.parse().ok().map(Timestamp::from_seconds);
        let (grant, times) = std::str::from_utf8(entry).ok()?.split_once(' ')?;
        let (at, until) = match times.split_once(' ') {
            None => (times, None),
            Some((at, until)) => (at, Some(seconds(until)?)),
        };
        Some(Revocation { grant: GrantId::parse(grant)?, at: seconds(at)?, until })
    };
    parse().ok_or_else(|| StoreError::damaged("revoked", Damage::Form))
}

#[cfg(test)]
mod tests;
