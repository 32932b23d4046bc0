//! Binding: one listening socket an address, shared by all workers, so that no connection waits in the queue of a worker
//! that is busy or gone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::{Door, Passed, ServeError, Settings};

/// A bound socket.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) address: SocketAddr,
    pub(super) door: Door,
    pub(super) socket: TcpListener,
    /// Whether the service manager holds it too: then who waits in it is not lost when we close it.
    pub(super) passed: bool,
}

impl Bound {
    /// The same socket once more, for a worker.
    pub(super) fn another(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, ..*self })
    }
}

/// Takes every address of `settings` from `passed`, or binds it.
pub(super) fn bind(settings: &Settings, passed: &mut Passed) -> Result<Vec<Bound>, ServeError> {
    let main = settings.listen.iter().map(|address| (*address, Door::Main));
    let redirect = settings.redirect.iter().map(|address| (*address, Door::Redirect));
    let wanted: Vec<_> = main.chain(redirect).collect();
    let addresses: Vec<_> = wanted.iter().map(|(address, _)| *address).collect();
    let found = find(&addresses, passed)?;
    let bound = wanted.into_iter().zip(found).filter_map(|((address, door), found)| {
        let Found { socket, passed } = found?;
        Some(Bound { address: socket.local_addr().unwrap_or(address), door, socket, passed })
    });
    Ok(bound.collect())
}

/// Takes or binds addresses that somebody else serves, by the rules of [`super::Listeners::bind`].
///
/// # Errors
/// [`ServeError::Bind`].
pub fn bind_beside(addresses: &[SocketAddr], passed: &mut Passed) -> Result<Vec<TcpListener>, ServeError> {
    let found = find(addresses, passed)?;
    Ok(found.into_iter().flatten().map(|found| found.socket).collect())
}

struct Found {
    socket: TcpListener,
    passed: bool,
}

/// A socket for each address; none where another one is enough.
fn find(addresses: &[SocketAddr], passed: &mut Passed) -> Result<Vec<Option<Found>>, ServeError> {
    let covered: Vec<_> = addresses.iter().map(|address| passed.answer_for(*address)).collect();
    let each = addresses.iter().zip(covered).map(|(address, covered)| match passed.take(*address) {
        Some(socket) => {
            tracing::info!(%address, "taking over the socket that the service manager has passed");
            Ok(Some(Found { socket, passed: true }))
        }
        None if covered => Ok(None),
        None => Ok(bind_one(*address, addresses)?.map(|socket| Found { socket, passed: false })),
    });
    each.collect()
}

/// `None` where the machine has no IPv6 and the IPv4 counterpart will do.
fn bind_one(address: SocketAddr, all: &[SocketAddr]) -> Result<Option<TcpListener>, ServeError> {
    match open(address, all) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if is_without_ipv6(&error) && has_twin(address, all) => {
            tracing::info!(%address, "not listening here: this machine has no IPv6");
            Ok(None)
        }
        Err(source) => Err(ServeError::Bind { address, source }),
    }
}

/// Connections that may wait to be accepted; the kernel's `somaxconn` may allow fewer.
pub(super) const BACKLOG: i32 = 1024;

fn open(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!is_for_both_families(address, all))?;
    }
    // Else a restart would wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What every socket of ours is, whoever has bound it.
pub(super) fn prepare(socket: &Socket) -> io::Result<()> {
    // Inherited by accepted sockets: a peer that has vanished from a quiet stream is found out.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
    socket.set_nonblocking(true)
}

/// How long a connection may be quiet before the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_mins(1);

fn is_for_both_families(address: SocketAddr, all: &[SocketAddr]) -> bool {
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && !all.iter().any(|other| other.is_ipv4() && other.port() == address.port() && other.port() != 0)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Whether `address` is `[::]` or `[::1]` and its IPv4 counterpart is listed too.
fn has_twin(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let twin = match address.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Ipv4Addr::LOCALHOST,
        IpAddr::V6(_) | IpAddr::V4(_) => return false,
    };
    all.contains(&SocketAddr::new(twin.into(), address.port()))
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::super::Peers;
    use super::*;

    fn settings(listen: &[&str], redirect: &[&str]) -> Settings {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Settings {
            listen: parse(listen),
            redirect: parse(redirect),
            peers: Peers::Anybody,
            drain: Duration::ZERO,
            workers: 1,
        }
    }

    fn bind(settings: &Settings) -> Result<Vec<Bound>, ServeError> {
        super::bind(settings, &mut Passed::default())
    }

    fn free_port() -> u16 {
        TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
    }

    fn accepts(address: &str, port: u16) -> bool {
        TcpStream::connect((address, port)).is_ok()
    }

    #[test]
    fn a_taken_port_is_said_with_its_address() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused = bind(&settings(&[&address.to_string()], &[])).unwrap_err();
        assert_eq!(refused.to_string(), format!("cannot listen on {address}"));
        let cause = refused.source().unwrap().to_string();
        assert_eq!(
            cause, "Address already in use (os error 98)",
            "said once: whoever tells the error adds its causes"
        );
    }

    #[test]
    fn the_unspecified_ipv6_address_alone_accepts_both_families() {
        let port = free_port();
        let bound = bind(&settings(&[&format!("[::]:{port}")], &[])).unwrap();
        assert!(accepts("127.0.0.1", port) && accepts("::1", port));
        drop(bound);
        assert!(!accepts("127.0.0.1", port));
    }

    #[test]
    fn both_unspecified_addresses_do_not_clash() {
        let port = free_port();
        let bound = bind(&settings(&[&format!("0.0.0.0:{port}"), &format!("[::]:{port}")], &[])).unwrap();
        assert_eq!(bound.len(), 2);
        assert!(accepts("127.0.0.1", port) && accepts("::1", port));
        let port = free_port();
        bind(&settings(&[&format!("[::]:{port}"), &format!("127.0.0.1:{port}")], &[])).unwrap();
    }

    #[test]
    fn a_port_is_free_again_at_once_after_connections() {
        let port = free_port();
        let text = format!("127.0.0.1:{port}");
        for _ in 0..3 {
            let bound = bind(&settings(&[&text], &[])).unwrap();
            let client = TcpStream::connect(&text).unwrap();
            bound[0].socket.set_nonblocking(false).unwrap();
            let (accepted, _) = bound[0].socket.accept().unwrap();
            assert!(SockRef::from(&accepted).keepalive().unwrap());
            drop(accepted);
            drop(client);
        }
    }

    #[test]
    fn a_machine_without_ipv6_does_without_the_counterparts_only() {
        let all: Vec<SocketAddr> = settings(&["127.0.0.1:1", "0.0.0.0:2"], &[]).listen;
        for (address, twin) in [
            ("[::1]:1", true),
            ("[::]:2", true),
            ("[::1]:2", false),
            ("[::]:3", false),
            ("[2001:db8::1]:1", false),
        ] {
            assert_eq!(has_twin(address.parse().unwrap(), &all), twin, "{address}");
        }
        assert!(is_without_ipv6(&io::Error::from_raw_os_error(97)));
        assert!(!is_without_ipv6(&io::Error::from(io::ErrorKind::AddrInUse)));
    }

    #[test]
    fn redirect_sockets_are_bound_too() {
        let bound = bind(&settings(&["127.0.0.1:0"], &["127.0.0.1:0"])).unwrap();
        assert_eq!(bound.iter().map(|bound| bound.door).collect::<Vec<_>>(), [Door::Main, Door::Redirect]);
        assert!(bound.iter().all(|bound| bound.address.port() != 0));
    }
}
