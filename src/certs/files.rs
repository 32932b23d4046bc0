//! Certificates that somebody else renews: read from PEM files, again and again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{CertificateError, CertificateFiles, Facts, provider};
use crate::time::Timestamp;

/// Reads every pair. One that is out of date is served all the same: clients then say what is wrong, which a port that
/// does not answer could not.
pub(super) fn load(
    files: &[CertificateFiles],
    now: Timestamp,
) -> Result<Vec<Arc<CertifiedKey>>, CertificateError> {
    files.iter().map(|pair| load_pair(pair, now).map(Arc::new)).collect()
}

/// What files look like from outside: inode, size and time of change, behind whatever links lead to them. Renewal programs
/// write a new file, or turn a link round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look(Vec<Option<(u64, u64, i64, i64)>>);

impl Look {
    /// Of these, in this order.
    pub fn at<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Self {
        let look = |path: &PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
        };
        Self(paths.map(look).collect())
    }
}

fn load_pair(pair: &CertificateFiles, now: Timestamp) -> Result<CertifiedKey, CertificateError> {
    let chain = certificates(&pair.certificate, &read(&pair.certificate)?)?;
    let key = private_key(&pair.key, &read(&pair.key)?)?;
    let key = certified(chain, key, &pair.key)?;
    warn_of_dates(&key, &pair.certificate, now);
    Ok(key)
}

/// The file's bytes.
///
/// # Errors
/// [`CertificateError::File`].
pub fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

/// The certificates in a PEM file, at least one.
pub(super) fn certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let content = |problem| CertificateError::Content { path: path.to_owned(), problem };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|_| content("a certificate in it is broken off or is not PEM"))?;
    if chain.is_empty() {
        return Err(content("there is no certificate in it (BEGIN CERTIFICATE)"));
    }
    Ok(chain)
}

/// The private key in a PEM file.
pub(super) fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| CertificateError::Content {
        path: path.to_owned(),
        problem: "there is no unencrypted private key in it (BEGIN PRIVATE KEY)",
    })
}

/// The chain with its key, if they belong together; `path` is the key's.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    path: &Path,
) -> Result<CertifiedKey, CertificateError> {
    key_of(chain, key).map_err(|error| {
        let mismatch = matches!(error, Error::InconsistentKeys(InconsistentKeys::KeyMismatch));
        let problem = if mismatch {
            "this key does not belong to its certificate (the chain must begin with the server's own)"
        } else {
            "the certificate or its key is of a kind that cannot be used"
        };
        CertificateError::Content { path: path.to_owned(), problem }
    })
}

/// The chain with its key.
pub(super) fn key_of(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(chain, key, &provider())
}

/// From when to when the first certificate of `chain` is valid; `None` if it cannot be read.
pub(super) fn validity(chain: &[CertificateDer<'_>]) -> Option<(Timestamp, Timestamp)> {
    Facts::of(chain).map(|facts| (facts.not_before, facts.not_after))
}

fn warn_of_dates(key: &CertifiedKey, path: &Path, now: Timestamp) {
    if let Some(problem) = date_problem(validity(&key.cert), now) {
        tracing::warn!(path = %path.display(), "this certificate {problem}");
    }
}

fn date_problem(validity: Option<(Timestamp, Timestamp)>, now: Timestamp) -> Option<&'static str> {
    match validity {
        Some((_, end)) if end < now => Some("HAS EXPIRED: clients will refuse it until it is renewed"),
        Some((start, _)) if now < start => Some("is not valid yet: is the clock right?"),
        Some(_) => None,
        None => Some("has dates that cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs;
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::super::resolver::Names;
    use super::super::{Certificates, Settings};
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, text).unwrap();
            path
        }

        /// A self-signed certificate for `names`, valid from and until so many seconds after [`NOW`].
        fn pair(&self, file: &str, names: &[&str], valid: (i64, i64)) -> CertificateFiles {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let mut params = CertificateParams::new(names).unwrap();
            let moment = |offset| OffsetDateTime::from_unix_timestamp(1_800_000_000 + offset).unwrap();
            (params.not_before, params.not_after) = (moment(valid.0), moment(valid.1));
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            CertificateFiles {
                certificate: self.write(&format!("{file}.crt"), &certificate.pem()),
                key: self.write(&format!("{file}.key"), &key.serialize_pem()),
            }
        }
    }

    fn resolve(files: &[CertificateFiles], hosts: &[&str]) -> Result<Names, CertificateError> {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        Names::of(&load(files, NOW).unwrap(), &hosts)
    }

    const GOOD: (i64, i64) = (-60, 60);

    #[test]
    fn every_host_must_have_a_certificate() {
        let folder = Folder::new();
        let files = [
            folder.pair("a", &["a.example"], GOOD),
            folder.pair("wild", &["*.b.example", "192.0.2.1"], GOOD),
        ];
        for covered in [&["a.example", "x.b.example", "192.0.2.1"][..], &["A.Example"], &[]] {
            assert!(resolve(&files, covered).is_ok(), "{covered:?}");
        }
        for missing in ["b.example", "x.y.b.example", "192.0.2.2", "[2001:db8::1]", "not a host"] {
            let refused = resolve(&files, &["a.example", missing]).unwrap_err();
            assert_eq!(refused.to_string(), format!("no certificate is for {missing}"));
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_found_at_start() {
        let folder = Folder::new();
        let (one, two) = (folder.pair("one", &["a.example"], GOOD), folder.pair("two", &["a.example"], GOOD));
        let mixed = CertificateFiles { certificate: one.certificate, key: two.key.clone() };
        let settings = Settings::Files(vec![mixed]);
        let refused = Certificates::load(&settings, &["a.example".into()], NOW).err().unwrap();
        assert_eq!(
            refused.to_string(),
            format!(
                "{}: this key does not belong to its certificate (the chain must begin with the server's own)",
                two.key.display()
            )
        );
    }

    #[test]
    fn files_without_what_they_should_have_are_named() {
        let folder = Folder::new();
        let good = folder.pair("good", &["a.example"], GOOD);
        let empty = folder.write("empty", "");
        let cut = folder.write("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n");
        let absent = folder.0.path().join("absent");
        for (certificate, key, told) in [
            (&empty, &good.key, "empty: there is no certificate in it (BEGIN CERTIFICATE)"),
            (&good.key, &good.key, "good.key: there is no certificate in it (BEGIN CERTIFICATE)"),
            (&cut, &good.key, "cut: a certificate in it is broken off or is not PEM"),
            (
                &good.certificate,
                &empty,
                "empty: there is no unencrypted private key in it (BEGIN PRIVATE KEY)",
            ),
            (&good.certificate, &absent, "absent cannot be used: No such file or directory (os error 2)"),
        ] {
            let files = [CertificateFiles { certificate: certificate.clone(), key: key.clone() }];
            let refused = load(&files, NOW).unwrap_err();
            let cause = refused.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            assert!(format!("{refused}{cause}").ends_with(told), "{refused}{cause}");
        }
    }

    #[test]
    fn an_expired_certificate_is_served_with_a_warning() {
        let folder = Folder::new();
        for (valid, told) in [
            ((-120, -60), Some("HAS EXPIRED: clients will refuse it until it is renewed")),
            ((60, 120), Some("is not valid yet: is the clock right?")),
            (GOOD, None),
        ] {
            let keys = load(&[folder.pair("old", &["a.example"], valid)], NOW).unwrap();
            assert_eq!(date_problem(validity(&keys[0].cert), NOW), told);
        }
    }

    #[test]
    fn a_replaced_pair_is_shown_from_the_next_handshake_on() {
        let folder = Folder::new();
        let pair = folder.pair("a", &["a.example"], GOOD);
        let settings = Settings::Files(vec![pair.clone()]);
        let certificates = Certificates::load(&settings, &["a.example".into()], NOW).unwrap().unwrap();
        let shown = || validity(&certificates.resolver.shown("a.example").unwrap().cert).unwrap().1;
        let before = certificates.look();
        assert_eq!(certificates.look(), before, "nothing was touched");
        folder.pair("a", &["a.example"], (-60, 120));
        assert_ne!(certificates.look(), before);
        certificates.reload(NOW).unwrap();
        assert_eq!(shown(), NOW.after(std::time::Duration::from_mins(2)));
        // What cannot be used changes nothing.
        let usable = certificates.look();
        folder.write("a.key", "no key");
        assert_ne!(certificates.look(), usable);
        assert!(certificates.reload(NOW).is_err());
        folder.pair("a", &["b.example"], (-60, 180));
        assert!(certificates.reload(NOW).is_err(), "the host would be without a certificate");
        fs::remove_file(&pair.certificate).unwrap();
        assert!(certificates.reload(NOW).is_err());
        assert_eq!(shown(), NOW.after(std::time::Duration::from_mins(2)));
    }

    #[test]
    fn other_hosts_come_with_other_files_or_not_at_all() {
        let folder = Folder::new();
        let [a, b] = ["a.example", "b.example"].map(|host| folder.pair(host, &[host], GOOD));
        let (one, two) = (Settings::Files(vec![a.clone()]), Settings::Files(vec![a, b.clone()]));
        let hosts = || vec!["a.example".to_owned(), "b.example".to_owned()];
        let certificates = Certificates::load(&one, &["a.example".into()], NOW).unwrap().unwrap();
        let refused = certificates.reconfigure(&one, hosts(), NOW).unwrap_err();
        assert_eq!(refused.to_string(), "no certificate is for b.example");
        assert_eq!(*certificates.hosts(), ["a.example"]);
        assert!(certificates.shown("a.example").is_some());
        certificates.reconfigure(&two, hosts(), NOW).unwrap();
        assert!(certificates.shown("a.example").is_some() && certificates.shown("b.example").is_some());
        certificates.reload(NOW).unwrap();
        let before = certificates.look();
        fs::remove_file(&b.key).unwrap();
        assert_ne!(certificates.look(), before, "the new files are watched");
    }
}
