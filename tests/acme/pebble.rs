//! Debian's Pebble, Let's Encrypt's own ACME server for tests, and the DNS server that comes with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::free_port;
use crate::program::Program;
use crate::visitor::Visitor;

/// A certificate authority that looks at names where its DNS server leads it: at 127.0.0.1, until the test says otherwise.
pub(crate) struct Pebble {
    program: Program,
    _dns: Program,
    ports: Ports,
    options: Options,
    /// Dropped last: the programs' logs are in it.
    folder: TempDir,
}

#[derive(Clone, Copy)]
struct Ports {
    directory: u16,
    management: u16,
    dns: u16,
    dns_management: u16,
}

/// How it is to be.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Where http-01 is looked at.
    pub(crate) http: u16,
    /// Where tls-alpn-01 is.
    pub(crate) tls: u16,
    /// Key id and base64url key that every account must be bound to.
    pub(crate) binding: Option<(&'static str, &'static str)>,
    /// `PEBBLE_…`
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

impl Pebble {
    pub(crate) fn start(options: Options) -> Self {
        let folder = TempDir::new().unwrap();
        certificates(folder.path());
        let ports = Ports {
            directory: free_port(),
            management: free_port(),
            dns: free_port(),
            dns_management: free_port(),
        };
        let mut dns = Command::new("pebble-challtestsrv");
        dns.args(["-defaultIPv6", "", "-defaultIPv4", "127.0.0.1", "-http01", "", "-https01", ""]);
        dns.args(["-tlsalpn01", "", "-management", &format!("127.0.0.1:{}", ports.dns_management)]);
        dns.args(["-dns01", &format!("127.0.0.1:{}", ports.dns)]);
        let dns = Program::start(dns, folder.path(), ([127, 0, 0, 1], ports.dns_management).into());
        let program = program(folder.path(), ports, &options);
        Self { folder, program, _dns: dns, ports, options }
    }

    /// What stands under `tls.acme`.
    pub(crate) fn acme(&self, more: &str) -> String {
        let (directory, roots) = (self.url(), self.roots());
        format!("email: ops@example.org, directory: \"{directory}\", ca_file: \"{}\"{more}", roots.display())
    }

    /// Its directory.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.ports.directory)
    }

    /// What its directory is trusted by, which has nothing to do with what it issues.
    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A client that trusts only what this authority issues.
    pub(crate) async fn visitor(&self) -> Visitor {
        Visitor::new(&self.root().await)
    }

    /// The root that it made when it was started, in PEM.
    pub(crate) async fn root(&self) -> String {
        let management = ([127, 0, 0, 1], self.ports.management).into();
        let trusted = std::fs::read_to_string(self.roots()).unwrap();
        Visitor::new(&trusted).get(management, "localhost", "/roots/0").await
    }

    /// Ends it, with everything that it knew, and starts another one in its place.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&mut Options)) {
        self.program.end();
        change(&mut self.options);
        self.program = program(self.folder.path(), self.ports, &self.options);
    }

    /// How often it was asked for `path`, since the first start.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let line = format!(" {path}");
        self.log()
            .lines()
            .filter(|said| said.contains("-> calling handler()") && said.contains(&line))
            .count()
    }

    /// How often somebody began an order.
    pub(crate) fn orders(&self) -> usize {
        self.asked("/order-plz")
    }

    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// One name leads there from now on.
    pub(crate) async fn resolve(&self, host: &str, address: &str) {
        self.tell_dns("/clear-a", &json!({ "host": host })).await;
        self.tell_dns("/add-a", &json!({ "host": host, "addresses": [address] })).await;
    }

    async fn tell_dns(&self, path: &str, what: &Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.dns_management)).await.unwrap();
        let body = what.to_string();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: dns\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

fn program(folder: &Path, ports: Ports, options: &Options) -> Program {
    let mut config = json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{}", ports.directory),
        "managementListenAddress": format!("127.0.0.1:{}", ports.management),
        "certificate": "server.pem", "privateKey": "server.key",
        "httpPort": options.http, "tlsPort": options.tls,
        "ocspResponderURL": "", "externalAccountBindingRequired": options.binding.is_some(),
    }});
    if let Some((kid, key)) = options.binding {
        config["pebble"]["externalAccountMACKeys"] = json!({ kid: key });
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut pebble = Command::new("pebble");
    pebble.args(["-config", "config.json", "-strict", "-dnsserver", &format!("127.0.0.1:{}", ports.dns)]);
    // Validations at once, no random refusals, and nothing taken over from an order before: unless a test says so.
    pebble.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")]);
    pebble.envs(options.environment.iter().copied());
    Program::start(pebble, folder, ([127, 0, 0, 1], ports.directory).into())
}

/// The server's own certificate, for localhost, and the CA that made it.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    for (file, text) in
        [("ca.pem", authority.pem()), ("server.pem", server.pem()), ("server.key", key.serialize_pem())]
    {
        std::fs::write(folder.join(file), text).unwrap();
    }
}
