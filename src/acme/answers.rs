//! What a certificate authority is answered on ports 80 and 443: by any process, for orders of any process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use tokio::sync::Semaphore;

use crate::certs::{Answer, Certificates, Challenges, one_for_all};
use crate::clock::Clock;
use crate::secret::base64url;
use crate::store::{OpenChallenge, Store};

/// How many look-ups are under way at once; strangers can ask, too. Certificate authorities come from a handful of places.
const AT_ONCE: usize = 32;

/// Looks answers up in the store.
pub(super) struct Answers {
    store: Store,
    clock: Arc<dyn Clock>,
    certificates: Arc<Certificates>,
    room: Semaphore,
    /// What was made for the challenge that is open on a host: authorities look from several places.
    made: Mutex<HashMap<String, (String, Arc<ServerConfig>)>>,
}

impl Answers {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, certificates: Arc<Certificates>) -> Self {
        Self { store, clock, certificates, room: Semaphore::new(AT_ONCE), made: Mutex::default() }
    }

    /// The answer, if the challenge is open on a host of ours.
    async fn look_up(&self, host: &str, challenge: OpenChallenge<'_>) -> Option<String> {
        if !self.certificates.hosts().iter().any(|ours| ours == host) {
            return None;
        }
        // They wait their turn: a flood of questions must not keep the one that matters from being answered.
        let _place = self.room.acquire().await.ok()?;
        match self.store.challenge(challenge, self.clock.now()).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(host, %error, "a certificate authority asked, and what to answer cannot be looked up");
                None
            }
        }
    }

    /// Made once for a challenge, however often it is asked for; and told once, for strangers can ask, too.
    fn made(&self, host: &str, digest: String) -> Option<Arc<ServerConfig>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = made.get(host).filter(|(of, _)| *of == digest) {
            return Some(Arc::clone(config));
        }
        let config = proof(host, &digest)?;
        tracing::info!(
            host,
            "asked for what proves on port 443 that the host is ours (tls-alpn-01), and shows it"
        );
        made.insert(host.to_owned(), (digest, Arc::clone(&config)));
        Some(config)
    }
}

impl Challenges for Answers {
    fn http01<'a>(&'a self, host: &'a str, token: &'a str) -> Answer<'a, String> {
        Box::pin(async move {
            let host = host.trim_matches(['[', ']']);
            let answer = self.look_up(host, OpenChallenge::Http01 { host, token }).await?;
            tracing::info!(host, "answered the certificate authority's question on port 80 (http-01)");
            Some(answer)
        })
    }

    fn tls_alpn01<'a>(&'a self, host: &'a str) -> Answer<'a, Arc<ServerConfig>> {
        Box::pin(async move {
            let digest = self.look_up(host, OpenChallenge::TlsAlpn01 { host }).await?;
            self.made(host, digest)
        })
    }
}

/// A self-signed certificate that shows the digest of the key authorization, and the protocol it is shown by (RFC 8737 §3).
fn proof(host: &str, digest: &str) -> Option<Arc<ServerConfig>> {
    let digest = base64url::<32>(digest)?;
    let mut params = CertificateParams::new([host.to_owned()]).ok()?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate().ok()?;
    let certificate = params.self_signed(&key).ok()?;
    let mut config = one_for_all(certificate.der().clone(), key.serialize_der())?;
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    Some(Arc::new(config))
}
