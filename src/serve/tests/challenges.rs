//! What a certificate authority asks on ports 80 and 443, and what a stranger gets who asks the same.

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::certs::{Answer, Challenges, one_for_all};

/// Has one challenge of each kind open, for `localhost`.
#[derive(Default)]
struct Open {
    asked: AtomicUsize,
}

impl Challenges for Open {
    fn http01<'a>(&'a self, host: &'a str, token: &'a str) -> Answer<'a, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(
            async move { (host == "localhost" && token == "to-k_en").then(|| "to-k_en.thumb".to_owned()) },
        )
    }

    fn tls_alpn01<'a>(&'a self, host: &'a str) -> Answer<'a, Arc<rustls::ServerConfig>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new([host.to_owned()]).unwrap().self_signed(&key).unwrap();
            let mut config = one_for_all(certificate.der().clone(), key.serialize_der())?;
            config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
            (host == "localhost").then(|| Arc::new(config))
        })
    }
}

fn ordering() -> (Running, Arc<Open>, Tls) {
    let mut tls = Tls::new(&["localhost"]);
    let open = Arc::new(Open::default());
    tls.server.challenges = Some(Arc::clone(&open) as Arc<dyn Challenges>);
    (tls.start(usual()), open, tls)
}

async fn ask(running: &Running, request: Request<Empty<Bytes>>) -> Response<Incoming> {
    let mut sender = hyper1(TcpStream::connect(running.redirect).await.unwrap()).await;
    sender.send_request(request).await.unwrap()
}

// X3
#[tokio::test]
async fn a_certificate_authority_is_answered_before_anything_is_redirected() {
    let (running, open, _tls) = ordering();
    let response = ask(&running, get("/.well-known/acme-challenge/to-k_en")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(text(response).await, "to-k_en.thumb");
    assert_eq!(open.asked.load(Ordering::SeqCst), 1);
}

// X1, X3
#[tokio::test]
async fn whoever_asks_for_no_open_challenge_gets_what_everybody_gets() {
    let (running, open, _tls) = ordering();
    let path = "/.well-known/acme-challenge/";
    let response = ask(&running, get(&format!("{path}other"))).await;
    assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(response.headers()["location"], format!("https://localhost{path}other"));
    assert_eq!(open.asked.swap(0, Ordering::SeqCst), 1);
    let odd = ["", "a/b", "a%2fb", "a.b", &"a".repeat(257)];
    for token in odd {
        assert_eq!(
            ask(&running, get(&format!("{path}{token}"))).await.status(),
            StatusCode::PERMANENT_REDIRECT
        );
    }
    let mut post = get(&format!("{path}to-k_en"));
    *post.method_mut() = http::Method::POST;
    assert_eq!(ask(&running, post).await.status(), StatusCode::PERMANENT_REDIRECT);
    let mut leaking = get(&format!("{path}to-k_en"));
    leaking.headers_mut().insert("authorization", "Bearer x".parse().unwrap());
    assert_eq!(ask(&running, leaking).await.status(), StatusCode::BAD_REQUEST);
    let mut hostless = get(&format!("{path}to-k_en"));
    hostless.headers_mut().append("host", "other".parse().unwrap());
    assert_eq!(ask(&running, hostless).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(open.asked.load(Ordering::SeqCst), 0, "nothing of that is looked up");
}

/// A client that takes any certificate, as an authority does that looks at what is in it.
#[derive(Debug)]
struct Anything(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn shake(running: &Running, name: &str, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, running.connect().await).await
}

// X3
#[tokio::test]
async fn a_certificate_authority_sees_its_proof_and_is_told_nothing_else() {
    let (running, open, _tls) = ordering();
    let mut stream = shake(&running, "localhost", &[b"acme-tls/1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"acme-tls/1".as_slice()));
    // The other end may be closed already.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(rest(&mut stream).await, "", "RFC 8737 §3: no data is exchanged");
    let refused = shake(&running, "other", &[b"acme-tls/1"]).await.unwrap_err();
    assert_eq!(alert(&refused), Some(AlertDescription::UnrecognisedName));
    assert_eq!(open.asked.load(Ordering::SeqCst), 2);
}

// X3
#[tokio::test]
async fn whoever_offers_more_than_a_certificate_authority_is_none() {
    let (running, open, tls) = ordering();
    let stream = tls.connect(&running, "localhost", &[b"acme-tls/1", b"h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(open.asked.load(Ordering::SeqCst), 0);
}
