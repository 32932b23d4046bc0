//! An env file that is edited: `NAME=VALUE` lines among comments and whatever else people write; only the lines that change do.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::secret::{Secret, random, to_base64url};

/// The file's lines, each with its end.
pub(super) struct EnvFile {
    /// What a link leads to.
    path: PathBuf,
    lines: Vec<Zeroizing<String>>,
}

/// What cannot be read or written of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}; it is as it was")]
    Write { path: PathBuf, source: io::Error },
    /// Readers do not agree which of the two counts.
    #[error("{name} stands in {path} twice; take one of the lines away")]
    Twice { name: &'static str, path: PathBuf },
}

impl EnvFile {
    pub(super) fn read(path: &Path) -> Result<Self, EnvError> {
        let failed = |source| EnvError::Read { path: path.to_owned(), source };
        let real = fs::canonicalize(path).map_err(failed)?;
        let text = Zeroizing::new(fs::read_to_string(&real).map_err(failed)?);
        let lines = text.split_inclusive('\n').map(|line| Zeroizing::new(line.to_owned())).collect();
        Ok(Self { path: real, lines })
    }

    /// The value of a variable, without the quotes around it; `None` if it has none, or an empty one.
    pub(super) fn value(&self, name: &'static str) -> Result<Option<Secret>, EnvError> {
        let Some(index) = self.line(name)? else { return Ok(None) };
        let value = assigned(&self.lines[index], name).unwrap_or_default();
        let (_, value) = unquoted(value);
        Ok((!value.is_empty()).then(|| Secret::new(value.to_owned())))
    }

    /// Gives a variable another value, in the quotes of before; a new one comes behind `after`.
    pub(super) fn set(
        &mut self,
        name: &'static str,
        value: &str,
        after: &'static str,
    ) -> Result<(), EnvError> {
        if let Some(index) = self.line(name)? {
            let line = &self.lines[index];
            let end = line.len() - line.trim_end_matches(['\r', '\n']).len();
            let old = assigned(line, name).unwrap_or_default();
            let (quote, _) = unquoted(old);
            let from = line.find('=').map_or(line.len(), |at| at + 1);
            let (begin, end) = (&line[..from], &line[line.len() - end..]);
            let new = Zeroizing::new(format!("{begin}{quote}{value}{quote}{end}"));
            self.lines[index] = new;
            return Ok(());
        }
        let behind = self.line(after)?.map_or(self.lines.len(), |index| index + 1);
        if let Some(before) = behind.checked_sub(1).and_then(|index| self.lines.get_mut(index))
            && !before.ends_with('\n')
        {
            before.push('\n');
        }
        self.lines.insert(behind, Zeroizing::new(format!("{name}={value}\n")));
        Ok(())
    }

    /// Takes a variable away.
    pub(super) fn remove(&mut self, name: &'static str) -> Result<(), EnvError> {
        if let Some(index) = self.line(name)? {
            self.lines.remove(index);
        }
        Ok(())
    }

    /// Writes it: whoever reads it meanwhile finds the old or the new one. For its owner alone, whoever may have read it before.
    pub(super) fn write(&self) -> Result<(), EnvError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let part = self.path.with_file_name(format!(".{name}.{}", to_base64url(&random::<6>())));
        let placed = self.place(&part);
        if placed.is_err() {
            // What is wrong is told; the rest of it is only in the way.
            drop(fs::remove_file(&part));
        }
        placed.map_err(|source| EnvError::Write { path: self.path.clone(), source })
    }

    fn place(&self, part: &Path) -> io::Result<()> {
        let before = fs::metadata(&self.path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
        for line in &self.lines {
            file.write_all(line.as_bytes())?;
        }
        let ours = file.metadata()?;
        if (ours.uid(), ours.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o600))?;
        file.sync_all()?;
        fs::rename(part, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Which line gives a variable its value.
    fn line(&self, name: &'static str) -> Result<Option<usize>, EnvError> {
        let mut found = (0..self.lines.len()).filter(|index| assigned(&self.lines[*index], name).is_some());
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(EnvError::Twice { name, path: self.path.clone() }),
        }
    }
}

/// What a line assigns to `name`, as it stands there.
fn assigned<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.trim();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    Some(line.strip_prefix(name)?.strip_prefix('=')?.trim())
}

/// The quotes around a value, and what is in them.
fn unquoted(value: &str) -> (&'static str, &str) {
    ["'", "\""]
        .into_iter()
        .find_map(|quote| Some((quote, value.strip_prefix(quote)?.strip_suffix(quote)?)))
        .unwrap_or(("", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "PORTCULLIS_SECRET_KEY";
    const PREVIOUS: &str = "PORTCULLIS_SECRET_KEY_PREVIOUS";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join(".env");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn edited(text: &str, edit: impl Fn(&mut EnvFile)) -> String {
        let (_folder, path) = file(text);
        let mut env = EnvFile::read(&path).unwrap();
        edit(&mut env);
        env.write().unwrap();
        fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn only_the_lines_that_change_do() {
        let text = "# a comment\n\nA='x y' # kept\r\nexport PORTCULLIS_SECRET_KEY=\"old\"\r\nB=$A\n#PORTCULLIS_SECRET_KEY=no\nlast";
        let set = |env: &mut EnvFile| {
            env.set(KEY, "new", KEY).unwrap();
            env.set(PREVIOUS, "old", KEY).unwrap();
        };
        let expected = text.replace("=\"old\"\r\n", "=\"new\"\r\nPORTCULLIS_SECRET_KEY_PREVIOUS=old\n");
        assert_eq!(edited(text, set), expected);
        assert_eq!(edited(&expected, |env| env.remove(PREVIOUS).unwrap()), text.replace("old", "new"));
        assert_eq!(
            edited("PORTCULLIS_SECRET_KEY='a'", set),
            "PORTCULLIS_SECRET_KEY='new'\nPORTCULLIS_SECRET_KEY_PREVIOUS=old\n"
        );
    }

    #[test]
    fn a_value_is_read_without_its_quotes_and_a_longer_name_is_another() {
        let (_folder, path) =
            file("PORTCULLIS_SECRET_KEY_PREVIOUS=\nPORTCULLIS_SECRET_KEY='a'\nREDIS_PASSWORD= b \n");
        let env = EnvFile::read(&path).unwrap();
        assert_eq!(env.value(KEY).unwrap().unwrap().expose(), "a");
        assert!(env.value(PREVIOUS).unwrap().is_none(), "an empty one is none");
        assert_eq!(env.value("REDIS_PASSWORD").unwrap().unwrap().expose(), "b");
        assert!(env.value("OTHER").unwrap().is_none());
    }

    #[test]
    fn a_name_that_stands_there_twice_is_refused() {
        let (_folder, path) = file("PORTCULLIS_SECRET_KEY=a\nPORTCULLIS_SECRET_KEY=b\n");
        let told = EnvFile::read(&path).unwrap().value(KEY).unwrap_err().to_string();
        let path = fs::canonicalize(path).unwrap();
        assert_eq!(
            told,
            format!("PORTCULLIS_SECRET_KEY stands in {} twice; take one of the lines away", path.display())
        );
    }

    #[test]
    fn a_link_stays_a_link_and_the_file_becomes_its_owner_s_alone() {
        let (folder, path) = file("PORTCULLIS_SECRET_KEY=a\n");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut env = EnvFile::read(&link).unwrap();
        env.set(KEY, "b", KEY).unwrap();
        env.write().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "PORTCULLIS_SECRET_KEY=b\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
    #[test]
    fn the_file_stays_whose_it_was_though_root_writes_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (_folder, path) = file("PORTCULLIS_SECRET_KEY=a\n");
        std::os::unix::fs::chown(&path, Some(4321), Some(4322)).unwrap();
        let mut env = EnvFile::read(&path).unwrap();
        env.set(KEY, "b", KEY).unwrap();
        env.write().unwrap();
        let placed = fs::metadata(&path).unwrap();
        assert_eq!((placed.uid(), placed.gid()), (4321, 4322));
        assert_eq!(fs::read_to_string(&path).unwrap(), "PORTCULLIS_SECRET_KEY=b\n");
    }
}
