//! What the service manager is told (`sd_notify(3)`): when everything answers, when the configuration is read again, when it ends.
//! Nothing where there is none.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// The service manager, if there is one.
#[derive(Clone, Debug)]
pub(super) struct Manager(Option<SocketAddr>);

impl Manager {
    /// The one that the environment names.
    pub(super) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let address = address(&name);
        if let Err(error) = &address {
            tracing::warn!(%error, "the service manager cannot be told anything: NOTIFY_SOCKET is no socket's name");
        }
        Self(address.ok())
    }

    /// Everything answers; `what` is shown by `systemctl status`.
    pub(super) fn ready(&self, what: &str) {
        self.tell(&format!("READY=1\nSTATUS={what}"));
    }

    /// The configuration is being read again; [`Self::ready`] must follow.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping: open requests may finish");
    }

    /// What it waits for at its start.
    pub(super) fn waiting(&self, why: &str) {
        self.tell(&format!("STATUS={why}"));
    }

    fn tell(&self, state: &str) {
        let Some(address) = &self.0 else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), address));
        if let Err(error) = sent {
            tracing::warn!(%error, "the service manager cannot be told anything");
        }
    }
}

/// A path, or after `@` a name in Linux's own space.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 500];
        let read = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    #[test]
    fn both_kinds_of_names_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let hidden = format!("@portcullis-test-{}", std::process::id());
        for name in [path.as_os_str(), OsStr::new(&hidden)] {
            let address = address(name).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            let manager = Manager(Some(address));
            manager.ready("serving");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=serving");
            manager.reloading();
            let told = heard(&socket);
            let micros = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0, "{told}");
        }
    }

    #[test]
    fn nobody_is_told_where_there_is_nobody() {
        Manager(None).ready("serving");
        let folder = tempfile::tempdir().unwrap();
        Manager(Some(address(folder.path().join("gone").as_os_str()).unwrap())).stopping();
    }
}
