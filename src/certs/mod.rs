//! Certificates for the listeners: from files, or from a local CA of ours for development.

mod files;
mod local_ca;
mod resolver;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ProducesTickets;

use crate::time::Timestamp;

use resolver::Resolver;

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

/// The server side of TLS: ALPN `h2` and `http/1.1`, the certificate by SNI, tickets for resumption. `None` for
/// [`Settings::Off`]. Every one of `hosts` must have a certificate; no other name gets to see one.
///
/// # Errors
/// [`CertificateError`].
pub fn server_config(
    settings: &Settings,
    hosts: &[String],
    now: Timestamp,
) -> Result<Option<Arc<ServerConfig>>, CertificateError> {
    let resolver = match settings {
        Settings::Off => return Ok(None),
        Settings::Files(files) => Resolver::new(&files::load(files, now)?, hosts)?,
        Settings::LocalCa { directory } => {
            Resolver::new(&local_ca::load_or_make(directory, hosts, now)?, hosts)?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| CertificateError::Crypto)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ticketer()?;
    Ok(Some(Arc::new(config)))
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

    #[test]
    fn tls_off_means_no_configuration() {
        let config =
            server_config(&Settings::Off, &["a.example".into()], Timestamp::from_seconds(0)).unwrap();
        assert!(config.is_none());
    }

    #[test]
    fn both_http_versions_are_offered_and_sessions_resume_across_reloads() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::LocalCa { directory: directory.path().into() };
        let now = Timestamp::from_seconds(1_800_000_000);
        let first = server_config(&settings, &["localhost".into()], now).unwrap().unwrap();
        let second = server_config(&settings, &["localhost".into()], now).unwrap().unwrap();
        assert_eq!(first.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(first.ticketer.enabled());
        assert!(Arc::ptr_eq(&first.ticketer, &second.ticketer));
    }
}
