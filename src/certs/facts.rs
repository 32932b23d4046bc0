//! What a certificate says of itself, and certificates that were issued for us.

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::key_of;
use super::resolver::{covers, server_name};
use crate::time::Timestamp;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Who issued it, by the most telling part of its name.
    pub issuer: String,
    /// Its serial number: hexadecimal digits, two by two, with colons between them.
    pub serial: String,
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

impl Facts {
    /// Reads the first certificate of a chain; `None` if it cannot be read.
    #[must_use]
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
        let issuer = certificate.issuer();
        let common = issuer.iter_common_name().chain(issuer.iter_organization()).next();
        let telling = common.and_then(|name| name.as_str().ok()).map(str::to_owned);
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter().filter_map(shown).collect());
        let validity = certificate.validity();
        let moment = |seconds: i64| Timestamp::from_seconds(u64::try_from(seconds).unwrap_or(0));
        Some(Self {
            issuer: telling.unwrap_or_else(|| issuer.to_string()),
            serial: certificate.raw_serial_as_string(),
            names: names.unwrap_or_default(),
            not_before: moment(validity.not_before.timestamp()),
            not_after: moment(validity.not_after.timestamp()),
        })
    }
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    match bytes.len() {
        4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
        16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        _ => None,
    }
}

/// Why a certificate that was issued is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It, or its key, cannot be read.
    #[error("it cannot be read")]
    Unreadable,
    /// It is another key's.
    #[error("it is for another key")]
    Key,
    /// It is another host's.
    #[error("it is for another host")]
    Host,
    /// It has ended already.
    #[error("it has expired already")]
    Expired,
}

/// A chain and its key, both PEM, as they are shown to clients of `host`.
///
/// # Errors
/// [`Unusable`], but for its dates.
pub fn issued(host: &str, chain: &str, key: &str) -> Result<CertifiedKey, Unusable> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(|_| Unusable::Unreadable)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Unusable::Unreadable)?;
    if Facts::of(&chain).is_none() {
        return Err(Unusable::Unreadable);
    }
    let certified = key_of(chain, key).map_err(|_| Unusable::Key)?;
    let name = server_name(host).ok_or(Unusable::Host)?;
    if covers(&certified, &name) { Ok(certified) } else { Err(Unusable::Host) }
}
