//! Whose a port is, where the system tells it.

use std::collections::HashSet;
use std::fmt;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{self, FDTarget};

/// A process by name and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// As the system calls it, 15 letters at most.
    pub name: String,
    /// Its id.
    pub pid: i32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

impl Owner {
    /// Whether it runs the same program as this process, of whatever version.
    #[must_use]
    pub fn is_this_program(&self) -> bool {
        let own = process::Process::myself().and_then(|process| process.stat());
        own.is_ok_and(|own| own.comm == self.name)
    }

    /// The name of the service, if it is one that machines have from their packages.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        const KNOWN: [&str; 7] = ["nginx", "apache2", "httpd", "caddy", "haproxy", "traefik", "lighttpd"];
        KNOWN.into_iter().find(|name| self.name == *name)
    }
}

/// The processes that listen on TCP `port`: those that this user may see.
#[must_use]
pub fn owners(port: u16) -> Vec<Owner> {
    let listens = |entry: &TcpNetEntry| entry.state == TcpState::Listen && entry.local_address.port() == port;
    let sockets =
        procfs::net::tcp().unwrap_or_default().into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let inodes: HashSet<u64> = sockets.filter(listens).map(|entry| entry.inode).collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let holds = |process: &process::Process| {
        let mut descriptors = process.fd().ok()?.filter_map(Result::ok);
        descriptors.find(|fd| matches!(fd.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
    };
    let processes = process::all_processes().into_iter().flatten().filter_map(Result::ok);
    let owners = processes.filter(|process| holds(process).is_some());
    owners.filter_map(|process| Some(Owner { name: process.stat().ok()?.comm, pid: process.pid })).collect()
}

/// The path of this program: it need not be the one that a shell would find.
#[must_use]
pub fn this_program() -> String {
    std::env::current_exe()
        .map_or_else(|_| "$(command -v portcullis)".to_owned(), |path| path.display().to_string())
}
