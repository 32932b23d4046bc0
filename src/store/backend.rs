//! The primitives that a backend implements. Nothing here knows what a record means; nothing behind it decides.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{StoreError, Swap};
use crate::oauth::ShardId;
use crate::time::Timestamp;

/// What every primitive returns.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A record's or a log's logical name: its kind and an id or digest. Redis puts its prefix and the shard's hash tag before it,
/// so that names of one shard lie in one slot of a Cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    text: String,
    shard: Option<ShardId>,
}

impl Name {
    /// A name that lies anywhere.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self { text, shard: None }
    }

    /// A name that lies with the others of its shard.
    #[must_use]
    pub const fn in_shard(text: String, shard: ShardId) -> Self {
        Self { text, shard: Some(shard) }
    }

    /// The name itself, without prefix and tag: what a sealed record is bound to.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its shard, if it has one.
    #[must_use]
    pub const fn shard(&self) -> Option<ShardId> {
        self.shard
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What must be under a name for a [`Put`] to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No matter what.
    Any,
    /// Nothing.
    Absent,
    /// Exactly these bytes.
    Equal(Vec<u8>),
}

/// One atomic write. When the very bytes are there already it is [`Swap::Done`], whatever was expected: this write
/// has happened and its answer was lost. So a put may be sent twice, as long as its bytes are its own (a random
/// nonce, an attempt id) or do not depend on what was there.
#[derive(Clone, Debug)]
pub struct Put {
    /// Where.
    pub name: Name,
    /// What.
    pub bytes: Vec<u8>,
    /// Only if.
    pub expect: Expect,
    /// When the record ends; the backend may collect it [`super::COLLECT_AFTER`] later. `None` is never.
    pub expires: Option<Timestamp>,
    /// A log entry that is written with it, or not at all; of the same shard.
    pub append: Option<Append>,
}

/// One more entry of a log. Entries have the store's own time, in milliseconds, as their score.
#[derive(Clone, Debug)]
pub struct Append {
    /// Which log.
    pub log: Name,
    /// What; the same bytes a second time may be one entry or two.
    pub entry: Vec<u8>,
    /// How long entries of this log are kept, at least. `None` leaves it to [`Backend::trim`].
    pub keep: Option<Duration>,
}

/// What was read from logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The entries, log by log and oldest first.
    pub entries: Vec<Vec<u8>>,
    /// The store's own time when reading began, in milliseconds.
    pub now: u64,
}

/// Some of the names that a scan finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// The names. One may come twice while others are written.
    pub names: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(super) String);

/// What to scan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The beginning of the names.
    pub text: &'static str,
    /// Whether they lie in shards.
    pub sharded: bool,
}

/// What is kept under names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Records and counters.
    Records,
    /// Logs.
    Logs,
}

/// What is under a name, for a copy of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The bytes; of a counter in the backend's own way ([`Snapshot::number`]).
    pub bytes: Vec<u8>,
    /// When the record ends, within a second or two; `None` is never.
    pub ends: Option<Timestamp>,
}

/// Everything there is, for a copy of it: as it was at one moment where the backend can do that, else as it is when it is read.
pub trait Snapshot: Send + Sync {
    /// What kind of store it is.
    fn backend(&self) -> &'static str;

    /// Whether all of it is as it was at one moment.
    fn is_one_moment(&self) -> bool;

    /// Names of everything, some at a time, in any order, without prefix and tag; also of what others keep in the same Redis.
    fn names(&self, of: Of, cursor: Option<Cursor>) -> Reply<'_, ScanPage>;

    /// What is under each of `names`.
    fn records<'a>(&'a self, names: &'a [Name]) -> Reply<'a, Vec<Option<Copied>>>;

    /// The entries of a log with their scores, in the order of these.
    fn entries<'a>(&'a self, log: &'a Name) -> Reply<'a, Vec<(u64, Vec<u8>)>>;

    /// What a counter of these bytes says.
    fn number(&self, bytes: &[u8]) -> Option<u64>;
}

/// A part of a copy, to be put where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// A record, whatever there was.
    Record {
        /// Where.
        name: Name,
        /// What.
        bytes: Vec<u8>,
        /// When it ends; `None` is never.
        ends: Option<Timestamp>,
    },
    /// A counter that has no end.
    Number {
        /// Which.
        name: Name,
        /// What it says.
        number: u64,
    },
    /// One more entry of a log.
    Entry {
        /// Which log.
        log: Name,
        /// Its score.
        score: u64,
        /// What it says.
        entry: Vec<u8>,
        /// As of [`Append`].
        keep: Option<Duration>,
    },
    /// Away with the record or log.
    Gone(Name),
}

/// The primitives. Each is one atomic step; once begun it goes on even if its caller goes away.
pub trait Backend: Send + Sync {
    /// Reads a record.
    fn get<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>>;

    /// Writes a record, if it is as expected.
    fn put(&self, put: Put) -> Reply<'_, Swap>;

    /// Reads and deletes a record: of all who try, one gets it.
    fn take<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>>;

    /// Deletes a record, if there is one.
    fn delete<'a>(&'a self, name: &'a Name) -> Reply<'a, ()>;

    /// Adds one to a counter, which begins at zero and ends at `expires`; what it is now.
    fn increment<'a>(&'a self, name: &'a Name, expires: Timestamp) -> Reply<'a, u64>;

    /// The names that begin with `prefix`, some at a time, in any order: sealing again under a new `secret_key`
    /// goes over every sealed record.
    fn scan(&self, prefix: Prefix, cursor: Option<Cursor>) -> Reply<'_, ScanPage>;

    /// Appends to a log.
    fn append(&self, append: Append) -> Reply<'_, ()>;

    /// Reads the entries of `logs` whose score is `since` or more.
    fn read_logs<'a>(&'a self, logs: &'a [Name], since: u64) -> Reply<'a, LogPage>;

    /// Drops the entries of a log that are older than `keep`.
    fn trim<'a>(&'a self, log: &'a Name, keep: Duration) -> Reply<'a, ()>;

    /// Collects some records that have ended; whether there are more. Nothing where the store does so by itself.
    fn collect(&self, now: Timestamp) -> Reply<'_, bool>;

    /// Whether it answers.
    fn ping(&self) -> Reply<'_, ()>;

    /// Everything there is, for a copy of it.
    fn snapshot(&self) -> Reply<'_, Box<dyn Snapshot>>;

    /// Writes parts of a copy, or removes: in this order. Not one step where the backend has no transactions.
    fn load(&self, parts: Vec<Load>) -> Reply<'_, ()>;
}
