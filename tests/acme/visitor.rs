//! A client that trusts one root and nothing else, and tells what it was shown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::certs::Facts;
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Clone)]
pub(crate) struct Visitor {
    config: Arc<ClientConfig>,
}

/// A clock that stands still.
#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

impl Visitor {
    /// Trusts the root in this PEM.
    pub(crate) fn new(root: &str) -> Self {
        Self::with(root, Arc::new(rustls::time_provider::DefaultTimeProvider))
    }

    /// The same, whose clock stands at so many seconds of the epoch.
    pub(crate) fn at(root: &str, seconds: u64) -> Self {
        Self::with(root, Arc::new(At(seconds)))
    }

    fn with(root: &str, time: Arc<dyn TimeProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider().into();
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every visit is a first one: what is asked for is the certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    pub(crate) async fn connect(&self, to: SocketAddr, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let tcp = TcpStream::connect(to).await?;
        TlsConnector::from(self.config()).connect(name, tcp).await
    }

    /// The certificate that is shown for `host`, once it is proven to be that host's.
    pub(crate) async fn shown(&self, to: SocketAddr, host: &str) -> io::Result<Facts> {
        let stream = self.connect(to, host).await?;
        Ok(Facts::of(stream.get_ref().1.peer_certificates().unwrap()).unwrap())
    }

    /// The same, once it is one that is `wanted`.
    pub(crate) async fn waits(
        &self,
        (to, host): (SocketAddr, &str),
        within: Duration,
        wanted: impl Fn(&Facts) -> bool,
    ) -> Facts {
        let started = Instant::now();
        loop {
            let shown = self.shown(to, host).await;
            if let Ok(facts) = &shown
                && wanted(facts)
            {
                return facts.clone();
            }
            assert!(started.elapsed() < within, "not within {within:?}: {host} at {to}: {shown:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Any certificate, within twenty seconds.
    pub(crate) async fn gets(&self, to: SocketAddr, host: &str) -> Facts {
        self.waits((to, host), Duration::from_secs(20), |_| true).await
    }

    /// The alert that ends a handshake.
    pub(crate) async fn refused(&self, to: SocketAddr, host: &str) -> Option<AlertDescription> {
        let error = self.shown(to, host).await.err()?;
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        if let rustls::Error::AlertReceived(alert) = error { Some(*alert) } else { panic!("{host}: {error}") }
    }

    /// The body of a 200.
    pub(crate) async fn get(&self, to: SocketAddr, host: &str, path: &str) -> String {
        let mut stream = self.connect(to, host).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A server may close without saying so, as Go's do.
        drop(stream.read_to_string(&mut answer).await);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        body.to_owned()
    }
}
