//! Which certificate a client is shown: the one for the host it names, and only for hosts that are configured.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;

use super::CertificateError;

/// Shows each client the certificate of the host it names, from a set that can be replaced at any moment.
#[derive(Debug)]
pub(super) struct Resolver(ArcSwap<Names>);

/// Certificates by host.
#[derive(Debug)]
pub(super) struct Names {
    names: HashMap<String, Arc<CertifiedKey>>,
    /// Clients that connect to an address send no server name (RFC 6066 §3): they are shown the certificate for the
    /// configured addresses, and nothing if there are none.
    address: Option<Arc<CertifiedKey>>,
}

impl Names {
    /// Finds each of `hosts` its certificate: the first whose names (or one-label wildcards) match.
    pub(super) fn of(keys: &[Arc<CertifiedKey>], hosts: &[String]) -> Result<Self, CertificateError> {
        let mut found = Self { names: HashMap::new(), address: None };
        for host in hosts {
            found.find(keys, host).ok_or_else(|| CertificateError::Missing(host.clone()))?;
        }
        Ok(found)
    }

    /// The same for those of `hosts` that have one.
    pub(super) fn some_of(keys: &[Arc<CertifiedKey>], hosts: &[String]) -> Self {
        let mut found = Self { names: HashMap::new(), address: None };
        for host in hosts {
            let _ = found.find(keys, host);
        }
        found
    }

    fn find(&mut self, keys: &[Arc<CertifiedKey>], host: &str) -> Option<()> {
        let name = server_name(host)?;
        let key = keys.iter().find(|key| covers(key, &name))?;
        if let ServerName::DnsName(name) = &name {
            self.names.insert(name.as_ref().to_ascii_lowercase(), Arc::clone(key));
        } else {
            self.address.get_or_insert_with(|| Arc::clone(key));
        }
        Some(())
    }
}

impl Resolver {
    pub(super) fn new(names: Names) -> Self {
        Self(ArcSwap::from_pointee(names))
    }

    /// Shows these from now on.
    pub(super) fn show(&self, names: Names) {
        self.0.store(Arc::new(names));
    }

    /// What a client that names `host` is shown; for an address, what one that names nothing is.
    pub(super) fn shown(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.load();
        if let ServerName::DnsName(name) = server_name(host)? {
            shown.names.get(&name.as_ref().to_ascii_lowercase()).cloned()
        } else {
            shown.address.clone()
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.load();
        match hello.server_name() {
            Some(name) => shown.names.get(&name.to_ascii_lowercase()).cloned(),
            None => shown.address.clone(),
        }
    }
}

/// A configured host as TLS knows it; an IPv6 address may be in brackets, as in URLs.
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

pub(super) fn covers(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .and_then(|certificate| verify_server_name(&certificate, name))
        .is_ok()
}
