//! Where certificates come from, as the configuration says it.

use std::path::PathBuf;
use std::str::FromStr;

use instant_acme::LetsEncrypt;

use super::Look;
use crate::secret::Secret;

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `tls: { acme: ... }`: a certificate authority's, ordered and renewed by the gateway itself (RFC 8555).
    Acme(AcmeSettings),
}

/// `tls.acme`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The account's contact.
    pub email: String,
    /// Whose certificates.
    pub directory: Directory,
    /// PEM: what the directory's own certificate is trusted by, instead of the system's roots.
    pub roots: Option<PathBuf>,
    /// What binds the account to one that the authority knows from elsewhere.
    pub binding: Option<ExternalAccountBinding>,
    /// A certificate profile of the directory, such as `shortlived`.
    pub profile: Option<String>,
    /// How hosts are proven to be ours, in the order in which it is tried. Not empty.
    pub challenges: Vec<ChallengeKind>,
}

/// An ACME directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directory {
    /// Let's Encrypt.
    LetsEncrypt,
    /// Its staging environment, whose certificates nobody trusts.
    LetsEncryptStaging,
    /// Another one's URL.
    Url(String),
}

impl Directory {
    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::LetsEncrypt => LetsEncrypt::Production.url(),
            Self::LetsEncryptStaging => LetsEncrypt::Staging.url(),
            Self::Url(url) => url,
        }
    }

    /// Whether it is Let's Encrypt, staging or not.
    #[must_use]
    pub fn is_lets_encrypt(&self) -> bool {
        [LetsEncrypt::Production, LetsEncrypt::Staging].iter().any(|known| known.url() == self.url())
    }
}

/// RFC 8555 §7.3.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccountBinding {
    /// The key id.
    pub kid: String,
    /// The HMAC key, in base64url.
    pub key: Secret,
}

/// How a host is proven to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChallengeKind {
    /// A file on port 80 (RFC 8555 §8.3).
    Http01,
    /// A handshake on port 443 (RFC 8737).
    TlsAlpn01,
}

impl ChallengeKind {
    /// Its name in ACME.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// No such challenge is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no challenge that is answered here")]
pub struct UnknownChallenge;

impl FromStr for ChallengeKind {
    type Err = UnknownChallenge;

    fn from_str(text: &str) -> Result<Self, UnknownChallenge> {
        [Self::Http01, Self::TlsAlpn01].into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownChallenge)
    }
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
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
