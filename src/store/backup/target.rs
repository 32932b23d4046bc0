//! Where a backup is restored to. A file is filled beside the one there is, and takes its place when it is whole; Redis is filled
//! where it is, under a mark that keeps everybody out until the end.
//!
//! The folder of a file is the gateway's user's, and the restore may be root's work: so nothing in there is followed or believed. The
//! new file is made by us, and from then on it is known by what is open, not by its name.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
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
        if let Settings::Embedded { path } = settings
            && is_of_another(path, rustix::process::geteuid().as_raw())
        {
            let source = io::Error::other("it is a link that another user has made");
            return Err(OpenError::File { path: path.clone(), source });
        }
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
        terms: &Terms<'_>,
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
                let file = create(&beside).map_err(failed)?;
                let restored = self.fill_file(&file, reader, terms, told).await;
                let placed = restored.and_then(|restored| {
                    take_place(&file, &beside, path).map_err(failed)?;
                    Ok(restored)
                });
                if placed.is_err() {
                    // What is wrong is told; the rest of it is only in the way.
                    drop(remove(&beside));
                }
                placed
            }
        }
    }

    async fn fill_file(
        &self,
        file: &File,
        reader: Reader<impl Read>,
        terms: &Terms<'_>,
        told: impl FnMut(Counts),
    ) -> Result<Restored, TargetError> {
        // By its name it could be another by now.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let settings = Settings::Embedded { path };
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

/// Whether what has the store's name is a link made by somebody who is neither `user` nor root: it may lead to anybody's file.
fn is_of_another(path: &Path, user: u32) -> bool {
    let found = fs::symlink_metadata(path);
    found.is_ok_and(|found| found.is_symlink() && found.uid() != 0 && found.uid() != user)
}

/// A new file, for this user alone. Where anything has its name, a link to nowhere too, there is none (`O_EXCL`).
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
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
fn take_place(file: &File, new: &Path, path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let of = fs::symlink_metadata(path).or_else(|_| fs::metadata(folder))?;
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) != (of.uid(), of.gid()) {
        fchown(file, Some(of.uid()), Some(of.gid()))?;
    }
    file.sync_all()?;
    let named = fs::symlink_metadata(new)?;
    if (named.dev(), named.ino()) != (ours.dev(), ours.ino()) {
        return Err(io::Error::other("somebody has put another file in the place of the restored one"));
    }
    fs::rename(new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

    use tempfile::TempDir;

    use super::*;

    /// A folder with `victim` in it, which no restore is to touch.
    fn world() -> (TempDir, PathBuf, PathBuf) {
        let folder = TempDir::new().unwrap();
        let (victim, new) = (folder.path().join("victim"), folder.path().join("store.db.restoring"));
        fs::write(&victim, "theirs").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
        (folder, victim, new)
    }

    #[test]
    fn a_planted_link_is_not_followed_when_the_new_file_is_made() {
        let (folder, victim, new) = world();
        for to in [victim.clone(), folder.path().join("nowhere")] {
            symlink(&to, &new).unwrap();
            assert_eq!(create(&new).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            remove(&new).unwrap();
            assert!(!folder.path().join("nowhere").exists());
        }
        assert_eq!(fs::read_to_string(victim).unwrap(), "theirs");
        let mode = create(&new).unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_was_put_in_the_place_of_the_new_file_does_not_become_the_store() {
        let (folder, victim, new) = world();
        let store = folder.path().join("store.db");
        fs::write(&store, "old").unwrap();
        let file = create(&new).unwrap();
        let before = fs::metadata(&victim).unwrap();
        for hard in [false, true] {
            remove(&new).unwrap();
            if hard { fs::hard_link(&victim, &new) } else { symlink(&victim, &new) }.unwrap();
            let error = take_place(&file, &new, &store).unwrap_err();
            assert_eq!(error.to_string(), "somebody has put another file in the place of the restored one");
        }
        let after = fs::metadata(&victim).unwrap();
        assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
        assert_eq!(fs::read_to_string(&store).unwrap(), "old");
    }

    #[test]
    fn the_new_file_belongs_to_whom_the_old_one_did_and_a_link_s_victim_to_whom_it_did() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (folder, victim, new) = world();
        let store = folder.path().join("store.db");
        fs::write(&store, "old").unwrap();
        lchown(&store, Some(4321), Some(4322)).unwrap();
        // The name leads astray while the file is filled.
        let file = create(&new).unwrap();
        remove(&new).unwrap();
        symlink(&victim, &new).unwrap();
        take_place(&file, &new, &store).unwrap_err();
        assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
        remove(&new).unwrap();
        let file = create(&new).unwrap();
        take_place(&file, &new, &store).unwrap();
        let placed = fs::symlink_metadata(&store).unwrap();
        assert_eq!((placed.uid(), placed.gid(), placed.mode() & 0o777), (4321, 4322, 0o600));
    }

    #[test]
    fn a_link_is_the_store_only_if_this_user_or_root_has_made_it() {
        let (folder, victim, _) = world();
        let link = folder.path().join("store.db");
        symlink(&victim, &link).unwrap();
        let maker = fs::symlink_metadata(&link).unwrap().uid();
        assert!(!is_of_another(&link, maker));
        assert_eq!(is_of_another(&link, maker + 1), maker != 0, "root's counts for everybody");
        assert!(!is_of_another(&victim, maker + 1) && !is_of_another(&folder.path().join("none"), 1));
        if rustix::process::geteuid().is_root() {
            lchown(&link, Some(4321), None).unwrap();
            assert!(is_of_another(&link, 0) && !is_of_another(&link, 4321));
        }
    }
}
