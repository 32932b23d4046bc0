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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};
    use time::OffsetDateTime;

    use super::*;

    /// PEM of a certificate for `names`, and of its key.
    fn made(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "An Issuer");
        params.serial_number = Some(vec![1, 2, 0xab].into());
        params.not_before = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(1_800_086_400).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_says_who_made_it_for_whom_and_until_when() {
        let (chain, key) = made(&["a.example", "192.0.2.1", "2001:db8::1"]);
        let facts = Facts::of(&issued("a.example", &chain, &key).unwrap().cert).unwrap();
        assert_eq!(
            facts,
            Facts {
                issuer: "An Issuer".into(),
                serial: "01:02:ab".into(),
                names: vec!["a.example".into(), "192.0.2.1".into(), "2001:db8::1".into()],
                not_before: Timestamp::from_seconds(1_800_000_000),
                not_after: Timestamp::from_seconds(1_800_086_400),
            }
        );
        assert_eq!(Facts::of(&[CertificateDer::from(vec![0x30, 0])]), None);
        assert_eq!(Facts::of(&[]), None);
    }

    #[test]
    fn what_was_issued_must_be_for_our_host_and_our_key() {
        let ((chain, key), (other_chain, other_key)) = (made(&["a.example"]), made(&["b.example"]));
        for (host, chain, key, why) in [
            ("a.example", &chain, &other_key, Unusable::Key),
            ("b.example", &chain, &key, Unusable::Host),
            ("not a host", &chain, &key, Unusable::Host),
            ("a.example", &other_chain, &other_key, Unusable::Host),
            ("a.example", &String::new(), &key, Unusable::Unreadable),
            ("a.example", &chain, &String::new(), Unusable::Unreadable),
            ("a.example", &chain[..90].to_owned(), &key, Unusable::Unreadable),
            ("a.example", &key.replace("PRIVATE KEY", "CERTIFICATE"), &key, Unusable::Unreadable),
        ] {
            assert_eq!(issued(host, chain, key).err(), Some(why), "{host} {why}");
        }
        assert!(issued("192.0.2.1", &made(&["192.0.2.1"]).0, &key).is_err());
        assert!(issued("a.example", &chain, &key).is_ok());
    }
}
