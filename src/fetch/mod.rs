//! The one outbound HTTPS client, for servers that are not upstreams: GitHub, and ACME servers. One exchange has a
//! size cap and a time limit over everything from the name's resolution to the last byte. Redirects are
//! never followed: an answer that points elsewhere is the caller's to judge. Plain http goes to this
//! machine only, for tests and for whatever is put between us and a provider here.
//!
//! [`Fetcher`] goes where the configuration says; [`PublicFetcher`] goes where a stranger says, and so nowhere but to
//! the public internet.

mod addresses;
mod public;

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::host::is_loopback_name;

pub use addresses::is_public;
pub use public::{PublicError, PublicFetcher};

/// What we call ourselves. GitHub refuses requests without a `User-Agent`.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION")));

/// How long a connection is kept for the next request: a sign-in makes a handful in a row, and the far
/// end must not be the one that closes, for a POST on a dying connection cannot be sent again.
const IDLE: Duration = Duration::from_secs(10);

/// How long one address may take to accept a connection before the next is tried.
const CONNECT: Duration = Duration::from_secs(5);

/// Sends requests to servers that are not upstreams. A clone shares the connections. The first request
/// on a connection leaves its driver on the runtime it was called on; a connection whose runtime is gone
/// is closed and replaced, so that any runtime may use any clone.
#[derive(Clone, Default)]
pub struct Fetcher {
    client: Arc<OnceLock<HttpsClient>>,
}

type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Bounds of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most bytes of the answer's body.
    pub body: usize,
    /// From the start to the last byte.
    pub time: Duration,
}

/// Why there is no answer. No variant carries the request, which may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The roots cannot be loaded.
    #[error("the root certificates cannot be loaded")]
    Roots(#[source] std::io::Error),
    /// Neither https nor a loopback host: nothing was sent.
    #[error("only https is fetched, and http from this machine itself")]
    NotHttps,
    /// No connection, or it broke.
    #[error("no answer")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// Longer than [`Bounds::time`].
    #[error("no answer in time")]
    Timeout,
    /// More than [`Bounds::body`].
    #[error("the answer is too large")]
    TooLarge,
}

impl Fetcher {
    /// A client that trusts the system's roots. They are loaded at the first request, which fails if that does: they are
    /// some 150 certificates, 2 MB of memory and 20 ms.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&self) -> Result<&HttpsClient, FetchError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // The provider is named, not taken from the process, so that no order of start-up can make this fail.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let connector = HttpsConnectorBuilder::new().with_provider_and_platform_verifier(provider);
        let client = over(connector.map_err(FetchError::Roots)?);
        Ok(self.client.get_or_init(|| client))
    }

    /// A client that trusts these roots and no others: PEM.
    ///
    /// # Errors
    /// If there is no certificate in them.
    pub fn trusting(roots: &[u8]) -> Result<Self, FetchError> {
        let none = |error: rustls_pki_types::pem::Error| FetchError::Roots(std::io::Error::other(error));
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots) {
            store
                .add(root.map_err(none)?)
                .map_err(|error| FetchError::Roots(std::io::Error::other(error)))?;
        }
        if store.is_empty() {
            return Err(FetchError::Roots(std::io::Error::other(
                "there is no certificate (BEGIN CERTIFICATE) in the file",
            )));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| FetchError::Roots(std::io::Error::other(error)))?
            .with_root_certificates(store)
            .with_no_client_auth();
        let client = over(HttpsConnectorBuilder::new().with_tls_config(config));
        Ok(Self { client: Arc::new(OnceLock::from(client)) })
    }

    /// Sends one request and reads the whole answer. Redirects are answers like others.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn send(
        &self,
        mut request: Request<Bytes>,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, FetchError> {
        if !may_be_fetched(request.uri()) {
            return Err(FetchError::NotHttps);
        }
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        tokio::time::timeout(bounds.time, self.exchange(request.map(Full::new), bounds.body))
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let answered = self.client()?.request(request).await;
        let response = answered.map_err(|error| FetchError::Unreachable(error.into()))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { FetchError::TooLarge } else { FetchError::Unreachable(error) }
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

fn over(tls: HttpsConnectorBuilder<WantsSchemes>) -> HttpsClient {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(tls.https_or_http().enable_http1().wrap_connector(tcp))
}

/// Whether `uri` is https, or plain http to this machine itself.
fn may_be_fetched(uri: &Uri) -> bool {
    if uri.scheme() == Some(&Scheme::HTTPS) {
        return uri.host().is_some();
    }
    uri.scheme() == Some(&Scheme::HTTP) && uri.host().is_some_and(is_loopback_name)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;

    use http::StatusCode;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const BOUNDS: Bounds = Bounds { body: 64, time: Duration::from_secs(5) };

    fn get(uri: &str) -> Request<Bytes> {
        Request::get(uri).body(Bytes::new()).unwrap()
    }

    /// Answers every path: `/ua` with the User-Agent it got, `/away` with a redirect, `/large` with 65 bytes.
    async fn server() -> SocketAddr {
        async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
            let agent = request
                .headers()
                .get(header::USER_AGENT)
                .map(|value| value.as_bytes().to_vec())
                .unwrap_or_default();
            let mut response = Response::new(Full::from(match request.uri().path() {
                "/ua" => agent,
                "/large" => vec![b'x'; 65],
                "/fits" => vec![b'x'; 64],
                _ => Vec::new(),
            }));
            if request.uri().path() == "/away" {
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/ua"));
            }
            Ok(response)
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer)),
                );
            }
        });
        address
    }

    #[test]
    fn plain_http_goes_to_loopback_only() {
        for good in [
            "https://github.com/x",
            "http://127.0.0.1:80/",
            "http://127.9.9.9/",
            "http://[::1]:1/",
            "http://LocalHost/",
        ] {
            assert!(may_be_fetched(&good.parse().unwrap()), "{good}");
        }
        for bad in [
            "http://github.com/",
            "http://10.0.0.1/",
            "http://localhost.evil.example/",
            "http://127.0.0.1.evil.example/",
            "ftp://127.0.0.1/",
            "/relative",
            "127.0.0.1:80",
        ] {
            assert!(!may_be_fetched(&bad.parse().unwrap()), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_refused_url_is_not_sent() {
        let outcome = Fetcher::new().send(get("http://192.0.2.1/"), BOUNDS).await;
        assert!(matches!(outcome, Err(FetchError::NotHttps)), "{outcome:?}");
    }

    #[tokio::test]
    async fn every_request_says_who_we_are() {
        let address = server().await;
        let response = Fetcher::new().send(get(&format!("http://{address}/ua")), BOUNDS).await.unwrap();
        assert_eq!(response.body(), concat!("portcullis/", env!("CARGO_PKG_VERSION")));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let address = server().await;
        let response = Fetcher::new().send(get(&format!("http://{address}/away")), BOUNDS).await.unwrap();
        assert_eq!((response.status(), response.body().len()), (StatusCode::FOUND, 0));
    }

    #[tokio::test]
    async fn an_answer_one_byte_too_long_is_refused() {
        let address = server().await;
        let fetcher = Fetcher::new();
        let fits = fetcher.send(get(&format!("http://{address}/fits")), BOUNDS).await.unwrap();
        assert_eq!(fits.body().len(), 64);
        let outcome = fetcher.send(get(&format!("http://{address}/large")), BOUNDS).await;
        assert!(matches!(outcome, Err(FetchError::TooLarge)), "{outcome:?}");
    }

    #[tokio::test]
    async fn an_endless_answer_without_a_length_is_cut_at_the_cap() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 32]).await.is_ok() {}
        });
        let outcome = Fetcher::new().send(get(&format!("http://{address}/")), BOUNDS).await;
        assert!(matches!(outcome, Err(FetchError::TooLarge)), "{outcome:?}");
    }

    #[tokio::test]
    async fn the_time_limit_covers_a_body_that_drips() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n").await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        });
        let bounds = Bounds { body: 64, time: Duration::from_millis(300) };
        let outcome = Fetcher::new().send(get(&format!("http://{address}/")), bounds).await;
        assert!(matches!(outcome, Err(FetchError::Timeout)), "{outcome:?}");
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let outcome = Fetcher::new().send(get(&format!("http://{address}/")), BOUNDS).await;
        assert!(matches!(outcome, Err(FetchError::Unreachable(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_certificate_the_system_does_not_trust_is_unreachable() {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        });
        let outcome = Fetcher::new().send(get(&format!("https://localhost:{port}/")), BOUNDS).await;
        let Err(FetchError::Unreachable(error)) = outcome else { panic!("{outcome:?}") };
        let mut cause: Option<&dyn Error> = Some(error.as_ref());
        while cause.is_some_and(|cause| !cause.to_string().contains("certificate")) {
            cause = cause.and_then(Error::source);
        }
        assert!(cause.is_some(), "{error:?}");
    }

    #[test]
    fn a_clone_outlives_the_runtime_that_first_used_it() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let serving =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = format!("http://{}/ua", serving.block_on(server()));
        let fetcher = Fetcher::new();
        for _ in 0..3 {
            let response = runtime().block_on(fetcher.clone().send(get(&url), BOUNDS)).unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        }
    }
}
