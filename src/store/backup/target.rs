//! Where a backup is restored to. A file is filled beside the one there is, and takes its place when it is whole; Redis is filled
//! where it is, under a mark that keeps everybody out until the end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::format::{Counts, Reader};
use super::restore::{RestoreError, Restored, Terms, fill, is_unused};
use crate::clock::Clock;
use crate::store::backend::Backend;
use crate::store::{OpenError, Settings, StoreError, open_backend};

/// A store that no gateway has open, as far as that can be told: of an embedded one for sure.
pub struct Target {
    settings: Settings,
    /// What is there: held, so that nobody else opens a file meanwhile. `None` if there is no file, or none that can be read.
    there: Option<Arc<dyn Backend>>,
    /// Whether there is a file that is no store, or a damaged one.
    damaged: bool,
    control: Handle,
    clock: Arc<dyn Clock>,
}

/// Why a restore has failed.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The backup, or a store that does not do it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The new file cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new file cannot take the place of the old one.
    #[error("cannot put the restored store at {path}")]
    Place {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Target {
    /// Looks at what is there.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::InUse`] if a gateway has the file.
    pub async fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let control = Handle::current();
        let is_absent = matches!(settings, Settings::Embedded { path } if !path.exists());
        let (there, damaged) = if is_absent {
            (None, false)
        } else {
            match open_backend(settings, &control, Arc::clone(&clock)).await {
                Ok(backend) => (Some(backend), false),
                // It is what a backup is for.
                Err(OpenError::NoStore { .. }) => (None, true),
                Err(other) => return Err(other),
            }
        };
        Ok(Self { settings: settings.clone(), there, damaged, control, clock })
    }

    /// Whether nothing would be lost.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_unused(&self) -> Result<bool, StoreError> {
        match &self.there {
            Some(backend) => is_unused(backend.as_ref()).await,
            None => Ok(!self.damaged),
        }
    }

    /// Puts a verified backup in the place of whatever is there.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn fill(
        self,
        reader: Reader<impl Read>,
        terms: &Terms,
        told: impl FnMut(Counts),
    ) -> Result<Restored, TargetError> {
        match &self.settings {
            Settings::Redis { .. } => {
                let backend = match &self.there {
                    Some(backend) => Arc::clone(backend),
                    None => open_backend(&self.settings, &self.control, Arc::clone(&self.clock)).await?,
                };
                Ok(fill(backend.as_ref(), reader, terms, told).await?)
            }
            Settings::Embedded { path } => {
                // What a link leads to is the store.
                let path = &fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                let beside = beside(path);
                let failed = |source| TargetError::Place { path: path.clone(), source };
                remove(&beside).map_err(failed)?;
                let restored = self.fill_file(&beside, reader, terms, told).await;
                if restored.is_err() {
                    // What is wrong is told; the rest of it is only in the way.
                    drop(remove(&beside));
                    return restored;
                }
                take_place(&beside, path).map_err(failed)?;
                restored
            }
        }
    }

    async fn fill_file(
        &self,
        beside: &Path,
        reader: Reader<impl Read>,
        terms: &Terms,
        told: impl FnMut(Counts),
    ) -> Result<Restored, TargetError> {
        let settings = Settings::Embedded { path: beside.to_owned() };
        let backend = open_backend(&settings, &self.control, Arc::clone(&self.clock)).await?;
        Ok(fill(backend.as_ref(), reader, terms, told).await?)
    }
}

/// The name that a file is filled under.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".restoring");
    path.with_file_name(name)
}

/// Away with what another restore has left there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The new file becomes the store: whole, or not at all. It belongs to whom the old one did, or else its folder does: the restore
/// may be root's work, and the gateway is not root.
fn take_place(new: &Path, path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let of = fs::metadata(path).or_else(|_| fs::metadata(folder))?;
    let ours = fs::metadata(new)?;
    if (ours.uid(), ours.gid()) != (of.uid(), of.gid()) {
        chown(new, Some(of.uid()), Some(of.gid()))?;
    }
    File::open(new)?.sync_all()?;
    fs::rename(new, path)?;
    File::open(folder)?.sync_all()
}
