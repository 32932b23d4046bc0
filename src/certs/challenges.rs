//! What a certificate authority asks of a host, and who answers it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rustls::ServerConfig;

/// An answer that may have to be looked up.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Option<T>> + Send + 'a>>;

/// Answers the challenges of orders that any process may have begun.
pub trait Challenges: Send + Sync {
    /// The key authorization for a token (RFC 8555 §8.3), if `host` has such a challenge open.
    fn http01<'a>(&'a self, host: &'a str, token: &'a str) -> Answer<'a, String>;

    /// What shakes hands for `acme-tls/1` (RFC 8737 §3), if `host` has such a challenge open.
    fn tls_alpn01<'a>(&'a self, host: &'a str) -> Answer<'a, Arc<ServerConfig>>;
}

/// The server side of TLS, and who answers a certificate authority.
#[derive(Clone)]
pub struct Tls {
    /// For everybody.
    pub config: Arc<ServerConfig>,
    /// With ACME.
    pub challenges: Option<Arc<dyn Challenges>>,
}
