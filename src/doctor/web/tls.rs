//! TLS with eyes open: the certificates that were shown are kept, and what is wrong with them. Only where it is told to does a
//! connection go on behind a bad certificate.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certs::Facts;
use crate::time::Timestamp;

/// Why there is no secure connection, or would be none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// For other names only: these.
    #[error("the certificate is for {}, not for this host", names(.0))]
    WrongName(Vec<String>),
    /// It has ended.
    #[error("the certificate ended at {}", .0.to_rfc3339())]
    Expired(Timestamp),
    /// It is not valid before.
    #[error("the certificate is not valid before {}", .0.to_rfc3339())]
    NotYet(Timestamp),
    /// Issued for tests, by this authority.
    #[error("the certificate was issued for tests, by {0}")]
    Staging(String),
    /// Issued by itself.
    #[error("the certificate is signed by itself and by nobody else")]
    SelfSigned,
    /// The server shows its own certificate and not the one between it and a root: that of this authority.
    #[error("the chain is incomplete: the certificate of {0} is missing")]
    Incomplete(String),
    /// Issued by an authority that nobody knows.
    #[error("the certificate was issued by {0}, which nobody here trusts")]
    UnknownIssuer(String),
    /// Something else is wrong with it.
    #[error("the certificate is not good ({0})")]
    Certificate(String),
    /// What came was no TLS.
    #[error("what answers does not speak TLS there")]
    NotTls,
    /// The server refused, by this alert.
    #[error("the server broke the handshake off (alert {0:?})")]
    Refused(AlertDescription),
    /// The server closed the connection.
    #[error("the server closed the connection in the handshake")]
    Closed,
    /// Versions, ciphers and the like.
    #[error("the handshake failed ({0})")]
    Handshake(String),
    /// This machine has no roots, or `--ca` has none.
    #[error("there are no root certificates here ({0})")]
    Roots(String),
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") }
}

/// The certificates that a server has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The server's own, then those of its issuers, as far as they were sent.
    pub chain: Vec<CertificateDer<'static>>,
    /// What is wrong with them.
    pub fault: Option<TlsFault>,
}

impl Shown {
    /// What the server's own certificate says of itself.
    #[must_use]
    pub fn facts(&self) -> Option<Facts> {
        Facts::of(&self.chain)
    }
}

/// Who decides on certificates: the platform's roots and `extra` ones, in PEM.
pub(super) fn judge(extra: Option<&[u8]>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let extra: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(extra.unwrap_or_default()).collect();
    let extra = extra.map_err(|error| error.to_string())?;
    let verifier = Verifier::new_with_extra_roots(extra, provider).map_err(|error| error.to_string())?;
    Ok(Arc::new(verifier))
}

/// Keeps what was shown, and the verdict; goes on in spite of it if `lenient`.
#[derive(Debug)]
pub(super) struct Witness {
    judge: Arc<dyn ServerCertVerifier>,
    lenient: bool,
    shown: Mutex<Option<Shown>>,
}

impl Witness {
    pub(super) fn new(judge: Arc<dyn ServerCertVerifier>, lenient: bool) -> Arc<Self> {
        Arc::new(Self { judge, lenient, shown: Mutex::default() })
    }

    /// For HTTP/1.1, with this witness.
    pub(super) fn config(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        let provider: Arc<CryptoProvider> = rustls::crypto::aws_lc_rs::default_provider().into();
        let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(self) as _;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each connection is to show its certificates.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    pub(super) fn shown(&self) -> Option<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let all = std::iter::once(end_entity).chain(intermediates);
        let chain: Vec<_> = all.map(|one| one.clone().into_owned()).collect();
        let fault = verdict.as_ref().err().map(|error| reason(error, &chain));
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shown { chain, fault });
        if self.lenient { Ok(ServerCertVerified::assertion()) } else { verdict }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// What is wrong with `chain`, of which the judge said `error`.
fn reason(error: &Error, chain: &[CertificateDer<'_>]) -> TlsFault {
    let facts = Facts::of(chain);
    let Error::InvalidCertificate(error) = error else { return TlsFault::Certificate(error.to_string()) };
    match (error, facts) {
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, Some(facts)) => {
            TlsFault::Expired(facts.not_after)
        }
        (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, Some(facts)) => {
            TlsFault::NotYet(facts.not_before)
        }
        (
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            Some(facts),
        ) => TlsFault::WrongName(facts.names),
        (CertificateError::UnknownIssuer, Some(facts)) => unknown(chain, facts),
        // What rustls says when an authority's own certificate is shown as a server's.
        (other, Some(_)) if is_self_signed(chain) => {
            tracing::debug!(target: "portcullis::doctor", error = %other, "self-signed");
            TlsFault::SelfSigned
        }
        (other, _) => TlsFault::Certificate(other.to_string()),
    }
}

fn unknown(chain: &[CertificateDer<'_>], facts: Facts) -> TlsFault {
    if is_for_tests(chain, &facts.issuer) {
        return TlsFault::Staging(facts.issuer);
    }
    if is_self_signed(chain) {
        return TlsFault::SelfSigned;
    }
    // Public authorities say where their certificate is, and are never the root itself; private ones hardly ever do.
    if chain.len() == 1 && names_its_issuer(chain) {
        return TlsFault::Incomplete(facts.issuer);
    }
    TlsFault::UnknownIssuer(facts.issuer)
}

/// Let's Encrypt names the authorities of its staging directory `(STAGING) …`, once `Fake LE …`; Pebble's say who they are.
fn is_for_tests(chain: &[CertificateDer<'_>], issuer: &str) -> bool {
    let issuers =
        chain.iter().filter_map(|one| Facts::of(std::slice::from_ref(one)).map(|facts| facts.issuer));
    let marked =
        |name: &str| name.contains("STAGING") || name.starts_with("Fake LE") || name.starts_with("Pebble");
    marked(issuer) || issuers.into_iter().any(|name| marked(&name))
}

fn is_self_signed(chain: &[CertificateDer<'_>]) -> bool {
    let Some(first) = chain.first() else { return false };
    X509Certificate::from_der(first)
        .is_ok_and(|(_, certificate)| certificate.subject().as_raw() == certificate.issuer().as_raw())
}

fn names_its_issuer(chain: &[CertificateDer<'_>]) -> bool {
    let Some(first) = chain.first() else { return false };
    X509Certificate::from_der(first).is_ok_and(|(_, certificate)| {
        let mut parsed = certificate.extensions().iter().map(X509Extension::parsed_extension);
        parsed.any(|extension| matches!(extension, ParsedExtension::AuthorityInfoAccess(_)))
    })
}

/// Why a handshake failed in which no certificate was refused.
pub(super) fn handshake(error: &io::Error) -> TlsFault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidMessage(_)) => TlsFault::NotTls,
        Some(Error::AlertReceived(alert)) => TlsFault::Refused(*alert),
        Some(other) => TlsFault::Handshake(other.to_string()),
        None => TlsFault::Closed,
    }
}
