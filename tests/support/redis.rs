//! A redis-server of a test's own, on a free loopback port; killed when dropped.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub struct Redis {
    child: Child,
    pub port: u16,
    folder: Option<TempDir>,
}

impl Redis {
    pub fn start() -> Self {
        // Another process may take the port between our look and redis-server's: then it ends, and we look again.
        (0..5).find_map(|_| Self::try_start()).expect("redis-server does not start")
    }

    fn try_start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::try_start_at(port, TempDir::new().unwrap())
    }

    fn try_start_at(port: u16, folder: TempDir) -> Option<Self> {
        let child = Command::new("redis-server")
            .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &port.to_string()])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is missing: apt-get install redis-server");
        let mut redis = Self { child, port, folder: None };
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if redis.child.try_wait().unwrap().is_some() {
                return None;
            }
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                redis.folder = Some(folder);
                return Some(redis);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not listen");
    }

    /// Writes everything down, and ends.
    pub fn stop(&mut self) {
        let port = self.port.to_string();
        let told = Command::new("redis-cli").args(["-p", &port, "shutdown", "save"]).status();
        assert!(told.expect("redis-cli is missing: apt-get install redis-tools").success());
        assert!(self.child.wait().unwrap().success());
    }

    /// Comes back on its port, with what it wrote down.
    pub fn start_again(&mut self) {
        let folder = self.folder.take().expect("its folder");
        *self = Self::try_start_at(self.port, folder).expect("its port is free still");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
