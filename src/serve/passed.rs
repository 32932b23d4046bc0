//! Sockets that the service manager holds and has passed on (socket activation, `sd_listen_fds(3)`): they outlive this process, and
//! whoever connects between two processes waits in them.
//!
//! No names are needed: each socket belongs to the configured address that it is bound to.

use std::env;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Protocol, SockRef};

use super::listen;

/// How many sockets are looked at; a gateway has a handful.
const MOST: usize = 1000;
/// The number of the first one's file descriptor.
const FIRST: usize = 3;

/// Why what was passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// The number of sockets is none.
    #[error(
        "LISTEN_FDS is `{0}`, which is no number of sockets; whatever starts portcullis must write how many it passes"
    )]
    Number(String),
    /// Something else than a listening TCP socket.
    #[error(
        "file descriptor {fd}{}, which the service manager has passed, is no listening TCP socket; write `ListenStream=ADDRESS:PORT` \
         and no `Accept=yes` in the socket unit", named(.name)
    )]
    NotListening {
        /// Which.
        fd: usize,
        /// What the service manager calls it.
        name: String,
    },
    /// It cannot be prepared.
    #[error("file descriptor {fd}, which the service manager has passed, cannot be used")]
    Broken {
        /// Which.
        fd: usize,
        /// Why.
        source: io::Error,
    },
    /// Nothing is configured at its address.
    #[error(
        "the service manager has passed a socket that listens at {address}{}, and nothing under `listen` is at this address; \
         write it there as `https`, `http` or `internal`, or take `ListenStream=` with it out of the socket unit", named(.name)
    )]
    Unwanted {
        /// Where it listens.
        address: SocketAddr,
        /// What the service manager calls it.
        name: String,
    },
}

fn named(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" ({name})") }
}

/// The sockets that were passed, until they are taken.
#[derive(Debug, Default)]
pub struct Passed(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    name: String,
    listener: TcpListener,
    /// Whether it is `[::]` and accepts IPv4 too.
    both_families: bool,
}

impl Passed {
    /// Takes what the environment tells of, and the variables out of it, so that no child takes it for its own. Must be called
    /// before there is a second thread.
    ///
    /// # Errors
    /// [`PassedError`], but for [`PassedError::Unwanted`].
    pub fn from_environment() -> Result<Self, PassedError> {
        let of = |name| env::var(name).unwrap_or_default();
        // What is meant for another process is inherited by all that it starts.
        if of("LISTEN_PID") != std::process::id().to_string() {
            return Ok(Self::default());
        }
        let (number, names) = (of("LISTEN_FDS"), of("LISTEN_FDNAMES"));
        let count = number.parse().ok().filter(|count| *count <= MOST);
        let count = count.ok_or(PassedError::Number(number))?;
        let mut names = names.split(':').map(str::to_owned);
        let mut passed = ListenFd::from_env();
        let take = |at| Socket::take(&mut passed, at, names.next().unwrap_or_default());
        (0..count).map(take).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each of them is at one of these addresses: those that are configured.
    ///
    /// # Errors
    /// [`PassedError::Unwanted`].
    pub fn belong_to(&self, configured: &[SocketAddr]) -> Result<(), PassedError> {
        let mut left = configured.to_vec();
        for Socket { address, name, .. } in &self.0 {
            let Some(at) = left.iter().position(|one| one == address) else {
                return Err(PassedError::Unwanted { address: *address, name: name.clone() });
            };
            left.remove(at);
        }
        Ok(())
    }

    /// The one at `address`.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.0.iter().position(|socket| socket.address == address)?;
        Some(self.0.remove(at).listener)
    }

    /// Whether whoever connects to `address` comes to another one.
    pub(super) fn answer_for(&self, address: SocketAddr) -> bool {
        let counterpart = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        let is_it = |socket: &Socket| socket.both_families && socket.address == counterpart;
        address.is_ipv4() && address.ip().is_unspecified() && self.0.iter().any(is_it)
    }
}

impl Socket {
    fn take(passed: &mut ListenFd, at: usize, name: String) -> Result<Self, PassedError> {
        let fd = FIRST + at;
        let Ok(Some(listener)) = passed.take_tcp_listener(at) else {
            return Err(PassedError::NotListening { fd, name });
        };
        let socket = SockRef::from(&listener);
        let broken = |source| PassedError::Broken { fd, source };
        let is_tcp = socket.protocol().map_err(broken)? == Some(Protocol::TCP);
        if !is_tcp || !socket.is_listener().map_err(broken)? {
            return Err(PassedError::NotListening { fd, name });
        }
        listen::prepare(&socket).map_err(broken)?;
        let address = listener.local_addr().map_err(broken)?;
        let both_families = address.is_ipv6() && !socket.only_v6().map_err(broken)?;
        Ok(Self { address, name, listener, both_families })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(addresses: &[&str]) -> Passed {
        let socket = |text: &&str| {
            let listener = TcpListener::bind(text).unwrap();
            let both_families = text.starts_with("[::]");
            Socket { address: listener.local_addr().unwrap(), name: "web".into(), listener, both_families }
        };
        Passed(addresses.iter().map(socket).collect())
    }

    #[test]
    fn each_belongs_to_the_address_that_it_is_bound_to() {
        let mut passed = passed(&["127.0.0.1:0", "[::1]:0"]);
        let [one, two] = [passed.0[0].address, passed.0[1].address];
        passed.belong_to(&[two, one, "127.0.0.1:1".parse().unwrap()]).unwrap();
        assert_eq!(passed.take(two).unwrap().local_addr().unwrap(), two);
        assert!(passed.take(two).is_none() && !passed.is_empty());
        assert!(passed.take(one).is_some() && passed.is_empty());
    }

    #[test]
    fn one_that_nobody_wants_is_told_with_the_keys() {
        let passed = passed(&["127.0.0.1:0"]);
        let address = passed.0[0].address;
        let other = SocketAddr::new([127, 0, 0, 2].into(), address.port());
        assert_eq!(
            passed.belong_to(&[other]).unwrap_err().to_string(),
            format!(
                "the service manager has passed a socket that listens at {address} (web), and nothing under `listen` is at \
                 this address; write it there as `https`, `http` or `internal`, or take `ListenStream=` with it out of the \
                 socket unit"
            )
        );
    }

    #[test]
    fn one_for_both_families_answers_for_ipv4() {
        let passed = passed(&["[::]:0"]);
        let port = passed.0[0].address.port();
        assert!(passed.answer_for(SocketAddr::new([0, 0, 0, 0].into(), port)));
        for other in [([127, 0, 0, 1], port), ([0, 0, 0, 0], port ^ 1)] {
            assert!(!passed.answer_for(other.into()), "{other:?}");
        }
    }

    #[test]
    fn without_the_variables_there_are_none() {
        assert!(Passed::from_environment().unwrap().is_empty());
    }
}
