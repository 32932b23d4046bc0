//! Ports that cannot be had: whose they are, where the system tells it, and what to do (findings `port-in-use`, `port-denied`).

use std::io;
use std::net::SocketAddr;

use crate::serve::{self, ServeError, owners, this_program};

/// Another process has a port; what to do is `or …`.
#[derive(Debug, thiserror::Error)]
#[error("port {port} is taken{}; stop that, {other}", by_whom(*.port))]
pub(super) struct Taken {
    pub(super) port: u16,
    pub(super) other: &'static str,
}

/// `error` with what to do about it.
pub(super) fn explained(error: ServeError, wanted: &serve::Settings) -> anyhow::Error {
    explained_with(error, wanted, "or write another port under `listen`")
}

/// The same; `wanted` has the ports that are to be had beside this one, and `other` is how to choose another port.
pub(super) fn explained_with(error: ServeError, wanted: &serve::Settings, other: &str) -> anyhow::Error {
    match &error {
        ServeError::Bind { address, source } => {
            let (port, kind) = (address.port(), source.kind());
            let ports = wanted.listen.iter().chain(&wanted.redirect).map(SocketAddr::port);
            let lowest = ports.filter(|port| *port != 0).fold(port, u16::min);
            advised(error.into(), (port, lowest), kind, other)
        }
        ServeError::Worker(_) => error.into(),
    }
}

/// `error`, which is of `kind`, with what to do when `port` cannot be listened on, and `lowest` is wanted too; `other` is how to choose another.
pub(super) fn advised(
    error: anyhow::Error,
    (port, lowest): (u16, u16),
    kind: io::ErrorKind,
    other: &str,
) -> anyhow::Error {
    if kind == io::ErrorKind::AddrInUse {
        return error.context(format!("port {port} is taken{}; stop that, {other}", by_whom(port)));
    }
    if kind == io::ErrorKind::PermissionDenied {
        return error.context(format!(
            "port {port} may not be used by this user; allow it to this program with `sudo setcap cap_net_bind_service=+ep \
             {}`, or to every program with `sudo sysctl net.ipv4.ip_unprivileged_port_start={lowest}`, or in systemd's unit with \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE`, {other}",
            this_program()
        ));
    }
    error
}

/// ` by nginx (process 12)`, to go on after "port 443 is taken"; nothing where the system does not tell.
pub(super) fn by_whom(port: u16) -> String {
    owners(port).first().map(|owner| format!(" by {owner}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    fn bind_error(port: u16, source: io::Error) -> String {
        let address = ([127, 0, 0, 1], port).into();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let wanted = serve::Settings {
            listen: vec![at(443)],
            redirect: vec![at(80), at(0)],
            peers: serve::Peers::Anybody,
            drain: Duration::ZERO,
            workers: 1,
        };
        format!("{:#}", explained(ServeError::Bind { address, source }, &wanted))
    }

    // trouble: port-in-use
    #[test]
    fn a_taken_port_is_told_with_its_owner_and_what_to_do_and_each_cause_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let owner = owners(port).remove(0);
        assert_eq!(owner.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(
            bind_error(port, io::Error::from_raw_os_error(98)),
            format!(
                "port {port} is taken by {owner}; stop that, or write another port under `listen`: cannot listen on \
                 127.0.0.1:{port}: Address already in use (os error 98)"
            )
        );
    }

    // trouble: port-denied
    #[test]
    fn a_denied_port_is_told_with_the_line_that_grants_it_and_the_others() {
        let program = std::env::current_exe().unwrap();
        assert_eq!(
            bind_error(443, io::Error::from_raw_os_error(13)),
            format!(
                "port 443 may not be used by this user; allow it to this program with `sudo setcap cap_net_bind_service=+ep {}`, or \
                 to every program with `sudo sysctl net.ipv4.ip_unprivileged_port_start=80`, or in systemd's unit with \
                 `AmbientCapabilities=CAP_NET_BIND_SERVICE`, or write another port under `listen`: cannot listen on \
                 127.0.0.1:443: Permission denied (os error 13)",
                program.display()
            )
        );
    }

    #[test]
    fn nothing_is_advised_where_nothing_is_known() {
        let other = io::Error::from(io::ErrorKind::AddrNotAvailable);
        assert_eq!(bind_error(1, other), "cannot listen on 127.0.0.1:1: address not available");
        assert!(owners(1).is_empty());
    }
}
