//! The embedded backend: one redb file that belongs to one process. Reads go straight to the file; everything that writes
//! goes through one [`writer`] thread.

mod look;
mod snapshot;
mod tables;
mod writer;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::redb::{Database, DatabaseError};

pub(super) use self::look::{Looking, Sight};

use self::snapshot::Moment;
use self::tables::{Reading, Writing};
use self::writer::Writer;
use super::backend::{Append, Backend, Cursor, Load, LogPage, Name, Prefix, Put, Reply, ScanPage, Snapshot};
use super::{OpenError, StoreError, Swap};
use crate::clock::Clock;
use crate::time::Timestamp;

/// How much of the file redb keeps in memory.
const CACHE_BYTES: usize = 16 << 20;
/// How many records one commit of the sweep collects: others wait meanwhile.
const COLLECTED_AT_ONCE: usize = 1000;

/// Whether `error` is one of the file's, or of the thread that writes it.
pub(super) fn is_of_file(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<redb::Error>() || error.is::<writer::Closed>()
}

/// A redb file.
pub(super) struct Embedded {
    database: Arc<Database>,
    writer: Writer,
}

impl Embedded {
    /// Opens the file at `path` or makes a new one, for this user only.
    pub(super) fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let file = open_file(path)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_repair_callback(|_| {
            tracing::warn!("the store was not closed properly; repairing it");
        });
        let broken =
            |source: redb::Error| OpenError::NoStore { path: path.to_owned(), source: source.into() };
        let database = match builder.create_file(file) {
            Ok(database) => Arc::new(database),
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::InUse),
            Err(other) => return Err(broken(other.into())),
        };
        tables::create(&database).map_err(broken)?;
        let writer = Writer::start(Arc::clone(&database), clock).map_err(broken)?;
        Ok(Self { database, writer })
    }

    /// Reads, now: redb answers from its cache or the system's in microseconds.
    fn read<'a, T: Send + 'a>(&self, read: impl FnOnce(&Reading) -> Result<T, redb::Error>) -> Reply<'a, T> {
        let done = Reading::begin(&*self.database).and_then(|reading| read(&reading));
        Box::pin(std::future::ready(done.map_err(StoreError::away)))
    }

    /// Has the writer do `write`, and waits until it is on disk.
    fn write<'a, T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writing<'_>) -> Result<T, redb::Error> + Send + 'static,
    ) -> Reply<'a, T> {
        self.writer.run(write)
    }
}

/// Refuses a folder that is none.
fn look_at_folder(path: &Path) -> Result<(), OpenError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotAFolder(folder.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::NoFolder(folder.to_owned())),
        Err(source) => Err(OpenError::File { path: path.to_owned(), source }),
    }
}

/// Opens or creates the file with mode 0600, in a folder that must be there.
fn open_file(path: &Path) -> Result<File, OpenError> {
    look_at_folder(path)?;
    let open = || {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        // A file that somebody copied here may be readable by others.
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(file)
    };
    open().map_err(|source| OpenError::File { path: path.to_owned(), source })
}

impl Backend for Embedded {
    fn get<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.read(|reading| reading.get(name.as_str()))
    }

    fn put(&self, put: Put) -> Reply<'_, Swap> {
        self.write(move |writing| writing.put(&put))
    }

    fn take<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        let name = name.to_string();
        self.write(move |writing| writing.remove(&name))
    }

    fn delete<'a>(&'a self, name: &'a Name) -> Reply<'a, ()> {
        let name = name.to_string();
        self.write(move |writing| writing.remove(&name).map(drop))
    }

    fn increment<'a>(&'a self, name: &'a Name, expires: Timestamp) -> Reply<'a, u64> {
        let name = name.to_string();
        self.write(move |writing| writing.increment(&name, expires))
    }

    fn scan(&self, prefix: Prefix, cursor: Option<Cursor>) -> Reply<'_, ScanPage> {
        self.read(|reading| reading.scan(prefix.text, cursor.as_ref()))
    }

    fn append(&self, append: Append) -> Reply<'_, ()> {
        self.write(move |writing| writing.append(&append))
    }

    fn read_logs<'a>(&'a self, logs: &'a [Name], since: u64) -> Reply<'a, LogPage> {
        let now = self.writer.log_time();
        self.read(|reading| {
            let mut page = LogPage { entries: Vec::new(), now };
            for log in logs {
                reading.log(log.as_str(), since, &mut page.entries)?;
            }
            Ok(page)
        })
    }

    fn trim<'a>(&'a self, log: &'a Name, keep: Duration) -> Reply<'a, ()> {
        let log = log.to_string();
        self.write(move |writing| writing.trim(&log, keep))
    }

    fn collect(&self, now: Timestamp) -> Reply<'_, bool> {
        let ended = now.before(super::COLLECT_AFTER);
        self.write(move |writing| Ok(writing.collect(ended, COLLECTED_AT_ONCE)? == COLLECTED_AT_ONCE))
    }

    fn ping(&self) -> Reply<'_, ()> {
        self.read(|_| Ok(()))
    }

    fn snapshot(&self) -> Reply<'_, Box<dyn Snapshot>> {
        let begun = Reading::begin(&*self.database).map_err(StoreError::away);
        let snapshot = begun.map(|reading| -> Box<dyn Snapshot> { Box::new(Moment(reading)) });
        Box::pin(std::future::ready(snapshot))
    }

    fn load(&self, parts: Vec<Load>) -> Reply<'_, ()> {
        self.write(move |writing| parts.iter().try_for_each(|part| writing.load(part)))
    }
}
