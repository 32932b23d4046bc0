//! A certificate authority for development: made once in a folder of its own, whose `ca.pem` clients are told to trust
//! (`NODE_EXTRA_CA_CERTS`), and a certificate of it for every host.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;

use super::files::{certificates, certified, private_key, read, validity};
use super::resolver::{covers, server_name};
use super::{CertificateError, provider};
use crate::secret;
use crate::time::Timestamp;

const DAY: Duration = Duration::from_hours(24);
/// The CA's life: longer than anybody develops on one machine.
const CA_LIFE: Duration = Duration::from_hours(24 * 3650);
/// With the hour before, less than the 398 days that browsers allow.
const LEAF_LIFE: Duration = Duration::from_hours(24 * 397);
/// A certificate with less life than this is made anew.
const RENEWAL: Duration = Duration::from_hours(24 * 30);

/// A certificate for every one of `hosts`, kept in `directory`; what is missing there is made. One certificate is for all
/// addresses together, since clients that connect to an address do not say which.
pub(super) fn load_or_make(
    directory: &Path,
    hosts: &[String],
    now: Timestamp,
) -> Result<Vec<Arc<CertifiedKey>>, CertificateError> {
    let _lock = Lock::take(directory)?;
    let ca = Ca::load_or_make(directory, now)?;
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for host in hosts {
        let name = server_name(host).ok_or_else(|| CertificateError::Missing(host.clone()))?;
        if let ServerName::IpAddress(address) = name {
            addresses.insert(IpAddr::from(address).to_string());
        } else {
            names.insert(name.to_str().to_ascii_lowercase());
        }
    }
    let mut keys = Vec::new();
    for name in names {
        let path = directory.join(format!("leaf-{name}.pem"));
        keys.push(Arc::new(ca.leaf(&path, &[name], now)?));
    }
    if !addresses.is_empty() {
        let addresses: Vec<_> = addresses.into_iter().collect();
        keys.push(Arc::new(ca.leaf(&directory.join("addresses.pem"), &addresses, now)?));
    }
    Ok(keys)
}

/// The folder is ours while this lives: two processes that start at once make one CA.
struct Lock {
    _file: File,
}

impl Lock {
    fn take(directory: &Path) -> Result<Self, CertificateError> {
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::File { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(error(directory))?;
        let path = directory.join("lock");
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(error(&path))?;
        file.lock().map_err(error(&path))?;
        Ok(Self { _file: file })
    }
}

struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Called with the folder locked. The key is written first: a crash in between leaves a key that is used next time.
    fn load_or_make(directory: &Path, now: Timestamp) -> Result<Self, CertificateError> {
        let (certificate, key) = (directory.join("ca.pem"), directory.join("ca.key"));
        if certificate.exists() && !key.exists() {
            return Err(content(&certificate, "its key ca.key is gone; remove it too, and a new CA is made"));
        }
        if !key.exists() {
            let made = KeyPair::generate().map_err(|_| CertificateError::Crypto)?;
            write(&key, &made.serialize_pem(), 0o600)?;
        }
        if !certificate.exists() {
            write(&certificate, &make_ca(&read_key(&key)?, now)?, 0o644)?;
        }
        Self::load(&certificate, &key, now)
    }

    fn load(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, CertificateError> {
        let chain = certificates(certificate, &read(certificate)?)?;
        let pair = certified(chain, private_key(key, &read(key)?)?, key)?;
        if validity(&pair.cert).is_none_or(|(_, end)| end < now.after(RENEWAL)) {
            return Err(content(
                certificate,
                "it expires soon; remove it and ca.key, and a new CA is made, to be trusted anew",
            ));
        }
        let certificate = pair.cert[0].clone();
        let issuer =
            Issuer::from_ca_cert_der(&certificate, read_key(key)?).map_err(|_| CertificateError::Crypto)?;
        Ok(Self { certificate, issuer })
    }

    /// The certificate in `path` for all of `names`, made anew unless it is good for a while.
    fn leaf(&self, path: &Path, names: &[String], now: Timestamp) -> Result<CertifiedKey, CertificateError> {
        if let Ok(kept) = read_pair(path)
            && self.is_good(&kept, names, now)
        {
            return Ok(kept);
        }
        write(path, &self.make_leaf(names, now)?, 0o600)?;
        read_pair(path)
    }

    /// Whether clients that trust this CA accept it for every name, now and until its renewal is due.
    fn is_good(&self, kept: &CertifiedKey, names: &[String], now: Timestamp) -> bool {
        let covered = |name: &String| server_name(name).is_some_and(|name| covers(kept, &name));
        self.trusts(kept, now) && self.trusts(kept, now.after(RENEWAL)) && names.iter().all(covered)
    }

    fn trusts(&self, kept: &CertifiedKey, moment: Timestamp) -> bool {
        let verify = || {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone())?;
            let leaf = ParsedCertificate::try_from(kept.end_entity_cert()?)?;
            let moment = UnixTime::since_unix_epoch(Duration::from_secs(moment.seconds()));
            let algorithms = provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], moment, algorithms)
        };
        verify().is_ok()
    }

    /// The certificate and its key in one file, so that they are replaced together.
    fn make_leaf(&self, names: &[String], now: Timestamp) -> Result<String, CertificateError> {
        let crypto = |_| CertificateError::Crypto;
        let mut params = CertificateParams::new(names).map_err(crypto)?;
        params.distinguished_name.push(DnType::CommonName, "Portcullis");
        (params.not_before, params.not_after) = dates(now, LEAF_LIFE);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(crypto)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(crypto)?;
        Ok(certificate.pem() + &key.serialize_pem())
    }
}

fn make_ca(key: &KeyPair, now: Timestamp) -> Result<String, CertificateError> {
    let mut params = CertificateParams::default();
    // Browsers mix up authorities that have one name and different keys.
    let name = format!("Portcullis local CA {}", secret::to_base64url(&secret::random::<6>()));
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = dates(now, CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(key).map_err(|_| CertificateError::Crypto)?;
    Ok(certificate.pem())
}

/// rcgen's own validity runs to the year 4096. An hour is for clocks that are behind.
fn dates(now: Timestamp, life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let moment = |moment: Timestamp| {
        let seconds = i64::try_from(moment.seconds()).unwrap_or(0);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    (moment(now.before(DAY / 24)), moment(now.after(life)))
}

fn read_key(path: &Path) -> Result<KeyPair, CertificateError> {
    let pem = read(path)?;
    let key = std::str::from_utf8(&pem).ok().and_then(|pem| KeyPair::from_pem(pem).ok());
    key.ok_or_else(|| {
        content(path, "there is no private key in it; remove it and ca.pem, and a new CA is made")
    })
}

fn read_pair(path: &Path) -> Result<CertifiedKey, CertificateError> {
    let pem = read(path)?;
    certified(certificates(path, &pem)?, private_key(path, &pem)?, path)
}

fn content(path: &Path, problem: &'static str) -> CertificateError {
    CertificateError::Content { path: path.to_owned(), problem }
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let temporary = PathBuf::from(format!("{}.new", path.display()));
    write_durably(&temporary, text, mode)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

fn write_durably(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    // Open to nobody from the first moment; set again since the umask may have taken more away.
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Barrier;

    use rustls::{ClientConfig, ClientConnection, ServerConnection};

    use super::super::{Certificates, Settings};
    use super::*;
    use crate::clock::{Clock, SystemClock};

    fn now() -> Timestamp {
        SystemClock.now()
    }

    fn make(
        directory: &Path,
        hosts: &[&str],
        now: Timestamp,
    ) -> Result<Vec<Arc<CertifiedKey>>, CertificateError> {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        load_or_make(directory, &hosts, now)
    }

    fn leaf(keys: &[Arc<CertifiedKey>]) -> Vec<u8> {
        keys[0].end_entity_cert().unwrap().to_vec()
    }

    /// A client that trusts `ca.pem` and nothing else shakes hands with a server of ours.
    fn connect(directory: &Path, hosts: &[&str], name: &str) -> Result<(), rustls::Error> {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let settings = Settings::LocalCa { directory: directory.into() };
        let server = Certificates::load(&settings, &hosts, now()).unwrap().unwrap().tls(None).config;
        let path = directory.join("ca.pem");
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&path, &fs::read(&path).unwrap()).unwrap().remove(0)).unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &*wire).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &*wire).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn a_client_that_trusts_only_ca_pem_verifies_names_and_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = ["fetch.example.com", "localhost", "127.0.0.1", "[::1]"];
        for name in ["fetch.example.com", "FETCH.example.com", "localhost", "127.0.0.1", "::1"] {
            connect(folder.path(), &hosts, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn no_certificate_is_shown_for_another_name_or_for_an_address_that_is_not_configured() {
        let folder = tempfile::tempdir().unwrap();
        assert!(connect(folder.path(), &["localhost"], "other.example.com").is_err());
        assert!(connect(folder.path(), &["localhost"], "127.0.0.1").is_err());
    }

    #[test]
    fn a_restart_finds_the_same_authority_and_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let first = leaf(&make(folder.path(), &["localhost"], now()).unwrap());
        let ca = fs::read(folder.path().join("ca.pem")).unwrap();
        let again = make(folder.path(), &["localhost", "b.example"], now().after(DAY)).unwrap();
        assert!(again.iter().any(|key| key.cert[0].as_ref() == first));
        assert_eq!(fs::read(folder.path().join("ca.pem")).unwrap(), ca);
    }

    #[test]
    fn a_certificate_lives_398_days_at_most_and_is_made_anew_30_days_before_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let start = now();
        let keys = make(folder.path(), &["localhost"], start).unwrap();
        let (from, until) = validity(&keys[0].cert).unwrap();
        assert_eq!((from, until), (start.before(DAY / 24), start.after(LEAF_LIFE)));
        assert!(until.since(from) <= DAY * 398);
        let early = make(folder.path(), &["localhost"], until.before(RENEWAL)).unwrap();
        assert_eq!(leaf(&early), leaf(&keys));
        let late = make(folder.path(), &["localhost"], until.before(RENEWAL).after(DAY / 24)).unwrap();
        assert_ne!(leaf(&late), leaf(&keys));
    }

    #[test]
    fn a_new_address_gets_a_new_certificate_for_all_addresses() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), &["127.0.0.1"], now()).unwrap();
        let keys = make(folder.path(), &["127.0.0.1", "::1"], now()).unwrap();
        assert_eq!(keys.len(), 1);
        for address in ["127.0.0.1", "::1"] {
            assert!(covers(&keys[0], &server_name(address).unwrap()), "{address}");
        }
    }

    #[test]
    fn the_keys_are_for_the_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state/ca");
        make(&folder, &["localhost", "127.0.0.1"], now()).unwrap();
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("."), 0o700);
        assert_eq!(mode("ca.pem"), 0o644);
        for secret in ["ca.key", "leaf-localhost.pem", "addresses.pem"] {
            assert_eq!(mode(secret), 0o600, "{secret}");
        }
    }

    #[test]
    fn processes_that_start_at_once_share_one_authority() {
        let folder = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(8);
        let leaves: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                leaf(&make(folder.path(), &["localhost"], now()).unwrap())
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(leaves.iter().all(|leaf| *leaf == leaves[0]));
        connect(folder.path(), &["localhost"], "localhost").unwrap();
    }

    #[test]
    fn a_crash_between_key_and_certificate_is_made_good() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), &["localhost"], now()).unwrap();
        let key = fs::read(folder.path().join("ca.key")).unwrap();
        fs::remove_file(folder.path().join("ca.pem")).unwrap();
        connect(folder.path(), &["localhost"], "localhost").unwrap();
        assert_eq!(fs::read(folder.path().join("ca.key")).unwrap(), key);
    }

    #[test]
    fn a_certificate_of_another_authority_or_a_torn_file_is_replaced() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            make(folder.path(), &["localhost"], now()).unwrap();
        }
        let leaf = |folder: &tempfile::TempDir| folder.path().join("leaf-localhost.pem");
        fs::copy(leaf(&one), leaf(&two)).unwrap();
        connect(two.path(), &["localhost"], "localhost").unwrap();
        fs::write(leaf(&two), "-----BEGIN").unwrap();
        connect(two.path(), &["localhost"], "localhost").unwrap();
    }

    #[test]
    fn an_authority_that_cannot_be_used_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), &["localhost"], now()).unwrap();
        let refused = |now| make(folder.path(), &["localhost"], now).unwrap_err().to_string();
        let ca = folder.path().join("ca.pem").display().to_string();
        assert_eq!(
            refused(now().after(CA_LIFE)),
            format!("{ca}: it expires soon; remove it and ca.key, and a new CA is made, to be trusted anew")
        );
        fs::write(folder.path().join("ca.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(refused(now()).contains("this key does not belong to its certificate"));
        fs::remove_file(folder.path().join("ca.key")).unwrap();
        assert_eq!(
            refused(now()),
            format!("{ca}: its key ca.key is gone; remove it too, and a new CA is made")
        );
    }

    #[test]
    fn a_host_cannot_name_a_file_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for host in ["../evil", "a/b", ""] {
            assert!(
                matches!(make(folder.path(), &[host], now()), Err(CertificateError::Missing(_))),
                "{host}"
            );
        }
    }
}
