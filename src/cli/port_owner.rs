//! Which process listens on a port, where the system tells it.

use std::collections::HashSet;
use std::fmt;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{self, FDTarget};

/// A process by name and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    name: String,
    pid: i32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// The process that listens on TCP `port`; `None` if it is another user's, or nobody's.
pub(super) fn find(port: u16) -> Option<Owner> {
    let listens = |entry: &TcpNetEntry| entry.state == TcpState::Listen && entry.local_address.port() == port;
    let sockets =
        procfs::net::tcp().unwrap_or_default().into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let inodes: HashSet<u64> = sockets.filter(listens).map(|entry| entry.inode).collect();
    let holds = |process: &process::Process| {
        let mut descriptors = process.fd().ok()?.filter_map(Result::ok);
        descriptors.find(|fd| matches!(fd.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
    };
    let process =
        process::all_processes().ok()?.filter_map(Result::ok).find(|process| holds(process).is_some())?;
    Some(Owner { name: process.stat().ok()?.comm, pid: process.pid })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_process_behind_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = find(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(owner.pid, i32::try_from(std::process::id()).unwrap());
    }
}
