//! Certificates for the listeners: from files, or from a local CA of ours for development.

mod files;
mod local_ca;
mod resolver;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ProducesTickets;
use rustls::sign::CertifiedKey;

use crate::time::Timestamp;

use resolver::{Names, Resolver};

pub use files::Look;

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum Settings {
    /// `tls: off`.
    Off,
    /// `tls: { files: [...] }`.
    Files(Vec<CertificateFiles>),
    /// `tls: { local_ca: DIR }`: a CA made by Portcullis for development, and a certificate for every host.
    LocalCa {
        /// Where `ca.pem`, its key and the certificates are kept.
        directory: PathBuf,
    },
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// Leaf first.
    pub certificate: PathBuf,
    /// PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// What the two files look like from outside.
    #[must_use]
    pub fn look(&self) -> Look {
        Look::at([&self.certificate, &self.key].into_iter())
    }
}

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
    hosts: Vec<String>,
    resolver: Arc<Resolver>,
    tls: Arc<ServerConfig>,
}

/// Where certificates are read.
enum Source {
    Files(Vec<CertificateFiles>),
    LocalCa(PathBuf),
}

impl Certificates {
    /// Reads the certificates of `settings`; `None` for [`Settings::Off`]. Every one of `hosts` must have one; no other
    /// name gets to see one.
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
            Settings::Files(files) => Source::Files(files.clone()),
            Settings::LocalCa { directory } => Source::LocalCa(directory.clone()),
        };
        let resolver = Arc::new(Resolver::new(Names::of(&source.read(hosts, now)?, hosts)?));
        let tls = server_config(Arc::clone(&resolver))?;
        Ok(Some(Self { source, hosts: hosts.to_owned(), resolver, tls }))
    }

    /// The server side of TLS: ALPN `h2` and `http/1.1`, the certificate by SNI, tickets for resumption. One for as long
    /// as this lives.
    #[must_use]
    pub fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }

    /// Reads the certificates again, and shows them from the next handshake on. What cannot be used as a whole changes
    /// nothing.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn reload(&self, now: Timestamp) -> Result<(), CertificateError> {
        self.resolver.show(Names::of(&self.source.read(&self.hosts, now)?, &self.hosts)?);
        Ok(())
    }

    /// What the files look like from outside: whoever replaces one changes it.
    #[must_use]
    pub fn look(&self) -> Look {
        match &self.source {
            Source::Files(files) => Look::at(files.iter().flat_map(|pair| [&pair.certificate, &pair.key])),
            // Its files are nobody's but ours.
            Source::LocalCa(_) => Look::default(),
        }
    }
}

impl Source {
    fn read(&self, hosts: &[String], now: Timestamp) -> Result<Vec<Arc<CertifiedKey>>, CertificateError> {
        match self {
            Self::Files(files) => files::load(files, now),
            Self::LocalCa(directory) => local_ca::load_or_make(directory, hosts, now),
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
        let load = || Certificates::load(&settings, &["localhost".into()], NOW).unwrap().unwrap().tls();
        let (first, second) = (load(), load());
        assert_eq!(first.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(first.ticketer.enabled());
        assert!(Arc::ptr_eq(&first.ticketer, &second.ticketer));
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
