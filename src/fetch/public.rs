//! Fetching what a stranger names (M4, M5). The name is resolved once, every address it has must be a public one, and
//! the connection goes to one of those very addresses, so that a second answer of the name's owner changes nothing.
//! https on port 443 only, no redirect, no pool, no proxy; the certificate is verified for the name.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{error::Error, io};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_rustls::ConfigBuilderExt;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::{Host, Position, Url};

use super::addresses::is_public;
use super::{Bounds, USER_AGENT};

/// How long one address may take to accept a connection before the next is tried.
const CONNECT: Duration = Duration::from_secs(2);
/// Addresses of one name that are tried.
const TRIED: usize = 3;
/// Most bytes of an answer's head.
const HEAD: usize = 16 * 1024;

/// Fetches JSON that a stranger names. The system's TLS roots are loaded at the first fetch: where nobody names anything
/// there need not be any.
#[derive(Default)]
pub struct PublicFetcher {
    tls: OnceLock<TlsConnector>,
}

/// Why there is no JSON. The sentences are for the developer who put it there.
#[derive(Debug, thiserror::Error)]
pub enum PublicError {
    /// Not https on the standard port of a host name: nothing was resolved.
    #[error("it must be https on the standard port of a host name")]
    Url,
    /// The system's roots cannot be loaded.
    #[error("this server has no root certificates to verify it by")]
    Roots(#[source] rustls::Error),
    /// The name has no address, or the resolver does not answer.
    #[error("its host name cannot be resolved")]
    Unresolved(#[source] io::Error),
    /// One of the name's addresses is not public. All of them are refused: an owner who mixes them means no good.
    #[error("its host name leads to {0}, which is no address of the public internet")]
    NotPublic(IpAddr),
    /// None of the addresses accepts a connection.
    #[error("its server cannot be connected to")]
    Unreachable(#[source] io::Error),
    /// The handshake failed, by a certificate that is not trusted above all.
    #[error("there is no secure connection to it ({0})")]
    Tls(io::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("its server broke off")]
    BrokeOff(#[source] Box<dyn Error + Send + Sync>),
    /// Longer than [`Bounds::time`].
    #[error("its server took longer than {} seconds", .0.as_secs())]
    Timeout(Duration),
    /// Any 3xx; not followed (RFC 9700 §4.11).
    #[error("its server answered {0} and a redirect is not followed; it must be at this very URL")]
    Redirect(StatusCode),
    /// Anything else than 200.
    #[error("its server answered {0}; it must be 200 OK")]
    Status(StatusCode),
    /// No `application/json` nor `application/…+json`.
    #[error("its Content-Type is {0}; it must be application/json")]
    ContentType(String),
    /// More than [`Bounds::body`].
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
}

impl PublicFetcher {
    /// A fetcher.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A fetcher with a TLS configuration of its own instead of the system's roots.
    #[cfg(test)]
    fn with_tls(config: ClientConfig) -> Self {
        Self { tls: OnceLock::from(TlsConnector::from(Arc::new(config))) }
    }

    /// Fetches the JSON at `url`: a 200 with its headers and its body, still to be parsed.
    ///
    /// # Errors
    /// [`PublicError`].
    pub async fn get(&self, url: &Url, bounds: Bounds) -> Result<Response<Bytes>, PublicError> {
        let Some(Host::Domain(name)) = url.host() else { return Err(PublicError::Url) };
        if url.scheme() != "https" || url.port().is_some() {
            return Err(PublicError::Url);
        }
        within(bounds, async {
            let addresses = resolve(name).await?;
            self.exchange(&addresses, name, url, bounds).await
        })
        .await
    }

    /// One request to one of `addresses`, which are not looked at any more.
    async fn exchange(
        &self,
        addresses: &[SocketAddr],
        name: &str,
        url: &Url,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, PublicError> {
        let tcp = dial(addresses).await.map_err(PublicError::Unreachable)?;
        let server = ServerName::try_from(name.to_owned()).map_err(|_| PublicError::Url)?;
        let tls = self.tls()?.connect(server, tcp).await.map_err(PublicError::Tls)?;
        let broke_off = |error: hyper::Error| PublicError::BrokeOff(error.into());
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(tls)).await.map_err(broke_off)?;
        // Ends with this exchange, whatever the other end does.
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let response = sender.send_request(request(name, url)?).await.map_err(broke_off)?;
        check(response.status(), response.headers())?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, bounds.body).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                PublicError::TooLarge(bounds.body)
            } else {
                PublicError::BrokeOff(error)
            }
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    fn tls(&self) -> Result<&TlsConnector, PublicError> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let mut config =
            ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .and_then(ConfigBuilderExt::try_with_platform_verifier)
                .map_err(PublicError::Roots)?
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(self.tls.get_or_init(|| TlsConnector::from(Arc::new(config))))
    }
}

async fn within<T>(
    bounds: Bounds,
    work: impl Future<Output = Result<T, PublicError>>,
) -> Result<T, PublicError> {
    tokio::time::timeout(bounds.time, work).await.unwrap_or(Err(PublicError::Timeout(bounds.time)))
}

/// The addresses of `name`, if all of them are public.
async fn resolve(name: &str) -> Result<Vec<SocketAddr>, PublicError> {
    let found = tokio::net::lookup_host((name, 443)).await.map_err(PublicError::Unresolved)?;
    all_public(found.collect())
}

fn all_public(addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, PublicError> {
    match addresses.iter().find(|address| !is_public(address.ip())) {
        Some(special) => Err(PublicError::NotPublic(special.ip())),
        None => Ok(addresses),
    }
}

/// Connects to the first of `addresses` that answers.
async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses.iter().take(TRIED) {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn request(name: &str, url: &Url) -> Result<Request<Empty<Bytes>>, PublicError> {
    let target: Uri =
        url[Position::BeforePath..Position::AfterQuery].parse().map_err(|_| PublicError::Url)?;
    let request = Request::get(target)
        .header(header::HOST, name)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, USER_AGENT);
    request.body(Empty::new()).map_err(|_| PublicError::Url)
}

fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), PublicError> {
    if status.is_redirection() {
        return Err(PublicError::Redirect(status));
    }
    if status != StatusCode::OK {
        return Err(PublicError::Status(status));
    }
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("missing");
    if is_json(given) { Ok(()) } else { Err(PublicError::ContentType(given.chars().take(100).collect())) }
}

/// `application/json`, or a type of its own that is JSON (RFC 6839 §3.1), with or without parameters.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(kind) = kind.strip_prefix("application/") else { return false };
    kind == "json" || kind.strip_suffix("+json").is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rustls::{RootCertStore, ServerConfig};
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const BOUNDS: Bounds = Bounds { body: 64, time: Duration::from_secs(5) };
    const NAME: &str = "app.example.com";

    /// An https server for one request, which is answered with these bytes.
    struct Server {
        address: SocketAddr,
        certificate: CertificateDer<'static>,
        asked: Arc<Mutex<(Option<String>, String)>>,
    }

    impl Server {
        async fn answering(answer: &'static str) -> Self {
            Self::of(NAME, answer, false).await
        }

        async fn of(name: &str, answer: &'static str, drip: bool) -> Self {
            let issued = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
            let certificate = issued.cert.der().clone();
            let config = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], key)
                .unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let asked = Arc::new(Mutex::default());
            let seen = Arc::clone(&asked);
            tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut tls) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
                let mut head = [0; 4096];
                let read = tls.read(&mut head).await.unwrap();
                let name = tls.get_ref().1.server_name().map(str::to_owned);
                *seen.lock().unwrap() = (name, String::from_utf8_lossy(&head[..read]).into_owned());
                drop(tls.write_all(answer.as_bytes()).await);
                while drip && tls.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
                drop(tls.shutdown().await);
            });
            Self { address, certificate, asked }
        }

        /// Asks it under `name` although its address is not public, which no caller outside this file can.
        async fn ask(
            &self,
            name: &str,
            target: &str,
            bounds: Bounds,
        ) -> Result<Response<Bytes>, PublicError> {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone()).unwrap();
            let config = ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let url = Url::parse(&format!("https://{name}{target}")).unwrap();
            let fetcher = PublicFetcher::with_tls(config);
            within(bounds, fetcher.exchange(&[self.address], name, &url, bounds)).await
        }
    }

    fn provider() -> Arc<rustls::crypto::CryptoProvider> {
        Arc::new(rustls::crypto::aws_lc_rs::default_provider())
    }

    const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

    async fn refused(answer: &'static str) -> String {
        let server = Server::answering(answer).await;
        server.ask(NAME, "/c", BOUNDS).await.unwrap_err().to_string()
    }

    // M4, M5
    #[tokio::test]
    async fn the_request_names_the_host_in_tls_and_http_and_says_who_asks() {
        let server = Server::answering(JSON).await;
        let response = server.ask(NAME, "/client.json?v=1", BOUNDS).await.unwrap();
        assert_eq!(response.body(), "{}");
        let (server_name, head) = server.asked.lock().unwrap().clone();
        assert_eq!(server_name.as_deref(), Some(NAME));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            head,
            format!(
                "GET /client.json?v=1 HTTP/1.1\r\nhost: {NAME}\r\naccept: application/json\r\nuser-agent: portcullis/{version}\r\n\r\n"
            )
        );
    }

    // M5
    #[tokio::test]
    async fn only_a_200_with_json_is_taken() {
        for (answer, why) in [
            (
                "HTTP/1.1 302 Found\r\nLocation: https://app.example.com/d\r\nContent-Length: 0\r\n\r\n",
                "its server answered 302 Found and a redirect is not followed; it must be at this very URL",
            ),
            (
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                "its server answered 404 Not Found; it must be 200 OK",
            ),
            (
                "HTTP/1.1 203 Non-Authoritative Information\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
                "its server answered 203 Non Authoritative Information; it must be 200 OK",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}",
                "its Content-Type is text/html; it must be application/json",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
                "its Content-Type is missing; it must be application/json",
            ),
            ("SSH-2.0-OpenSSH_9\r\n", "its server broke off"),
            ("", "its server broke off"),
        ] {
            assert_eq!(refused(answer).await, why);
        }
    }

    // M5
    #[tokio::test]
    async fn a_body_of_one_byte_too_many_is_refused_with_a_length_or_without() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        for more in ["Content-Length: 65\r\n\r\n", "\r\n", "Transfer-Encoding: chunked\r\n\r\n41\r\n"] {
            let answer: &'static str = format!("{head}{more}{}", "x".repeat(65)).leak();
            assert_eq!(refused(answer).await, "it is larger than 64 bytes", "{more:?}");
        }
        let fits: &'static str = format!("{head}\r\n{}", "x".repeat(64)).leak();
        assert_eq!(Server::answering(fits).await.ask(NAME, "/c", BOUNDS).await.unwrap().body().len(), 64);
    }

    // M5
    #[tokio::test]
    async fn a_head_without_an_end_is_refused() {
        let answer: &'static str = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * HEAD)).leak();
        assert_eq!(refused(answer).await, "its server broke off");
    }

    // M5
    #[tokio::test]
    async fn the_time_limit_covers_a_body_that_drips() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n";
        let server = Server::of(NAME, answer, true).await;
        let bounds = Bounds { body: 64, time: Duration::from_millis(300) };
        let outcome = server.ask(NAME, "/c", bounds).await;
        assert!(matches!(outcome, Err(PublicError::Timeout(_))), "{outcome:?}");
    }

    // M5
    #[tokio::test]
    async fn a_certificate_must_be_trusted_and_for_the_name() {
        let foreign = Server::of("other.example.com", JSON, false).await;
        let outcome = foreign.ask(NAME, "/c", BOUNDS).await;
        assert!(matches!(outcome, Err(PublicError::Tls(_))), "{outcome:?}");
        assert!(outcome.unwrap_err().to_string().contains("certificate"));
        let trusted = Server::answering(JSON).await;
        let untrusted = Server { certificate: foreign.certificate, ..trusted };
        let outcome = untrusted.ask(NAME, "/c", BOUNDS).await;
        assert!(matches!(outcome, Err(PublicError::Tls(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn the_next_address_is_tried_and_in_the_end_none_is_left() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = dial(&[dead, live.local_addr().unwrap()]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), live.local_addr().unwrap());
        assert_eq!(dial(&[dead]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(dial(&[]).await.is_err());
    }

    // M4
    #[test]
    fn one_address_that_is_not_public_spoils_all() {
        let addresses = |texts: &[&str]| {
            all_public(texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 443)).collect())
        };
        assert_eq!(addresses(&["93.184.216.34", "2606:4700::1111"]).unwrap().len(), 2);
        for texts in [&["93.184.216.34", "10.0.0.1"][..], &["::ffff:10.0.0.1"], &["2606:4700::1111", "::1"]] {
            assert!(matches!(addresses(texts), Err(PublicError::NotPublic(_))), "{texts:?}");
        }
    }

    // M4
    #[tokio::test]
    async fn nothing_but_https_to_a_name_on_the_standard_port_is_fetched() {
        for url in [
            "http://app.example.com/c",
            "https://app.example.com:8443/c",
            "https://127.0.0.1/c",
            "https://93.184.216.34/c",
            "https://[::1]/c",
            "ftp://app.example.com/c",
        ] {
            let outcome = PublicFetcher::new().get(&Url::parse(url).unwrap(), BOUNDS).await;
            assert!(matches!(outcome, Err(PublicError::Url)), "{url}: {outcome:?}");
        }
    }

    // M4: the whole way, with the system's own resolver, which knows this name everywhere.
    #[tokio::test]
    async fn localhost_is_resolved_and_refused() {
        let outcome = PublicFetcher::new().get(&Url::parse("https://localhost/c").unwrap(), BOUNDS).await;
        let Err(PublicError::NotPublic(address)) = outcome else { panic!("{outcome:?}") };
        assert!(address.is_loopback());
    }

    #[test]
    fn json_is_json_by_its_type() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/cimd+json"] {
            assert!(is_json(good), "{good}");
        }
        for bad in
            ["text/json", "application/jsonp", "application/+json", "json", "", "text/html; application/json"]
        {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
