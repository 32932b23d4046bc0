//! A network of a test's own: an interface with a public address, names that lead to it and elsewhere, and an https server
//! whose CA the gateway trusts as one of the system's.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::network::{self, ip};
use crate::support::rig::REDIRECT;

/// Where the document's server is.
const PUBLIC: &str = "93.184.216.34";

/// Labels below `example.com`, and the address inside that makes each refused. All of them answer.
pub(crate) const INSIDE: [(&str, &str); 9] = [
    ("mapped", "::ffff:10.0.0.1"),
    ("loopback", "127.0.0.1"),
    ("private", "10.0.0.1"),
    ("metadata", "169.254.169.254"),
    ("carrier", "100.64.0.1"),
    ("six", "::1"),
    ("unique", "fd00::1"),
    ("nat", "64:ff9b::a00:1"),
    ("mixed", "10.0.0.1"),
];

/// The https server at [`PUBLIC`], and canaries at the addresses inside.
pub(crate) struct Internet {
    requests: Arc<Mutex<Vec<String>>>,
    inside: Arc<AtomicUsize>,
}

impl Internet {
    pub(crate) async fn start() -> Self {
        let folder = network::folder();
        interfaces();
        names();
        let tls = TlsAcceptor::from(Arc::new(certificates(&folder)));
        let internet = Self { requests: Arc::default(), inside: Arc::default() };
        let listener = TcpListener::bind((PUBLIC, 443)).await.unwrap();
        let requests = Arc::clone(&internet.requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(tls.clone(), stream, Arc::clone(&requests)));
            }
        });
        for address in INSIDE.map(|(_, address)| address) {
            // One each, though two names lead to one.
            let Ok(listener) = TcpListener::bind((address, 443)).await else { continue };
            let inside = Arc::clone(&internet.inside);
            tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    inside.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        internet
    }

    /// `SNI Host METHOD target` of every request.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections_inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }
}

/// Whether the canaries live: what was not sent there could have been.
pub(crate) async fn is_reachable_inside() -> bool {
    for (name, _) in INSIDE {
        let connected = TcpStream::connect((format!("{name}.example.com"), 443)).await;
        // Nobody translates NAT64 here, and its address has no interface.
        if connected.is_err() && name != "nat" {
            return false;
        }
    }
    true
}

/// Loopback, and a dummy that has a public address and some of the inside ones. Without the module for dummies, loopback has
/// them: whose interface it is makes no difference to a connection.
fn interfaces() {
    ip("link set lo up");
    let made = Command::new("ip").args(["link", "add", "outside", "type", "dummy"]).output();
    let device = if made.is_ok_and(|output| output.status.success()) { "outside" } else { "lo" };
    ip(&format!("link set {device} up"));
    for address in [PUBLIC, "10.0.0.1", "169.254.169.254", "100.64.0.1"] {
        ip(&format!("address add {address}/32 dev {device}"));
    }
    ip(&format!("address add fd00::1/128 dev {device} nodad"));
}

fn names() {
    let labels = ["app", "a", "b", "c", "d", "e", "untrusted", "wrong", "mixed"];
    // `closed` is public, ours, and nothing listens there.
    let outside = labels.map(|name| (name, PUBLIC)).into_iter().chain([("closed", "93.184.216.35")]);
    let lines = outside.chain(INSIDE).map(|(name, address)| format!("{address} {name}.example.com\n"));
    ip("address add 93.184.216.35/32 dev lo");
    network::resolve(&lines.collect::<String>());
}

/// Certificates of a CA that is in `SSL_CERT_FILE`, but for the names that have none of it.
#[derive(Debug)]
struct Certificates {
    trusted: Arc<CertifiedKey>,
    untrusted: Arc<CertifiedKey>,
    of_another_name: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(match hello.server_name() {
            Some("untrusted.example.com") => &self.untrusted,
            Some("wrong.example.com") => &self.of_another_name,
            _ => &self.trusted,
        }))
    }
}

fn certificates(folder: &Path) -> ServerConfig {
    let authority = |name: &str| {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, another) = (authority("The system's CA"), authority("Nobody's CA"));
    std::fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let issue = |by: &CertifiedIssuer<'_, KeyPair>, name: &str| {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, by).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(CertifiedKey::from_der(vec![leaf.der().clone()], key, &provider).unwrap())
    };
    let certificates = Certificates {
        trusted: issue(&ours, "*.example.com"),
        untrusted: issue(&another, "*.example.com"),
        of_another_name: issue(&ours, "elsewhere.example.org"),
    };
    ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates))
}

async fn serve(tls: TlsAcceptor, stream: TcpStream, requests: Arc<Mutex<Vec<String>>>) {
    let Ok(mut tls) = tls.accept(stream).await else { return };
    let mut head = vec![0; 4096];
    let read = tls.read(&mut head).await.unwrap_or_default();
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let server_name = tls.get_ref().1.server_name().unwrap_or_default();
    requests.lock().unwrap().push(format!("{server_name} {host} {method} {target}"));
    // Long enough for others to come and wait.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(tls.write_all(answer(target).as_bytes()).await);
    if target == "/slow" {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    drop(tls.shutdown().await);
}

fn answer(target: &str) -> String {
    let document = json!({
        "client_id": "https://app.example.com/client.json",
        "client_name": "App",
        "redirect_uris": [REDIRECT],
    });
    let (document, json) =
        (document.to_string(), "Content-Type: application/json\r\nCache-Control: no-store");
    let whole = |headers: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\n{headers}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    match target {
        "/client.json" | "/another" => whole(json, &document),
        "/large" => whole(json, &format!("{document}{}", " ".repeat(6 * 1024))),
        "/html" => whole("Content-Type: text/html", "<!doctype html>"),
        "/slow" => format!("HTTP/1.1 200 OK\r\n{json}\r\nContent-Length: {}\r\n\r\n{{", document.len()),
        "/redirect" => {
            "HTTP/1.1 302 Found\r\nLocation: https://app.example.com/client.json\r\nContent-Length: 0\r\n\r\n"
                .into()
        }
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(),
    }
}

/// What [`INSIDE`] says is an address each.
#[test]
fn every_inside_address_is_one() {
    for (name, address) in INSIDE {
        let parsed: std::net::IpAddr = address.parse().unwrap();
        assert!(!portcullis::fetch::is_public(parsed), "{name} {}", SocketAddr::new(parsed, 443));
    }
    assert!(portcullis::fetch::is_public(PUBLIC.parse().unwrap()));
}
