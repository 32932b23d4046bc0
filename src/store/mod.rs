//! What outlives a request: clients, flows, sessions, grants, keys, revocations. Backends implement a few
//! primitives ([`backend`]); the verbs here are written once on top of them. Decisions stay in `oauth`.

pub mod backend;
pub mod backup;
mod certificates;
mod embedded;
mod grants;
mod keys;
mod leases;
mod logins;
mod look;
mod measured;
mod operator;
mod queues;
mod redis;
mod resealing;
mod schema;
mod troubles;
mod upkeep;
mod users;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::backend::{Backend, Expect, Name, Put};
use crate::clock::Clock;
use crate::oauth::{ClientId, CodeChallenge, Facts, GrantId, Resource, Scopes};
use crate::seal::Sealer;
use crate::secret::Secret;
use crate::time::Timestamp;

pub use crate::oauth::StoredKey;
pub use certificates::{
    AcmeAccount, AcmeOrder, OpenChallenge, Ordered, Renewal, StoredCertificate, Suggested,
};
pub use leases::Held;
pub use look::{Found, look};
pub use measured::{OperationFact, Operations};
pub use operator::{GrantsOf, Page};
pub use redis::{RedisAway, RedisLook, What as RedisFault, look as look_at_redis, the_other_way};
pub use resealing::Resealed;
pub use schema::SCHEMA;
pub use users::{UserRecord, UserToken};

/// How long after its end a record may stay: clocks differ.
pub const COLLECT_AFTER: Duration = Duration::from_mins(10);

/// How long the revocation of an issued token is told at least: such a token ends before that.
const ISSUED_KEPT: Duration =
    Duration::from_secs(crate::oauth::LONGEST_ISSUED.as_secs() + COLLECT_AFTER.as_secs());

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// One file, for one process: `file:/path`.
    Embedded {
        /// The database file; its folder must exist.
        path: PathBuf,
    },
    /// `redis://` or `rediss://`.
    Redis {
        /// The URL, with its password.
        url: Secret,
        /// Before every key; `pc:` unless configured.
        prefix: String,
    },
}

/// Why the store did not do it. On the wire a 503 with `Retry-After`, never `invalid_client` or `invalid_grant`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time. A write may have happened all the same.
    #[error("the store is away")]
    Away(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// A record that changes so often that no compare-and-swap finds it as it was read. Trying later helps.
    #[error("a record changes too often")]
    Contended,
    /// A record that cannot be read.
    #[error("the record {name} cannot be read")]
    Damaged {
        /// Which.
        name: String,
        /// Why; never with anything of what is in the record.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// The store is away because of `why`.
    #[must_use]
    pub fn away(why: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Away(Arc::new(why))
    }

    fn damaged(name: &(impl ToString + ?Sized), why: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Damaged { name: name.to_string(), source: Arc::new(why) }
    }
}

/// What is wrong with a record. Not the parser's own words, for those repeat what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Damage {
    #[error("it is in no form that this version knows")]
    Form,
    #[error("it does not say what it should, from its byte {0} on")]
    Content(usize),
    #[error("something else has this name")]
    NameTaken,
    #[error("it was deleted while it was read")]
    Gone,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be reached, or does not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder of the embedded file is not there.
    #[error("the folder {0} of the store does not exist; create it, owned by the user that runs portcullis")]
    NoFolder(PathBuf),
    /// The folder of the embedded file is something else.
    #[error("{0} is not a folder, so the store cannot be in it; write another path under `store`")]
    NotAFolder(PathBuf),
    /// The embedded file cannot be read or written.
    #[error(
        "cannot open the store {path}; let the user that runs portcullis read and write it and its folder"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The embedded file is no store, or is damaged.
    #[error("{path} cannot be used as a store; restore it from a copy, or write another path under `store`")]
    NoStore {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The URL is none of a Redis server's.
    #[error("the store's URL is none such as redis://:PASSWORD@HOST:6379/0; write one under `store`")]
    Url(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// `secret_key` is not the one this store was made with (finding `secret-key-changed`).
    #[error(
        "secret_key is not the one this store was made with; restore the old key, or write it as secret_key_previous beside the new one, or start with an empty store"
    )]
    SecretKey,
    /// Nor is `secret_key_previous`.
    #[error(
        "neither secret_key nor secret_key_previous is the one this store was made with; restore the old key as one of the two, or start with an empty store"
    )]
    NeitherKey,
    /// `secret_key_previous` was taken away while some records were still sealed under it.
    #[error(
        "some of this store is still sealed under the secret_key of before; write that as secret_key_previous again, until the log says that 0 are left"
    )]
    StillSealed,
    /// A restore was broken off.
    #[error(
        "what is in this store is not whole: a restore into it is under way, or was broken off; then run portcullis restore FILE again"
    )]
    HalfRestored,
    /// Nobody has written there, where there should be something to read.
    #[error("the store is empty")]
    Nothing,
    /// Its users are those of another identity provider, where the same ids are other people.
    #[error(
        "the users in this store are those of {found}, and web_url says {configured}, where the same ids are other people; \
         restore identity.github.web_url, or start with an empty store"
    )]
    Provider {
        /// The store's.
        found: String,
        /// The configuration's.
        configured: String,
    },
    /// A newer Portcullis wrote it.
    #[error("the store has schema {found}, this version knows {known}; upgrade portcullis")]
    Schema {
        /// The store's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another process has the embedded file.
    #[error("another process has the store open; stop the other portcullis")]
    InUse,
}

/// A record with the bytes it was read from, which a compare-and-swap must find again.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The record.
    pub value: T,
    bytes: Vec<u8>,
}

/// How a compare-and-swap ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Written.
    Done,
    /// Somebody else was first: load and decide again.
    Conflict,
}

/// A login on its way through the identity provider: from the approval to `/callback`, 10 minutes. Sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// What a client asked for; absent where a person signs in to our own pages.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub request: Option<FlowRequest>,
    /// Our own PKCE verifier towards the identity provider.
    pub verifier: String,
    /// When the flow ends.
    pub expires: Timestamp,
}

/// What a person approved before they went to the identity provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowRequest {
    /// Who asked.
    pub client: ClientId,
    /// The redirect URI as requested; matched against the client again.
    pub redirect_uri: String,
    /// The client's `state`.
    pub state: Option<String>,
    /// The client's challenge.
    pub challenge: CodeChallenge,
    /// The service.
    pub resource: Resource,
    /// What was approved.
    pub scopes: Scopes,
}

/// A browser session: who signed in here lately, 8 hours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Who.
    pub facts: Facts,
    /// When the session ends.
    pub expires: Timestamp,
}

/// What a ring's keys are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RingKind {
    /// Sign access tokens: PKCS#8, base64.
    Signing,
    /// MACs of refresh tokens: 32 bytes, base64url.
    Refresh,
    /// Seal session ids of legacy upstreams: 32 bytes, base64url.
    Session,
}

impl RingKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Signing, Self::Refresh, Self::Session];

    /// Its name, on the command line and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Refresh => "refresh",
            Self::Session => "session",
        }
    }
}

/// A revoked grant, as the feed tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub grant: GrantId,
    /// When, by the clock of whoever revoked.
    pub at: Timestamp,
    /// When its token ends, if that lives longer than those that are refreshed.
    pub until: Option<Timestamp>,
}

/// The store: verbs over one backend. Cheap to clone. Every operation runs to its end on the control runtime even when
/// the caller goes away.
///
/// After [`StoreError::Away`] a write may have happened all the same: the caller loads and decides again. Every write can be
/// sent again as it is: one that finds its own bytes already there is done.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    operations: Arc<Operations>,
    sealer: Sealer,
    /// The mark of the last restore when it was opened.
    restored: Option<Arc<[u8]>>,
}

impl Store {
    /// Opens the store, checks schema and `secret_key`. Background work (the embedded writer, Redis connections) lives on
    /// `control`; `clock` gives Redis keys their remaining life and the embedded logs their scores.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        settings: &Settings,
        sealer: Sealer,
        control: &tokio::runtime::Handle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Self::with_backend(open_backend(settings, control, clock).await?, sealer).await
    }

    /// What was asked of it since it was opened, by any of its clones.
    #[must_use]
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// A store over a backend that is open already; checks schema and `secret_key`. For tests that stand between the verbs
    /// and the backend.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn with_backend(backend: Arc<dyn Backend>, sealer: Sealer) -> Result<Self, OpenError> {
        let store = Self::over(backend, sealer).await?;
        store.check_schema().await?;
        store.check_secret_key().await?;
        Ok(store)
    }

    /// Reads a record; one that has ended is absent.
    async fn read<T: schema::Record>(
        &self,
        name: &Name,
        now: Timestamp,
    ) -> Result<Option<Loaded<T>>, StoreError> {
        let Some(bytes) = self.backend.get(name).await? else { return Ok(None) };
        let value = schema::read(name, &bytes, &self.sealer)?.at(now);
        Ok(value.map(|value| Loaded { value, bytes }))
    }

    /// Writes a record.
    async fn write<T: schema::Record>(
        &self,
        name: Name,
        value: &T,
        expires: Option<Timestamp>,
        expect: Expect,
    ) -> Result<Swap, StoreError> {
        let bytes = schema::write(&name, value, expires, &self.sealer);
        self.backend.put(Put { name, bytes, expect, expires, append: None }).await
    }

    /// Reads a record that has no end. If there is none, `fresh` becomes the first; of several processes that start at once
    /// one wins, and all get the winner's.
    async fn read_or_begin<T: schema::Record>(&self, name: Name, fresh: &T) -> Result<T, StoreError> {
        Ok(self.load_or_begin(name, fresh).await?.value)
    }

    /// The same, to be replaced by compare-and-swap.
    async fn load_or_begin<T: schema::Record>(&self, name: Name, fresh: &T) -> Result<Loaded<T>, StoreError> {
        let mut bytes = self.backend.get(&name).await?;
        if bytes.is_none() {
            self.write(name.clone(), fresh, None, Expect::Absent).await?;
            bytes = self.backend.get(&name).await?;
        }
        let bytes = bytes.ok_or_else(|| StoreError::damaged(&name, Damage::Gone))?;
        Ok(Loaded { value: schema::read(&name, &bytes, &self.sealer)?.value, bytes })
    }
}

/// Opens the backend that `settings` names, without looking at what is in it.
///
/// # Errors
/// [`OpenError`], but for [`OpenError::SecretKey`] and [`OpenError::Schema`].
pub async fn open_backend(
    settings: &Settings,
    control: &tokio::runtime::Handle,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Backend>, OpenError> {
    match settings {
        Settings::Embedded { path } => {
            let path = path.clone();
            let opened = control.spawn_blocking(move || embedded::Embedded::open(&path, clock)).await;
            Ok(Arc::new(opened.map_err(StoreError::away)??))
        }
        Settings::Redis { url, prefix } => {
            Ok(Arc::new(redis::Redis::open(url, prefix, control.clone(), clock)?))
        }
    }
}

/// How far the revocation feed was read: milliseconds of the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedPosition(u64);
