//! A client at the socket: raw bytes, HTTP/1.1 and HTTP/2 by hyper, TLS that trusts one CA, and a whole sign-in.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::process::Place;
use crate::support::rig::{Answer, CHALLENGE, REDIRECT, VERIFIER, encode, request};

pub(crate) type Body = Full<Bytes>;

/// What talks to one gateway.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// `http://localhost:PORT`
    pub(crate) issuer: String,
    tls: Option<Arc<ClientConfig>>,
}

/// A signed-in client's tokens, and everything on the way to them that no log may repeat.
pub(crate) struct SignedIn {
    pub(crate) client: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) secrets: Vec<String>,
}

impl Client {
    pub(crate) fn plain(place: &Place) -> Self {
        Self { address: place.address(), issuer: format!("http://localhost:{}", place.port), tls: None }
    }

    /// Trusts the local CA of `place` and nothing else.
    pub(crate) fn secure(place: &Place) -> Self {
        let config = trusting(&place.folder().join("ca/ca.pem"), &[b"http/1.1"]);
        let issuer = format!("https://localhost:{}", place.port);
        Self { address: place.address(), issuer, tls: Some(Arc::new(config)) }
    }

    /// The same gateway's issuer asked at another process.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// `localhost:PORT`
    pub(crate) fn host(&self) -> &str {
        self.issuer.split_once("://").unwrap().1
    }

    /// Sends one request over a connection of its own and leaves the body to the caller.
    pub(crate) async fn open(&self, request: Request<String>) -> Response<Incoming> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let mut sender = match &self.tls {
            None => http1_on(tcp).await,
            Some(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                http1_on(TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.unwrap()).await
            }
        };
        sender.send_request(self.addressed(request)).await.unwrap()
    }

    /// With the issuer's `Host`, unless it has one.
    pub(crate) fn addressed(&self, request: Request<String>) -> Request<Body> {
        let (mut parts, body) = request.into_parts();
        parts.headers.entry("host").or_insert_with(|| self.host().parse().unwrap());
        Request::from_parts(parts, Full::from(body))
    }

    /// Sends one request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<String>) -> Answer {
        whole(self.open(request).await).await
    }

    pub(crate) async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", target, headers, String::new())).await
    }

    pub(crate) async fn post(&self, target: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.send(request("POST", target, &all, encode(form))).await
    }

    /// Registers, approves, signs in as `name` with the `dev` identity, and redeems the code.
    pub(crate) async fn sign_in(&self, name: &str) -> SignedIn {
        let json = [("content-type", "application/json")];
        let metadata = serde_json::json!({ "client_name": "Wire", "redirect_uris": [REDIRECT] }).to_string();
        let registered = self.send(request("POST", "/register", &json, metadata)).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let client = registered.json()["client_id"].as_str().unwrap().to_owned();
        let mut secrets = vec![CLIENT_STATE.to_owned(), VERIFIER.to_owned()];
        let code = self.code(&client, name, &mut secrets).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &client),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let tokens = self.post("/token", &[], &form).await;
        assert_eq!(tokens.status, 200, "{tokens:?}");
        let token = |name: &str| tokens.json()[name].as_str().unwrap().to_owned();
        let (access, refresh) = (token("access_token"), token("refresh_token"));
        secrets.extend([access.clone(), refresh.clone()]);
        SignedIn { client, access, refresh, secrets }
    }

    /// The browser's part.
    pub(crate) async fn code(&self, client: &str, name: &str, secrets: &mut Vec<String>) -> String {
        let resource = format!("{}/mcp", self.issuer);
        let query = [
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", REDIRECT),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", CLIENT_STATE),
            ("resource", &resource),
        ];
        let page = self.get(&format!("/authorize?{}", encode(&query)), &[]).await;
        assert_eq!(page.status, 200, "{page:?}");
        let (form_token, form_cookie) = (page.input("form_token"), page.cookies());
        let mut form = query.to_vec();
        form.extend([("form_token", form_token.as_str()), ("decision", "approve")]);
        let browser = [("cookie", form_cookie.as_str()), ("origin", self.issuer.as_str())];
        let approved = self.post("/authorize", &browser, &form).await;
        assert_eq!(approved.status, 303, "{approved:?}");
        let (state, flow_cookie) = (approved.location("state").unwrap(), approved.cookies());
        let login = self.get(&self.target(&approved), &[]).await;
        assert_eq!(login.input("state"), state);
        let browser = [("origin", self.issuer.as_str())];
        let named = self.post("/dev/login", &browser, &[("name", name), ("state", &state)]).await;
        assert_eq!(named.status, 303, "{named:?}");
        let back = self.get(&self.target(&named), &[("cookie", &flow_cookie)]).await;
        assert_eq!(back.status, 303, "{back:?}");
        let code = back.location("code").unwrap();
        let cookies = [form_cookie, flow_cookie, back.cookies()];
        secrets.extend(cookies.iter().flat_map(|line| line.split("; ")).map(value_of));
        secrets.extend([form_token, state, code.clone()]);
        code
    }

    /// Path and query of a `Location` at the issuer.
    fn target(&self, answer: &Answer) -> String {
        answer.header("location").strip_prefix(&self.issuer).unwrap().to_owned()
    }
}

/// What the client asks to have back.
const CLIENT_STATE: &str = "a-state-that-only-the-client-knows";

fn value_of(cookie: &str) -> String {
    cookie.split_once('=').unwrap().1.to_owned()
}

impl SignedIn {
    /// The value of `Authorization`.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.access)
    }
}

/// A request to the service with a token.
pub(crate) fn call(method: &str, target: &str, signed_in: &SignedIn) -> Request<String> {
    let bearer = signed_in.bearer();
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if method == "POST" { CALL } else { "" };
    request(method, target, &headers, body.to_owned())
}

/// What a client asks the server behind.
pub(crate) const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

/// An answer, read to its end.
pub(crate) async fn whole(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = timeout(Duration::from_secs(10), body.collect()).await.unwrap().unwrap().to_bytes();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// The next piece of an answer's body; an error if it was broken off.
pub(crate) async fn piece(response: &mut Response<Incoming>) -> Option<hyper::Result<String>> {
    let frame = timeout(Duration::from_secs(10), response.frame()).await.expect("nothing comes")?;
    Some(frame.map(|frame| String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()))
}

pub(crate) async fn http1_on<I>(io: I) -> http1::SendRequest<Body>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn http2_on<I>(io: I) -> http2::SendRequest<Body>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A client that trusts the CA in `file` and offers `protocols`.
pub(crate) fn trusting(file: &Path, protocols: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
    let mut config =
        ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// A TLS connection to the gateway at `place` under `name`.
pub(crate) async fn tls(
    place: &Place,
    name: &'static str,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = trusting(&place.folder().join("ca/ca.pem"), protocols);
    let tcp = TcpStream::connect(place.address()).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), tcp).await
}

/// Sends bytes as they are, and reads until the connection ends or is quiet after an answer.
pub(crate) async fn raw(address: SocketAddr, bytes: &str) -> Raw {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other end may close before it has read all.
    drop(stream.write_all(bytes.as_bytes()).await);
    read_raw(&mut stream).await
}

/// What came over a connection.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) text: String,
    /// Whether the other end closed the connection.
    pub(crate) closed: bool,
}

/// Reads until the connection ends or has been quiet for a while after an answer.
pub(crate) async fn read_raw(stream: &mut (impl AsyncRead + Unpin)) -> Raw {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let patience = Duration::from_millis(if bytes.is_empty() { 5000 } else { 120 });
        match timeout(patience, stream.read(&mut buffer)).await {
            Ok(Ok(read @ 1..)) => bytes.extend_from_slice(&buffer[..read]),
            ended => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Raw { text, closed: ended.is_ok() };
            }
        }
    }
}

impl Raw {
    /// The status of every answer in it.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let lines = self.text.split("HTTP/1.").skip(1);
        lines.map(|line| line.get(2..5).unwrap().parse().unwrap()).collect()
    }
}
