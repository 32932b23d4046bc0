//! A file that is looked at and left as it is.

use std::io;
use std::path::Path;

use ::redb::{Database, DatabaseError, ReadOnlyDatabase};

use super::tables::Reading;
use super::{CACHE_BYTES, look_at_folder};
use crate::store::backend::Name;
use crate::store::{OpenError, StoreError};

/// A store's file, read only.
pub(in crate::store) struct Looking(ReadOnlyDatabase);

/// What is at a path.
pub(in crate::store) enum Sight {
    /// No file yet.
    Nothing,
    /// A file that was not closed properly: whoever opens it to write mends it, and nobody reads it before.
    NotClosed,
    /// A file that can be read.
    File(Looking),
}

impl Looking {
    /// Opens the file at `path`.
    pub(in crate::store) fn open(path: &Path) -> Result<Sight, OpenError> {
        look_at_folder(path)?;
        let broken =
            |source: ::redb::Error| OpenError::NoStore { path: path.to_owned(), source: source.into() };
        match Database::builder().set_cache_size(CACHE_BYTES).open_read_only(path) {
            Ok(database) => Ok(Sight::File(Self(database))),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::InUse),
            Err(DatabaseError::RepairAborted) => Ok(Sight::NotClosed),
            Err(DatabaseError::Storage(::redb::StorageError::Io(error)))
                if error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(Sight::Nothing)
            }
            Err(DatabaseError::Storage(::redb::StorageError::Io(source)))
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Err(OpenError::File { path: path.to_owned(), source })
            }
            Err(other) => Err(broken(other.into())),
        }
    }

    /// What is under a name.
    pub(in crate::store) fn get(&self, name: &Name) -> Result<Option<Vec<u8>>, StoreError> {
        let read = Reading::begin(&self.0).and_then(|reading| reading.get(name.as_str()));
        read.map_err(StoreError::away)
    }
}
