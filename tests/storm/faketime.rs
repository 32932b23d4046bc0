//! The wall clock of the processes: ours and an offset, which libfaketime reads from a file. The monotonic clock, by which
//! tokio waits, stays as it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis::clock::{Clock, SystemClock};
use portcullis::time::Timestamp;
use tempfile::TempDir;

pub(crate) struct FakeTime {
    folder: TempDir,
    library: PathBuf,
    offset: AtomicU64,
}

impl FakeTime {
    pub(crate) fn new() -> Self {
        let time = Self { folder: TempDir::new().unwrap(), library: library(), offset: AtomicU64::new(0) };
        time.write();
        time
    }

    /// Moves the clock of all processes forward.
    pub(crate) fn advance(&self, seconds: u64) {
        self.offset.fetch_add(seconds, Ordering::SeqCst);
        self.write();
    }

    /// What a process sees.
    pub(crate) fn now(&self) -> u64 {
        SystemClock.now().seconds() + self.offset.load(Ordering::SeqCst)
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp::from_seconds(self.now())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// In one step, for the processes read it at any moment.
    fn write(&self) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, format!("+{}\n", self.offset.load(Ordering::SeqCst))).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    /// What a process needs in its environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.to_str().unwrap().to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap().to_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

/// What libfaketime leaves behind of a process that was killed.
pub(crate) fn sweep(process: u32) {
    for left in [format!("sem.faketime_sem_{process}"), format!("faketime_shm_{process}")] {
        drop(std::fs::remove_file(Path::new("/dev/shm").join(left)));
    }
}

/// Debian's libfaketime, for programs with threads. The `faketime` command would stand between us and the process.
fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let mut libraries = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("libfaketime is missing: apt-get install faketime")
}
