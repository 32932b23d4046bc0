//! A gateway that orders its certificates, and the commands of whoever operates it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Place, Process};

/// The host of most tests.
pub(crate) const HOST: &str = "gw.test";

/// How a gateway is configured.
#[derive(Clone)]
pub(crate) struct Setup<'a> {
    /// Where it listens.
    pub(crate) ip: Ipv4Addr,
    pub(crate) https: u16,
    pub(crate) http: u16,
    /// Its store; a file, if empty.
    pub(crate) store: String,
    /// What stands under `tls.acme`.
    pub(crate) acme: String,
    /// Each has a service; the first is the issuer's, too.
    pub(crate) hosts: &'a [&'a str],
    /// What stands under `identity.github` besides the secret.
    pub(crate) github: String,
    /// Where the services are.
    pub(crate) upstream: String,
    /// Of the process.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Setup<'static> {
    /// At the two ports of a place, with one host.
    pub(crate) fn at(place: &Place, acme: String) -> Self {
        Self {
            ip: Ipv4Addr::LOCALHOST,
            https: place.port,
            http: place.second,
            store: String::new(),
            acme,
            hosts: &[HOST],
            github: String::new(),
            upstream: "http://127.0.0.1:9/mcp".into(),
            environment: Vec::new(),
        }
    }
}

impl Setup<'_> {
    fn yaml(&self) -> String {
        let Self { ip, https, http, acme, hosts, github, upstream, .. } = self;
        let port = if *https == 443 { String::new() } else { format!(":{https}") };
        let store = if self.store.is_empty() { "file:{folder}/portcullis.db" } else { self.store.as_str() };
        let service = |(number, host): (usize, &&str)| {
            format!("  s{number}: {{ url: \"https://{host}{port}/mcp\", upstream: \"{upstream}\" }}\n")
        };
        let services: String = hosts.iter().enumerate().map(service).collect();
        format!(
            "issuer: https://{host}{port}
secret_key: {key}
store: {store}
admin_socket: admin.sock
listen: {{ https: \"{ip}:{https}\", http: \"{ip}:{http}\" }}
tls: {{ acme: {{ {acme} }} }}
identity: {{ github: {{ client_id: {id}, client_secret: {secret}{github} }} }}
access: {{ users: [\"*\"] }}
workers: 1
log: {{ format: json }}
services:
{services}",
            host = hosts[0],
            key = "5a".repeat(32),
            id = crate::support::github::CLIENT_ID,
            secret = crate::support::github::CLIENT_SECRET,
        )
    }

    pub(crate) fn start(&self, place: Place) -> Gateway {
        let mut gateway = Gateway {
            place,
            process: None,
            https: SocketAddr::new(IpAddr::V4(self.ip), self.https),
            http: SocketAddr::new(IpAddr::V4(self.ip), self.http),
            yaml: self.yaml(),
            environment: self.environment.clone(),
        };
        gateway.start();
        gateway
    }
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    place: Place,
    process: Option<Process>,
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    yaml: String,
    environment: Vec<(&'static str, String)>,
}

impl Gateway {
    /// Starts it, or starts it again.
    pub(crate) fn start(&mut self) {
        let environment: Vec<_> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let process = self.place.start_in(&self.yaml, &environment);
        if !environment.is_empty() {
            crate::faketime::sweep(process.id());
        }
        self.process = Some(process);
    }

    /// Changes its configuration, for the next start.
    pub(crate) fn reconfigure(&mut self, from: &str, to: &str) {
        assert!(self.yaml.contains(from), "{from}: {}", self.yaml);
        self.yaml = self.yaml.replace(from, to);
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// Sends a signal and waits for the end; what it said.
    pub(crate) async fn end(&mut self, signal: &str) -> String {
        let mut process = self.process.take().unwrap();
        process.signal(signal);
        process.ended().await.1
    }

    /// How often its log says so.
    pub(crate) fn said(&self, what: &str) -> usize {
        self.process().log().matches(what).count()
    }

    /// Waits until its log says so.
    pub(crate) async fn says(&self, what: &str) {
        self.process().says(what).await;
    }

    /// `portcullis cert …`: exit status, output and errors.
    pub(crate) async fn cert(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.arg("cert").args(arguments).arg("--socket").arg(self.place.folder().join("admin.sock"));
        command.env_remove("PORTCULLIS_CONFIG").stdin(Stdio::null());
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
        let Output { status, stdout, stderr } =
            tokio::time::timeout(Duration::from_secs(100), ran).await.expect("it ends").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// The row of a host in `cert list --json`.
    pub(crate) async fn row(&self, host: &str) -> Value {
        let (status, out, errors) = self.cert(&["list", "--json"]).await;
        assert_eq!((status, errors.as_str()), (0, ""), "{out}");
        let rows: Vec<Value> = serde_json::from_str(&out).unwrap();
        rows.into_iter().find(|row| row["host"] == host).unwrap()
    }

    /// That row, once it is as `wanted`.
    pub(crate) async fn row_that(&self, host: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = std::time::Instant::now();
        loop {
            let row = self.row(host).await;
            if wanted(&row) {
                return row;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{row}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks for another certificate, and gets it.
    pub(crate) async fn renew(&self, host: &str) {
        let (status, out, errors) = self.cert(&["renew", host, "--json"]).await;
        assert_eq!(status, 0, "{out} {errors}");
    }

    /// The first line of the answer on the plain port.
    pub(crate) async fn plain(&self, host: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(process) = &self.process
        {
            eprintln!("the gateway at {}:\n{}", self.https, process.log());
        }
    }
}
