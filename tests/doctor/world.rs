//! A little internet for one test: names, an MCP server at `https://mcp.example.com/mcp`, its authorization server at
//! `https://auth.example.com`, both good; and twists by which a test makes them bad, and good again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::good;
use crate::support::network::{folder, in_a_network_of_its_own, ip};
use crate::zone::Zone;

pub(crate) const URL: &str = "https://mcp.example.com/mcp";

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    /// The address that it came to.
    pub(crate) at: String,
}

impl Seen {
    /// `POST /mcp`
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::status(status).with("content-type", "application/json").and(&body.to_string())
    }

    pub(crate) fn html(status: u16, body: &str) -> Self {
        Self::status(status).with("content-type", "text/html").and(body)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn and(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// Its JSON, changed.
    pub(crate) fn but(self, change: impl Fn(&mut Value)) -> Self {
        let mut value: Value = serde_json::from_str(&self.body).unwrap();
        change(&mut value);
        self.and(&value.to_string())
    }
}

type Twist = Arc<dyn Fn(&Seen, Reply) -> Reply + Send + Sync>;
type Issuer = CertifiedIssuer<'static, KeyPair>;

/// The little internet.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) zone: Zone,
    pub(crate) good: Arc<good::Good>,
    twist: Arc<Mutex<Option<Twist>>>,
    shown: Arc<Shown>,
    authority: Arc<Issuer>,
}

/// Who issues the certificates that everybody here trusts.
fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Authority Information Access (RFC 5280 §4.2.2.1), which says where the issuer's certificate is.
fn names_its_issuer() -> CustomExtension {
    let place = b"http://r11.example/";
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let method = [6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2];
    let access = [&method[..], &[0x86, length(place)], place].concat();
    let list = [&[0x30, length(&access)], &access[..]].concat();
    let content = [&[0x30, length(&list)], &list[..]].concat();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content)
}

/// Certificates by the name that is asked for.
#[derive(Default)]
struct Shown(Mutex<HashMap<String, Arc<CertifiedKey>>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().get(hello.server_name()?).cloned()
    }
}

/// A certificate that a test wants to be shown.
#[derive(Clone, Copy)]
pub(crate) enum Certificate {
    Good,
    SelfSigned,
    For(&'static str),
    By(&'static str),
    /// By an authority that trusted ones vouch for, whose own certificate is not shown.
    Incomplete,
    /// Valid from and until, in days from now.
    Between(i64, i64),
}

impl World {
    /// Runs `test` in a network of its own; `name` is that of the test function, with its module.
    pub(crate) fn of<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Self) -> F) {
        in_a_network_of_its_own(name, async {
            ip("link set lo up");
            test(Self::start().await).await;
        });
    }

    async fn start() -> Self {
        let world = Self {
            zone: Zone::default(),
            good: Arc::default(),
            twist: Arc::default(),
            shown: Arc::default(),
            authority: Arc::new(authority("Everybody's")),
        };
        std::fs::write(folder().join("ca.pem"), world.authority.pem()).unwrap();
        world.zone.serve().await;
        for host in ["mcp.example.com", "auth.example.com", "time.example.com"] {
            world.zone.set(host, &["127.0.0.1"]);
            world.show(host, Certificate::Good);
        }
        world.listen("127.0.0.1:443", true).await;
        world.listen("127.0.0.1:80", false).await;
        world
    }

    /// Answers at another address, too.
    pub(crate) async fn listen(&self, address: &'static str, tls: bool) {
        let listener = TcpListener::bind(address).await.unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let resolver: Arc<dyn ResolvesServerCert> = self.shown.clone();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let world = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (world, acceptor) = (world.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if !tls {
                        return world.converse(stream, address).await;
                    }
                    if let Ok(stream) = acceptor.accept(stream).await {
                        world.converse(stream, address).await;
                    }
                });
            }
        });
    }

    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin, at: &'static str) {
        let service = service_fn(|request| self.answer(request, at));
        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        at: &'static str,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        let headers: HashMap<_, _> = parts.headers.iter().map(header).collect();
        let seen = Seen {
            host: headers["host"].clone(),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers,
            body,
            at: at.to_owned(),
        };
        let reply = self.good.answer(&seen);
        let twist = self.twist.lock().unwrap().clone();
        let reply = twist.map_or(reply.clone(), |twist| twist(&seen, reply));
        let mut response = Response::builder().status(reply.status);
        for (name, value) in &reply.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::from(reply.body)).unwrap())
    }

    /// Makes something bad.
    pub(crate) fn twist(&self, twist: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static) {
        *self.twist.lock().unwrap() = Some(Arc::new(twist));
    }

    /// Makes all of it good again.
    pub(crate) fn mend(&self) {
        *self.twist.lock().unwrap() = None;
    }

    /// Shows this certificate for `host` from now on.
    pub(crate) fn show(&self, host: &str, certificate: Certificate) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let day = time::Duration::days(1);
        let now = time::OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - day, now + 90 * day);
        let key = KeyPair::generate().unwrap();
        let made = match certificate {
            Certificate::Good => params.signed_by(&key, &*self.authority).unwrap(),
            Certificate::SelfSigned => params.self_signed(&key).unwrap(),
            Certificate::For(other) => {
                params.subject_alt_names =
                    CertificateParams::new(vec![other.to_owned()]).unwrap().subject_alt_names;
                params.signed_by(&key, &*self.authority).unwrap()
            }
            Certificate::By(name) => params.signed_by(&key, &authority(name)).unwrap(),
            Certificate::Incomplete => {
                params.custom_extensions = vec![names_its_issuer()];
                params.signed_by(&key, &authority("R11")).unwrap()
            }
            Certificate::Between(from, until) => {
                (params.not_before, params.not_after) =
                    (now + day * i32::try_from(from).unwrap(), now + day * i32::try_from(until).unwrap());
                params.signed_by(&key, &*self.authority).unwrap()
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let certified = Arc::new(CertifiedKey::new(vec![made.der().clone()], key));
        self.shown.0.lock().unwrap().insert(host.to_owned(), certified);
    }

    /// Has no certificate for `host` any more.
    pub(crate) fn hide(&self, host: &str) {
        self.shown.0.lock().unwrap().remove(host);
    }

    /// The doctor at [`URL`].
    pub(crate) async fn doctor(&self, more: &[&str]) -> Report {
        self.doctor_at(URL, more, &[]).await
    }

    /// The real binary at `url`, with further arguments and variables.
    pub(crate) async fn doctor_at(&self, url: &str, more: &[&str], environment: &[(&str, &str)]) -> Report {
        let mut command = command(url);
        command.args(more).envs(environment.iter().copied());
        Report::of(&tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    }
}

/// The doctor in this network.
pub(crate) fn command(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["doctor", "--from-outside", url, "--json", "--resolver", "127.0.0.1:53"]);
    command.args(["--clock", "http://time.example.com/", "--ca"]).arg(folder().join("ca.pem"));
    command.env_remove("PORTCULLIS_CONFIG");
    command
}

/// What doctor said.
pub(crate) struct Report {
    pub(crate) json: Value,
    status: i32,
}

impl Report {
    pub(crate) fn of(output: &Output) -> Self {
        let status = output.status.code().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let json =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{status} {error}: {told}"));
        Self { json, status }
    }

    pub(crate) const fn status(&self) -> i32 {
        self.status
    }

    fn all(&self, verdict: &str) -> Vec<&Value> {
        let all = self.json["findings"].as_array().unwrap();
        all.iter().filter(|finding| finding["verdict"] == verdict).collect()
    }

    fn ids(&self, verdict: &str) -> Vec<&str> {
        self.all(verdict).into_iter().map(|finding| finding["id"].as_str().unwrap()).collect()
    }

    /// The one finding of that id and verdict, as text.
    pub(crate) fn told(&self, verdict: &str, id: &str) -> String {
        let found = self.all(verdict).into_iter().find(|finding| finding["id"] == id);
        let found = found.unwrap_or_else(|| panic!("{id} is not {verdict}: {:#}", self.json));
        let fix = found["fix"]
            .as_array()
            .map(|steps| steps.iter().map(|step| step.as_str().unwrap()).collect::<Vec<_>>().join(" | "));
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        format!(
            "tried: {}\nfound: {}\ncause: {}\nfix: {}",
            text("tried"),
            text("found"),
            text("cause"),
            fix.unwrap_or_default()
        )
    }

    /// Only these are bad, and the exit status says so.
    pub(crate) fn is_bad(&self, ids: &[&str]) -> &Self {
        assert_eq!(self.ids("bad"), ids, "{:#}", self.json);
        assert_eq!(self.status, i32::from(!ids.is_empty()));
        self
    }

    /// Nothing is bad, and only these are worth a remark.
    pub(crate) fn is_green(&self, remarks: &[&str]) -> &Self {
        self.is_bad(&[]);
        assert_eq!(self.ids("remark"), remarks, "{:#}", self.json);
        self
    }

    /// These could not be told.
    pub(crate) fn is_not_tried(&self, ids: &[&str]) -> &Self {
        let told = self.ids("not_tried");
        assert!(ids.iter().all(|id| told.contains(id)), "{ids:?}: {told:?}");
        self
    }

    /// The finding says all of this.
    pub(crate) fn says(&self, verdict: &str, id: &str, words: &[&str]) -> &Self {
        let told = self.told(verdict, id);
        for word in words {
            assert!(told.contains(word), "{word:?} is not in\n{told}");
        }
        self
    }
}
