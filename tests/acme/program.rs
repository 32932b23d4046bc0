//! A program of Debian's, run in a folder of the test's own, with its output in a file there.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Ended by its id when dropped.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it, and waits until it listens at `address`.
    pub(crate) fn start(mut command: Command, folder: &Path, address: SocketAddr) -> Self {
        let name = command.get_program().to_str().unwrap().to_owned();
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        command.current_dir(folder).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{name}: {error}; tests/run installs it"));
        let mut program = Self { child, log };
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let ended = program.child.try_wait().unwrap();
            let late = started.elapsed() > Duration::from_secs(20);
            assert!(ended.is_none() && !late, "{name} does not listen: {}", program.log());
            thread::sleep(Duration::from_millis(10));
        }
        program
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// `kill -9`.
    pub(crate) fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("{}:\n{}", self.log.display(), tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}
