//! Certificates for the listeners: from files, from an ACME server, or from a local CA of ours for development.

mod challenges;
mod facts;
mod files;
mod local_ca;
mod resolver;
mod settings;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ProducesTickets;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::time::Timestamp;

use resolver::{Names, Resolver};

pub use challenges::{Answer, Challenges, Tls};
pub use facts::{Facts, Unusable, issued};
pub use files::{Look, read};
pub use settings::{
    AcmeSettings, CertificateFiles, ChallengeKind, Directory, ExternalAccountBinding, Settings,
    UnknownChallenge,
};

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("the file {path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has no certificate or no key in it, or they do not belong together.
    #[error("{path}: {problem}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A configured host has no certificate.
    #[error("no certificate is for {0}")]
    Missing(String),
    /// The cryptographic library refuses.
    #[error("certificates cannot be made")]
    Crypto,
}

/// The certificates that the listeners show, and where they came from: read again, and swapped whole, without a restart.
pub struct Certificates {
    source: Source,
    hosts: ArcSwap<Vec<String>>,
    resolver: Arc<Resolver>,
    tls: Arc<ServerConfig>,
    /// Held from the reading of certificates until they are shown, so that nothing older is shown after something newer.
    changing: Mutex<()>,
}

/// Where certificates are read.
enum Source {
    Files(ArcSwap<Vec<CertificateFiles>>),
    LocalCa(PathBuf),
    /// Those that an ACME server has issued so far.
    Acme(ArcSwap<Vec<Arc<CertifiedKey>>>),
}

/// Where certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Somebody else renews them.
    File,
    /// Made here, for development.
    LocalCa,
    /// Ordered by the gateway.
    Acme,
}

impl SourceKind {
    /// Its name, on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::LocalCa => "local_ca",
            Self::Acme => "acme",
        }
    }
}

impl Certificates {
    /// Reads the certificates of `settings`; `None` for [`Settings::Off`]. Every one of `hosts` must have one; no other
    /// name gets to see one. With ACME there is none before [`Self::issued`] brings it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(
        settings: &Settings,
        hosts: &[String],
        now: Timestamp,
    ) -> Result<Option<Self>, CertificateError> {
        let source = match settings {
            Settings::Off => return Ok(None),
            Settings::Files(files) => Source::Files(ArcSwap::from_pointee(files.clone())),
            Settings::LocalCa { directory } => Source::LocalCa(directory.clone()),
            Settings::Acme(_) => Source::Acme(ArcSwap::default()),
        };
        let resolver = Arc::new(Resolver::new(source.names(hosts, now)?));
        let tls = server_config(Arc::clone(&resolver))?;
        let hosts = ArcSwap::from_pointee(hosts.to_owned());
        Ok(Some(Self { source, hosts, resolver, tls, changing: Mutex::default() }))
    }

    /// The server side of TLS: ALPN `h2` and `http/1.1`, the certificate by SNI, tickets for resumption. One for as long
    /// as this lives.
    #[must_use]
    pub fn tls(&self, challenges: Option<Arc<dyn Challenges>>) -> Tls {
        Tls { config: Arc::clone(&self.tls), challenges }
    }

    /// The hosts that certificates are shown for.
    #[must_use]
    pub fn hosts(&self) -> Arc<Vec<String>> {
        self.hosts.load_full()
    }

    /// Reads the certificates again, and shows them from the next handshake on. What cannot be used as a whole changes
    /// nothing.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn reload(&self, now: Timestamp) -> Result<(), CertificateError> {
        let _changing = self.change();
        self.resolver.show(self.source.names(&self.hosts(), now)?);
        Ok(())
    }

    /// Shows certificates for other hosts from the next handshake on, as after a change of the configuration; from other files,
    /// if `settings` name them and it was files before. What cannot be used as a whole changes nothing.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn reconfigure(
        &self,
        settings: &Settings,
        hosts: Vec<String>,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let _changing = self.change();
        let names = match (&self.source, settings) {
            (Source::Files(before), Settings::Files(files)) => {
                let names = Names::of(&files::load(files, now)?, &hosts)?;
                before.store(Arc::new(files.clone()));
                names
            }
            (Source::Files(_) | Source::LocalCa(_) | Source::Acme(_), _) => self.source.names(&hosts, now)?,
        };
        self.hosts.store(Arc::new(hosts));
        self.resolver.show(names);
        Ok(())
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With ACME: shows these from the next handshake on, and of those before none but these.
    pub fn issued(&self, keys: Vec<Arc<CertifiedKey>>) {
        if let Source::Acme(issued) = &self.source {
            let _changing = self.change();
            self.resolver.show(Names::some_of(&keys, &self.hosts()));
            issued.store(Arc::new(keys));
        }
    }

    /// Where the certificates come from.
    #[must_use]
    pub const fn source(&self) -> SourceKind {
        match &self.source {
            Source::Files(_) => SourceKind::File,
            Source::LocalCa(_) => SourceKind::LocalCa,
            Source::Acme(_) => SourceKind::Acme,
        }
    }

    /// What the files look like from outside: whoever replaces one changes it.
    #[must_use]
    pub fn look(&self) -> Look {
        match &self.source {
            Source::Files(files) => {
                Look::at(files.load().iter().flat_map(|pair| [&pair.certificate, &pair.key]))
            }
            // Its files are nobody's but ours; and these are no files.
            Source::LocalCa(_) | Source::Acme(_) => Look::default(),
        }
    }

    /// The certificate that is shown for a host, if there is one.
    #[must_use]
    pub fn shown(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.resolver.shown(host)
    }
}

impl Source {
    /// A certificate for each of `hosts`; of an ACME server's, for those that have one.
    fn names(&self, hosts: &[String], now: Timestamp) -> Result<Names, CertificateError> {
        match self {
            Self::Files(files) => Names::of(&files::load(&files.load(), now)?, hosts),
            Self::LocalCa(directory) => Names::of(&local_ca::load_or_make(directory, hosts, now)?, hosts),
            Self::Acme(issued) => Ok(Names::some_of(&issued.load(), hosts)),
        }
    }
}

fn server_config(resolver: Arc<Resolver>) -> Result<Arc<ServerConfig>, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| CertificateError::Crypto)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ticketer()?;
    Ok(Arc::new(config))
}

/// The server side of TLS that shows one certificate to everybody; its key is PKCS#8, DER. The certificate is not looked at: it
/// may have critical extensions that only those who ask for it know (RFC 8737 §3).
#[must_use]
pub fn one_for_all(certificate: CertificateDer<'static>, key: Vec<u8>) -> Option<ServerConfig> {
    let provider = provider();
    let key = provider.key_provider.load_private_key(PrivatePkcs8KeyDer::from(key).into()).ok()?;
    let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(config.with_no_client_auth().with_cert_resolver(Arc::new(shown)))
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(|| Arc::new(aws_lc_rs::default_provider()), Arc::clone)
}

/// One for the process, so that a reload ends nobody's session. The tickets' keys change by themselves.
fn ticketer() -> Result<Arc<dyn ProducesTickets>, CertificateError> {
    static TICKETER: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    if let Some(ticketer) = TICKETER.get() {
        return Ok(Arc::clone(ticketer));
    }
    let made = aws_lc_rs::Ticketer::new().map_err(|_| CertificateError::Crypto)?;
    Ok(Arc::clone(TICKETER.get_or_init(|| made)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn tls_off_means_no_certificates() {
        assert!(Certificates::load(&Settings::Off, &["a.example".into()], NOW).unwrap().is_none());
    }

    #[test]
    fn both_http_versions_are_offered_and_sessions_resume_across_loads() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::LocalCa { directory: directory.path().into() };
        let load =
            || Certificates::load(&settings, &["localhost".into()], NOW).unwrap().unwrap().tls(None).config;
        let (first, second) = (load(), load());
        assert_eq!(first.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(first.ticketer.enabled());
        assert!(Arc::ptr_eq(&first.ticketer, &second.ticketer));
    }

    #[test]
    fn other_hosts_get_certificates_and_those_that_are_gone_are_shown_none() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::LocalCa { directory: directory.path().into() };
        let certificates = Certificates::load(&settings, &["localhost".into()], NOW).unwrap().unwrap();
        certificates.reconfigure(&settings, vec!["new.example".into()], NOW).unwrap();
        assert!(certificates.shown("new.example").is_some() && certificates.shown("localhost").is_none());
        assert_eq!(*certificates.hosts(), ["new.example"]);
        certificates.reload(NOW).unwrap();
        assert!(certificates.shown("new.example").is_some(), "as it is when they are read again");
    }

    #[test]
    fn a_certificate_of_the_local_ca_is_made_anew_before_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::LocalCa { directory: directory.path().into() };
        let certificates = Certificates::load(&settings, &["localhost".into()], NOW).unwrap().unwrap();
        let shown = || files::validity(&certificates.resolver.shown("localhost").unwrap().cert).unwrap();
        let (_, end) = shown();
        certificates.reload(end.before(std::time::Duration::from_hours(24 * 31))).unwrap();
        assert_eq!(shown().1, end, "a month and a day is long enough");
        certificates.reload(end.before(std::time::Duration::from_hours(24 * 29))).unwrap();
        assert!(shown().1 > end);
    }
}
