//! The two files: both are written, or none; neither ever replaces what is there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::env_file::Variables;

/// Where they are to be.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Places {
    /// The configuration.
    pub(in crate::cli) yaml: PathBuf,
    /// Its variables.
    pub(in crate::cli) env: PathBuf,
}

impl Places {
    /// `portcullis.yaml` and `.env` in `folder`.
    pub(in crate::cli) fn within(folder: &Path) -> Self {
        Self { yaml: folder.join("portcullis.yaml"), env: folder.join(".env") }
    }

    /// Whether both are free, which is told before anything is asked.
    ///
    /// # Errors
    /// Which one is not.
    pub(in crate::cli) fn are_free(&self) -> anyhow::Result<()> {
        for file in [&self.yaml, &self.env] {
            anyhow::ensure!(fs::symlink_metadata(file).is_err(), "{}", taken(file));
        }
        Ok(())
    }

    /// Writes both.
    ///
    /// # Errors
    /// Whatever kept one from being written; then none is there.
    pub(in crate::cli) fn write(&self, yaml: &str, variables: &Variables) -> anyhow::Result<()> {
        if let Some(folder) = self.yaml.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let mut env = New::create(&self.env, 0o600)?;
        let mut configuration = New::create(&self.yaml, 0o644)?;
        env.fill(variables.text().expose())?;
        configuration.fill(yaml)?;
        env.keep();
        configuration.keep();
        Ok(())
    }
}

fn taken(file: &Path) -> String {
    format!(
        "{} is there already, and nothing is overwritten; move it away, or choose another folder with --dir",
        file.display()
    )
}

/// A file that was not there before; gone again unless it is kept.
struct New<'a> {
    path: &'a Path,
    file: File,
    kept: bool,
}

impl<'a> New<'a> {
    fn create(path: &'a Path, mode: u32) -> anyhow::Result<Self> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        match opened {
            Ok(file) => Ok(Self { path, file, kept: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => anyhow::bail!("{}", taken(path)),
            Err(error) => Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }

    fn fill(&mut self, text: &str) -> anyhow::Result<()> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // It is ours, and nothing useful is in it.
            drop(fs::remove_file(self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::secret::Secret;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.add("A", Secret::new("x".into())).unwrap();
        variables
    }

    #[test]
    fn both_are_written_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::within(&folder.path().join("new"));
        places.write("a: b\n", &variables()).unwrap();
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&places.env), 0o600);
        assert!(places.are_free().is_err());

        for there in [".env", "portcullis.yaml"] {
            let folder = tempfile::tempdir().unwrap();
            let places = Places::within(folder.path());
            // A link that leads nowhere is there, too: it is not followed.
            std::os::unix::fs::symlink("/nonexistent/x", folder.path().join(there)).unwrap();
            let told = places.write("a: b\n", &variables()).unwrap_err().to_string();
            assert_eq!(told, taken(&folder.path().join(there)));
            assert_eq!(places.are_free().unwrap_err().to_string(), told);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{there}");
        }
    }
}
