//! Looking at a host, as a certificate authority does: http-01 (RFC 8555 §8.3) and tls-alpn-01 (RFC 8737 §3).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::answers::problem;
use super::{Proof, World};

const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether the test has changed its mind.
const A_MOMENT: Duration = Duration::from_millis(20);

/// What is to be looked at.
pub(super) struct Looked {
    pub(super) authorization: String,
    pub(super) host: String,
    pub(super) challenge: &'static str,
    pub(super) token: String,
    pub(super) key_authorization: String,
}

/// Kind and detail of the problem.
type Found = Result<(), (&'static str, String)>;

pub(super) async fn look(world: Arc<Mutex<World>>, changes: watch::Sender<usize>, looked: Looked) {
    let found = loop {
        let how = world.lock().expect("no test panics in here").proof(&looked.host);
        match how {
            Proof::Pending => tokio::time::sleep(A_MOMENT).await,
            Proof::Known | Proof::Believed => break Ok(()),
            Proof::Fails(kind, detail) => break Err((kind, detail.to_owned())),
            Proof::Looked { http, tls } => break found(&looked, http, tls).await,
        }
    };
    let found: Result<(), Value> = found.map_err(|(kind, detail)| problem(kind, &detail));
    let mut world = world.lock().expect("no test panics in here");
    world.looked(&looked.authorization, looked.challenge, found);
    changes.send_modify(|count| *count += 1);
}

async fn found(looked: &Looked, http: SocketAddr, tls: SocketAddr) -> Found {
    let found = async {
        match looked.challenge {
            "http-01" => http01(http, looked).await,
            "tls-alpn-01" => tls_alpn01(tls, looked).await,
            other => Err(("malformed", format!("{other} is not looked at"))),
        }
    };
    timeout(PATIENCE, found).await.unwrap_or(Err(("connection", "it takes too long".into())))
}

async fn connect(to: SocketAddr) -> Result<TcpStream, (&'static str, String)> {
    TcpStream::connect(to).await.map_err(|error| ("connection", format!("{to}: {error}")))
}

async fn http01(to: SocketAddr, looked: &Looked) -> Found {
    let mut stream = connect(to).await?;
    let Looked { host, token, .. } = looked;
    let request = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    );
    let broken = |error: std::io::Error| ("connection", error.to_string());
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(broken)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if !head.starts_with("HTTP/1.1 200 ") {
        let line = head.lines().next().unwrap_or_default();
        return Err(("unauthorized", format!("http://{host} answers {line:?}")));
    }
    if body.trim_end() == looked.key_authorization {
        Ok(())
    } else {
        Err(("incorrectResponse", format!("http://{host} answers {body:?}")))
    }
}

async fn tls_alpn01(to: SocketAddr, looked: &Looked) -> Found {
    let stream = connect(to).await?;
    let refused = |detail: String| ("unauthorized", detail);
    let name = ServerName::try_from(looked.host.clone()).map_err(|error| refused(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(everything_goes())).connect(name, stream).await;
    let stream = stream.map_err(|error| ("tls", error.to_string()))?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(b"acme-tls/1") {
        return Err(refused("it does not speak acme-tls/1".into()));
    }
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| refused("it shows no certificate".into()))?;
    let digest = digest::digest(&digest::SHA256, looked.key_authorization.as_bytes());
    proves(shown, &looked.host, digest.as_ref()).map_err(|what| refused(what.to_owned()))
}

/// Whether it is for this host alone and has the digest in its critical extension.
fn proves(certificate: &[u8], host: &str, digest: &[u8]) -> Result<(), &'static str> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| "it shows no certificate")?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.clone()).unwrap_or_default();
    if !matches!(names[..], [GeneralName::DNSName(name)] if name.eq_ignore_ascii_case(host)) {
        return Err("the certificate is not for this name alone");
    }
    let identifier = |extension: &&x509_parser::extensions::X509Extension<'_>| {
        extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31"
    };
    let extension = certificate.extensions().iter().find(identifier).ok_or("it has no acmeIdentifier")?;
    if !extension.critical {
        return Err("its acmeIdentifier is not critical");
    }
    // An OCTET STRING of 32 bytes.
    let wanted = [&[4, 32][..], digest].concat();
    if extension.value == wanted { Ok(()) } else { Err("its acmeIdentifier is another one") }
}

fn everything_goes() -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    config
}

/// RFC 8737 §3: the certificate is self-signed, and looked at afterwards.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 was offered".into()))
    }

    /// By the key alone: rustls takes no certificate with a critical extension that it does not know.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let (_, certificate) = X509Certificate::from_der(certificate)
            .map_err(|_| rustls::Error::General("no certificate".into()))?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        verify_tls13_signature_with_raw_key(
            message,
            &key,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
