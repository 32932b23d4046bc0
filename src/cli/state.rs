//! Where a command without a configuration keeps what outlives it: a folder that its owner alone can look into.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::secret::{Key, Secret};
use crate::store::Settings;

/// `$XDG_STATE_HOME`, or `~/.local/state`.
///
/// # Errors
/// If there is neither.
pub(super) fn of_user() -> anyhow::Result<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".local/state"));
    named_by_environment()
        .or_else(home)
        .context("there is no home directory; say where to keep the data with --data DIR")
}

/// The same, but `/var/lib` for root, whose home is no place for a service.
///
/// # Errors
/// If there is none of them.
pub(super) fn of_machine() -> anyhow::Result<PathBuf> {
    let root = rustix::process::geteuid().is_root().then(|| PathBuf::from("/var/lib"));
    named_by_environment().or(root).map_or_else(of_user, Ok)
}

fn named_by_environment() -> Option<PathBuf> {
    std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Makes a folder, unless it is there.
pub(super) fn create_private(folder: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot create {}", folder.display()))
}

/// Makes a folder, and refuses one that others can look into.
pub(super) fn open_private(folder: &Path) -> anyhow::Result<()> {
    create_private(folder)?;
    let found = fs::metadata(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mode = found.permissions().mode() & 0o777;
    anyhow::ensure!(
        mode.trailing_zeros() >= 6,
        "others can look into {0} (its mode is {mode:o}), where secrets are to be kept; choose a folder of its own by \
         --data, or, if nobody else uses it, chmod 700 {0}",
        folder.display()
    );
    Ok(())
}

/// Makes the folder of a file store, for its owner alone; only the last of its path, and says so in the log. What else is wrong with
/// it is told when the store is opened.
///
/// # Errors
/// If it may not be made.
pub(super) fn create_folder_of(store: &Settings) -> anyhow::Result<()> {
    let Settings::Embedded { path } = store else { return Ok(()) };
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            tracing::info!(folder = %folder.display(), "the folder of the store was not there, and was made");
            Ok(())
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
            Ok(())
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot create the folder {} of the store; create it, owned by the user that runs portcullis",
                folder.display()
            )
        }),
    }
}

/// A secret key: made once, readable by its owner alone.
pub(super) fn secret_key(file: &Path) -> anyhow::Result<Secret> {
    if let Some(key) = kept(file)? {
        return Ok(key);
    }
    let key = Key::random().to_hex();
    keep(file, &key)?;
    Ok(key)
}

/// What was kept in a file.
pub(super) fn kept(file: &Path) -> anyhow::Result<Option<Secret>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(Secret::new(text.trim().to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Keeps a text in a file that is not there yet.
pub(super) fn keep(file: &Path, text: &Secret) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.with_context(|| format!("cannot create {}", file.display()))?;
    writeln!(opened, "{}", text.expose()).with_context(|| format!("cannot write {}", file.display()))
}
