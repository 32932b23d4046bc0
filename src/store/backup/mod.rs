//! Backups: everything that must survive, read while others write, in a file that any store can be filled from.
//!
//! The embedded store is read in one transaction, so as it was at one moment. Redis has none: there it is the order that makes
//! what changes meanwhile harmless.
//!
//! 1. Grants.
//! 2. Every other record: so a grant's client is there with the life that the grant has given it, and the key that a grant's newest
//!    tokens were made with is in its ring. A client that was deleted meanwhile is missing, and its grants are dead with it.
//! 3. The logs by which grants and pins are found: a hint is written before what it leads to, so none is missing.
//! 4. The revocations, and once more each grant that was revoked since the beginning: so no backup has a grant that lives and a
//!    revocation of it, or the other way round. Who restores takes the later of two records of a name.
//!
//! The check of `secret_key` is read first and again at the end: if another key has begun to lead the store meanwhile, there is no
//! backup. A sweep that was sealing again at the beginning is not done in the backup either.

mod format;
mod kinds;
mod restore;
mod target;

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use self::format::{TooLarge, Writer};
use self::kinds::{Form, Keep, form, is_open, placed};
use super::backend::{Backend, Copied, Cursor, Name, Of, Snapshot};
use super::grants::from;
use super::measured::{Metered, Operations};
use super::schema::{self, CHECK, SCHEMA};
use super::{OpenError, Store, StoreError};
use crate::oauth::ShardId;
use crate::seal::Sealer;
use crate::secret::{Key, to_base64url};
use crate::time::Timestamp;

pub use format::{About, Counts, FormatError, Piece, Reader};
pub use restore::{RestoreError, Restored, Summary, Terms, fill, is_unused, verify};
pub use target::{Target, TargetError};

/// How many bytes go out at once, about.
const CHUNK: usize = 64 << 10;
/// How many such wait for who reads slowly.
const WAITING: usize = 4;
/// How many records are read at once: each may be some kilobytes.
const READ_AT_ONCE: usize = 250;
/// The label of what tells `secret_key`s apart.
const FINGERPRINT: &str = "backup fingerprint";

/// The label of what backups are sealed under.
const SEAL: &str = "backup seal";

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process was started with another key while the store was read.
    #[error("secret_key was changed while the backup was made; make it again")]
    KeyChanged,
    /// Something that nobody of ours has written.
    #[error("{0} cannot be in a backup: it is larger than anything that portcullis writes")]
    TooLarge(String),
    /// Who wanted it has gone.
    #[error("nobody wants the backup any more")]
    Unwanted,
}

/// Where a backup goes.
struct Out {
    writer: Writer,
    sender: mpsc::Sender<Result<Bytes, BackupError>>,
}

impl Out {
    async fn add(&mut self, piece: Piece) -> Result<(), BackupError> {
        let added = self.writer.add(&piece);
        added.map_err(|TooLarge| BackupError::TooLarge(piece.name().to_owned()))?;
        if self.writer.waiting() < CHUNK {
            return Ok(());
        }
        let chunk = self.writer.take();
        self.send(chunk).await
    }

    async fn send(&self, chunk: Vec<u8>) -> Result<(), BackupError> {
        self.sender.send(Ok(chunk.into())).await.map_err(|_| BackupError::Unwanted)
    }
}

/// What tells whether another `secret_key` is the same one, and nothing of the key: of the new one, and of the previous one.
pub fn fingerprints(sealer: &Sealer) -> impl Iterator<Item = String> {
    sealer.derived(FINGERPRINT).map(|key| to_base64url(key.expose()))
}

/// The [`fingerprints`], each with what a backup that was made under that key is sealed under.
fn keys(sealer: &Sealer) -> impl Iterator<Item = (String, Key)> {
    fingerprints(sealer).zip(sealer.derived(SEAL))
}

impl Store {
    /// A store that is only read, from beside the gateway: it is checked as when it is opened, and nothing is written.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Nothing`] if nobody has written there yet.
    pub async fn to_be_read(backend: Arc<dyn Backend>, sealer: Sealer) -> Result<Self, OpenError> {
        let store = Self::over(backend, sealer).await?;
        let (name, check) = (schema::schema(), schema::check());
        let Some(bytes) = store.backend.get(&name).await? else { return Err(OpenError::Nothing) };
        let found = schema::read::<u32>(&name, &bytes, &store.sealer)?.value;
        if found > SCHEMA {
            return Err(OpenError::Schema { found, known: SCHEMA });
        }
        let Some(bytes) = store.backend.get(&check).await? else { return Err(OpenError::Nothing) };
        match schema::read::<String>(&check, &bytes, &store.sealer) {
            Ok(read) if read.value == CHECK => Ok(store),
            Ok(_) | Err(_) if store.sealer.previous().is_some() => Err(OpenError::NeitherKey),
            Ok(_) | Err(_) => Err(OpenError::SecretKey),
        }
    }

    /// A store over a backend, unless a restore into it was broken off. The mark is read first: a restore that begins later is
    /// noticed.
    pub(super) async fn over(backend: Arc<dyn Backend>, sealer: Sealer) -> Result<Self, OpenError> {
        let operations = Arc::<Operations>::default();
        let backend: Arc<dyn Backend> = Arc::new(Metered::new(backend, &operations));
        let restored = backend.get(&schema::restored()).await?.map(Into::into);
        if backend.get(&schema::restoring()).await?.is_some() {
            return Err(OpenError::HalfRestored);
        }
        Ok(Self { backend, operations, sealer, restored })
    }

    /// Whether a backup was restored since the store was opened, or is being restored: then what a process has in memory of it
    /// is no longer true. No embedded store ever is: it belongs to the process that has it open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn was_restored(&self) -> Result<bool, StoreError> {
        let begun = self.backend.get(&schema::restoring()).await?.is_some();
        Ok(begun || self.backend.get(&schema::restored()).await?.as_deref() != self.restored.as_deref())
    }

    /// The [`fingerprints`] of this store's keys.
    pub fn fingerprints(&self) -> impl Iterator<Item = String> {
        fingerprints(&self.sealer)
    }

    /// A backup, in pieces of some kilobytes. It is read by a thread of its own, not faster than the pieces are taken, and ends
    /// early when nobody takes them any more. The last piece may be an error: then there is no backup.
    #[must_use]
    pub fn back_up(&self, now: Timestamp) -> mpsc::Receiver<Result<Bytes, BackupError>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (store, control) = (self.clone(), Handle::current());
        // The embedded store is read by whoever asks: that must not be the runtime that everything waits for.
        tokio::task::spawn_blocking(move || {
            control.block_on(async {
                if let Err(error) = store.copy(sender.clone(), now).await {
                    // Nobody wants to know why there is none.
                    drop(sender.send(Err(error)).await);
                }
            });
        });
        receiver
    }

    /// Which key leads the store: the one that its check value is sealed under. Its fingerprint, and what it seals backups with.
    fn leading(&self, check: &[Piece]) -> Result<(String, Key), StoreError> {
        let of = |sealer: &Sealer| (to_base64url(sealer.derive(FINGERPRINT).expose()), sealer.derive(SEAL));
        let [Piece::Record { bytes, .. }] = check else { return Ok(of(&self.sealer)) };
        let is_previous = schema::reseal(&schema::check(), bytes, &self.sealer)?.is_some();
        Ok(of(self.sealer.previous().filter(|_| is_previous).unwrap_or(&self.sealer)))
    }

    async fn copy(
        &self,
        sender: mpsc::Sender<Result<Bytes, BackupError>>,
        now: Timestamp,
    ) -> Result<(), BackupError> {
        let snapshot = self.backend.snapshot().await?;
        let begun = self.backend.read_logs(&[], 0).await?.now;
        let copying = Copying { snapshot: snapshot.as_ref(), sealer: &self.sealer };
        let check = copying.read(&[schema::check()]).await?;
        let (fingerprint, key) = self.leading(&check)?;
        let about = About {
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: now,
            from: snapshot.backend().to_owned(),
            schema: SCHEMA,
            key: fingerprint,
        };
        let mut out = Out { writer: Writer::begin(&about, key), sender };
        let resealing = copying.read(&[schema::resealing()]).await?;
        copying.records(&mut out, |form| form == Form::Grant).await?;
        copying.records(&mut out, |form| matches!(form, Form::Record | Form::Number)).await?;
        copying.hints(&mut out).await?;
        copying.revocations(&mut out, begun).await?;
        if copying.read(&[schema::check()]).await? != check {
            return Err(BackupError::KeyChanged);
        }
        let resealing_still = copying.read(&[schema::resealing()]).await?;
        for piece in resealing.into_iter().chain(resealing_still).take(1) {
            out.add(piece).await?;
        }
        let Out { writer, sender } = out;
        sender.send(Ok(writer.end().into())).await.map_err(|_| BackupError::Unwanted)
    }
}

/// What is copied, and by whose words it ends.
struct Copying<'a> {
    snapshot: &'a dyn Snapshot,
    sealer: &'a Sealer,
}

impl Copying<'_> {
    /// Every record that has such a form.
    async fn records(&self, out: &mut Out, wanted: impl Fn(Form) -> bool) -> Result<(), BackupError> {
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = self.snapshot.names(Of::Records, cursor).await?;
            let names = page.names.iter().filter(|name| form(name).is_some_and(&wanted));
            let names: Vec<Name> = names.filter_map(|name| placed(name)).collect();
            for names in names.chunks(READ_AT_ONCE) {
                for piece in self.read(names).await? {
                    out.add(piece).await?;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// What is under these names, but for what is left out.
    async fn read(&self, names: &[Name]) -> Result<Vec<Piece>, StoreError> {
        let copied = self.snapshot.records(names).await?;
        let found = names.iter().zip(copied).filter_map(|(name, copied)| Some((name, copied?)));
        let pieces = found.map(|(name, Copied { bytes, ends })| match form(name.as_str()) {
            Some(Form::Number) => {
                let number = self.snapshot.number(&bytes);
                let number = number.ok_or_else(|| StoreError::damaged(name, super::Damage::Form))?;
                Ok(Some(Piece::Number { name: name.to_string(), number }))
            }
            Some(Form::Grant) if is_open(name, &bytes, self.sealer) => Ok(None),
            Some(_) | None => {
                // The record knows best; one that cannot be read ends when the backend says.
                let ends = schema::ends(name, &bytes, self.sealer).unwrap_or(ends);
                Ok(Some(Piece::Record { name: name.to_string(), bytes, ends }))
            }
        });
        pieces.filter_map(Result::transpose).collect()
    }

    /// The logs by which something is found.
    async fn hints(&self, out: &mut Out) -> Result<(), BackupError> {
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = self.snapshot.names(Of::Logs, cursor).await?;
            for name in &page.names {
                let is_hint = matches!(form(name), Some(Form::Log(Keep::Hints | Keep::Ever)));
                let Some(log) = placed(name).filter(|_| is_hint) else { continue };
                self.log(out, &log).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// The revocations, and the grants that were revoked since `begun`, which may have been read before.
    async fn revocations(&self, out: &mut Out, begun: u64) -> Result<(), BackupError> {
        for log in ShardId::all().flat_map(|shard| [schema::revoked(shard), schema::revoked_issued(shard)]) {
            let entries = self.log(out, &log).await?;
            if self.snapshot.is_one_moment() {
                continue;
            }
            let late = entries.iter().filter(|(score, _)| *score >= from(Some(begun)));
            let read = late.map(|(_, entry)| Ok(schema::grant(schema::read_revocation(entry)?.grant)));
            for names in read.collect::<Result<Vec<_>, StoreError>>()?.chunks(READ_AT_ONCE) {
                for piece in self.read(names).await? {
                    out.add(piece).await?;
                }
            }
        }
        Ok(())
    }

    async fn log(&self, out: &mut Out, log: &Name) -> Result<Vec<(u64, Vec<u8>)>, BackupError> {
        let entries = self.snapshot.entries(log).await?;
        for (score, entry) in &entries {
            out.add(Piece::Entry { log: log.to_string(), score: *score, entry: entry.clone() }).await?;
        }
        Ok(entries)
    }
}
