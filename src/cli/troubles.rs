//! Which trouble ends a command, if it is one that people know: told by what went wrong, whatever was said on top of it.

use std::error::Error;
use std::io;

use super::port::Taken;
use crate::certs::CertificateError;
use crate::gateway::KeyRingError;
use crate::serve::ServeError;
use crate::store::{OpenError, StoreError};
use crate::trouble::Trouble;

/// The trouble of `error`.
pub(super) fn of(error: &anyhow::Error) -> Option<Trouble> {
    error.chain().find_map(known)
}

fn known(error: &(dyn Error + 'static)) -> Option<Trouble> {
    if let Some(error) = error.downcast_ref::<OpenError>() {
        return error.trouble();
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return Some(error.trouble());
    }
    if let Some(KeyRingError::Store(error)) = error.downcast_ref::<KeyRingError>() {
        return Some(error.trouble());
    }
    if error.is::<CertificateError>() {
        return Some(Trouble::Cert);
    }
    if error.is::<Taken>() {
        return Some(Trouble::PortInUse);
    }
    if let Some(ServeError::Bind { source, .. }) = error.downcast_ref::<ServeError>() {
        return of_port(source.kind());
    }
    // Whatever else wants a port; that something is denied may be for a file.
    let kind = error.downcast_ref::<io::Error>()?.kind();
    of_port(kind).filter(|trouble| *trouble == Trouble::PortInUse)
}

fn of_port(kind: io::ErrorKind) -> Option<Trouble> {
    let known = [
        (io::ErrorKind::AddrInUse, Trouble::PortInUse),
        (io::ErrorKind::PermissionDenied, Trouble::PortDenied),
    ];
    known.into_iter().find(|(one, _)| *one == kind).map(|(_, trouble)| trouble)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use anyhow::Context as _;

    use super::*;

    fn trouble(error: impl Into<anyhow::Error>) -> Option<Trouble> {
        of(&Err::<(), _>(error.into()).context("first").context("then").unwrap_err())
    }

    fn bind(kind: io::ErrorKind) -> ServeError {
        ServeError::Bind { address: SocketAddr::from(([127, 0, 0, 1], 443)), source: kind.into() }
    }

    // trouble: port-in-use
    // trouble: port-denied
    // trouble: secret-key-changed
    // trouble: store-file
    #[test]
    fn what_ends_a_command_is_known_by_what_went_wrong_below() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(trouble(bind(io::ErrorKind::AddrInUse)), Some(Trouble::PortInUse));
        assert_eq!(trouble(bind(io::ErrorKind::PermissionDenied)), Some(Trouble::PortDenied));
        assert_eq!(trouble(bind(io::ErrorKind::AddrNotAvailable)), None);
        assert_eq!(trouble(io::Error::from(io::ErrorKind::AddrInUse)), Some(Trouble::PortInUse));
        assert_eq!(trouble(Taken { port: 443, other: "or not" }), Some(Trouble::PortInUse));
        assert_eq!(trouble(CertificateError::Missing("a.example".into())), Some(Trouble::Cert));
        assert_eq!(trouble(denied()), None, "it may be a file");
        assert_eq!(trouble(OpenError::SecretKey), Some(Trouble::SecretKeyChanged));
        assert_eq!(trouble(OpenError::InUse), Some(Trouble::StoreFile));
        assert_eq!(
            trouble(OpenError::File { path: "/var/lib/p".into(), source: denied() }),
            Some(Trouble::StoreFile)
        );
        assert_eq!(trouble(StoreError::away(denied())), Some(Trouble::RedisDown));
        let keys = KeyRingError::from(StoreError::Contended);
        assert_eq!(trouble(keys), Some(Trouble::RedisDown), "whose source is not in the chain");
        assert_eq!(trouble(OpenError::Schema { found: 9, known: 1 }), None);
        assert_eq!(trouble(anyhow::anyhow!("something else")), None);
    }
}
