//! The files that a configuration was read from: its own, those in `services.d`, and every file that it names. Whether they were
//! replaced is seen from outside, by what they looked like when they were read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::certs::Look;
use crate::config::{Surroundings, System};

/// A configuration file, and what it was last read from.
pub(super) struct Files {
    file: PathBuf,
    read: Looks,
    last: Looks,
}

/// What files and folders look like.
type Looks = BTreeMap<PathBuf, Look>;

impl Files {
    /// Nothing was read yet.
    pub(super) fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), read: Looks::new(), last: Looks::new() }
    }

    /// Lets `read` read, and notes what from.
    pub(super) fn read<T>(&mut self, read: impl FnOnce(&Path, &dyn Surroundings) -> T) -> T {
        let noting = Noting { looks: RefCell::default(), again: !self.read.is_empty() };
        let result = read(&self.file, &noting);
        self.read = noting.looks.into_inner();
        self.last = self.read.clone();
        result
    }

    /// Has further files watched, which are about to be read.
    pub(super) fn also<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) {
        for path in paths {
            self.read.entry(path.clone()).or_insert_with_key(look);
        }
        self.last = self.read.clone();
    }

    /// Whether what was read is there no more as it was. It must look the same twice: files are often not written in one step, nor
    /// one together with another.
    pub(super) fn are_replaced(&mut self) -> bool {
        let now: Looks = self.read.keys().map(|path| (path.clone(), look(path))).collect();
        let still = now == self.last;
        self.last = now;
        still && self.last != self.read
    }
}

fn look(path: &PathBuf) -> Look {
    Look::at(std::iter::once(path))
}

/// This machine's files. What each looks like is noted before it is read, so that no change goes unseen.
struct Noting {
    looks: RefCell<Looks>,
    /// Whether this is not the first time.
    again: bool,
}

impl Noting {
    fn note(&self, path: &Path) {
        self.looks.borrow_mut().entry(path.to_owned()).or_insert_with_key(look);
    }
}

impl Surroundings for Noting {
    fn variable(&self, name: &str) -> Option<OsString> {
        System.variable(name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.note(path);
        // A pipe whose writer is gone, as a shell's <(...) is, would be waited for without end.
        if self.again && std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("it is no regular file, so it was read at start only"));
        }
        System.read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.note(folder);
        System.list(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const YAML: &str = "issuer: http://localhost:8080
secret_key_file: key
store: file:portcullis.db
listen: { http: \"localhost:8080\" }
tls: off
identity: { dev: {} }
access: { users: [\"*\"] }
services: { echo: { url: \"http://localhost:8080/mcp\", upstream: \"http://127.0.0.1:1/mcp\" } }
";

    struct Folder(TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(TempDir::new().unwrap());
            folder.write("portcullis.yaml", YAML);
            folder.write("key", &"5a".repeat(32));
            folder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        /// As editors and configuration management do.
        fn replace(&self, name: &str, text: &str) {
            self.write("new", text);
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }

        fn files(&self) -> Files {
            let mut files = Files::of(&self.path("portcullis.yaml"));
            read(&mut files);
            files
        }
    }

    fn read(files: &mut Files) {
        files.read(|file, surroundings| crate::config::read(file, surroundings).unwrap());
    }

    fn seen(files: &mut Files) -> bool {
        let seen = (files.are_replaced(), files.are_replaced());
        assert!(!seen.0, "once is not enough");
        seen.1
    }

    #[test]
    fn the_file_its_secrets_and_its_services_are_watched() {
        let folder = Folder::new();
        let mut files = folder.files();
        assert!(!seen(&mut files));
        folder.write("beside", "nothing that is read");
        assert!(!seen(&mut files));
        let service = |port: u16| {
            let yaml = format!("{{ url: http://localhost:8080/x, upstream: \"http://127.0.0.1:{port}\" }}");
            folder.write("services.d/x.yaml", &yaml);
        };
        let changes: [&dyn Fn(); 7] = [
            &|| folder.replace("portcullis.yaml", &format!("{YAML}drain: 1s\n")),
            &|| folder.write("portcullis.yaml", YAML),
            &|| folder.replace("key", &"6b".repeat(32)),
            &|| fs::create_dir(folder.path("services.d")).unwrap(),
            &|| service(1),
            &|| service(2),
            &|| fs::remove_file(folder.path("services.d/x.yaml")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            // File systems count time in steps of some milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            assert!(seen(&mut files), "{number}");
            read(&mut files);
            assert!(!seen(&mut files), "{number}: once");
        }
    }

    #[test]
    fn what_is_still_being_written_is_waited_for() {
        let folder = Folder::new();
        let mut files = folder.files();
        for length in 1..5 {
            folder.write("portcullis.yaml", &YAML[..length]);
            assert!(!files.are_replaced(), "{length}");
        }
        assert!(files.are_replaced());
    }

    #[test]
    fn a_change_that_was_taken_back_is_none() {
        let folder = Folder::new();
        let mut files = folder.files();
        fs::rename(folder.path("key"), folder.path("elsewhere")).unwrap();
        assert!(!files.are_replaced());
        fs::rename(folder.path("elsewhere"), folder.path("key")).unwrap();
        assert!(!seen(&mut files));
    }

    #[test]
    fn a_file_that_changes_between_reading_and_looking_is_seen() {
        let folder = Folder::new();
        let mut files = Files::of(&folder.path("portcullis.yaml"));
        files.read(|file, surroundings| {
            crate::config::read(file, surroundings).unwrap();
            folder.replace("portcullis.yaml", &format!("{YAML}drain: 1s\n"));
        });
        assert!(seen(&mut files));
    }

    #[test]
    fn further_files_are_watched_too() {
        let folder = Folder::new();
        let mut files = folder.files();
        let further = folder.path("a.pem");
        files.also([&further].into_iter());
        assert!(!seen(&mut files));
        folder.write("a.pem", "a certificate");
        assert!(seen(&mut files));
    }

    #[test]
    fn what_can_be_read_once_is_read_once() {
        let pipe = Path::new("/dev/null");
        let mut files = Files::of(pipe);
        assert!(files.read(|file, surroundings| surroundings.read(file)).is_ok());
        let refused = files.read(|file, surroundings| surroundings.read(file)).unwrap_err();
        assert_eq!(refused.to_string(), "it is no regular file, so it was read at start only");
    }

    #[test]
    fn a_file_that_is_missing_is_waited_for() {
        let folder = Folder::new();
        fs::remove_file(folder.path("key")).unwrap();
        let mut files = Files::of(&folder.path("portcullis.yaml"));
        assert!(files.read(crate::config::read).is_err());
        assert!(!seen(&mut files));
        folder.write("key", &"5a".repeat(32));
        assert!(seen(&mut files));
    }
}
