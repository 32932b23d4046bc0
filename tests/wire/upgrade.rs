//! An upgrade without a failed request: Redis, two gateways over it, an edge before them as our snippet has it, and clients that
//! never ask twice. One gateway after the other is stopped and started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use hyper::client::conn::http1;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::admin::run;
use crate::client::{Body, http1_on, trusting, whole};
use crate::edges::{certificate, changed, nginx, snippet};
use crate::member::{ID, Member};
use crate::process::{Place, Process, free_port};
use crate::program::Program;
use crate::support::redis::Redis;
use crate::support::rig::{Answer, encode, request};

const AUTH: &str = "auth.example.com";
const TODO: &str = "todo.example.com";
const SECRET: &str = "9d1e4b7c0a35f8269d1e4b7c0a35f826";

/// Customers without a session, and sessions.
const STRANGERS: usize = 8;
const SESSIONS: usize = 6;
/// Enough that every customer asks in each phase, several times.
const SOME: usize = 200;

struct Gateway {
    place: Place,
    process: Process,
}

struct World {
    _redis: Redis,
    _nginx: Program,
    gateways: [Gateway; 2],
    members: [Member; 2],
    asker: Asker,
}

/// Somebody who knows the edge.
#[derive(Clone)]
struct Asker {
    edge: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// What the customers have in common.
struct Tally {
    asker: Asker,
    token: String,
    next: AtomicUsize,
    stop: AtomicBool,
    answered: AtomicUsize,
}

/// How a gateway over `redis` is configured, before these servers.
fn yaml(redis: &Redis, members: &[Member; 2]) -> String {
    format!(
        "issuer: https://{AUTH}
secret_key: {key}
store: {store}
tls: off
listen: {{ http: \"127.0.0.1:{{port}}\", internal: \"127.0.0.1:{{second}}\" }}
admin_socket: \"{{folder}}/admin.sock\"
trusted_proxies: [127.0.0.1]
identity: {{ github: {{ client_id: Ov23li0123456789abcd, client_secret: \"0123456789abcdef\" }} }}
access: {{ users: [\"github:583231\"] }}
clients:
  registered:
    ci: {{ grant_types: [client_credentials], secret: {SECRET}, services: {{ todo: [mcp] }} }}
services:
  todo: {{ url: \"https://{TODO}/mcp\", upstream: [\"http://{one}/mcp\", \"http://{two}/mcp\"] }}
",
        key = "5a".repeat(32),
        store = redis.url(),
        one = members[0].address,
        two = members[1].address,
    )
}

impl Gateway {
    fn start(yaml: &str) -> Self {
        let place = Place::new();
        let process = place.start(yaml);
        Self { place, process }
    }

    fn config(&self) -> PathBuf {
        self.place.folder().join("serve.yaml")
    }

    /// What `portcullis health --ready` says of it.
    async fn is_ready(&self) -> bool {
        run(&["health", "--ready", self.config().to_str().unwrap()]).await.status == 0
    }

    /// A token that this very process issues.
    async fn issues(&self) -> String {
        let config = self.config();
        let arguments = ["token", "issue", "--user", "github:583231", "--service", "todo", "--config"];
        let issued = run(&[&arguments[..], &[config.to_str().unwrap()]].concat()).await;
        assert_eq!(issued.status, 0, "{issued:?}");
        issued.out.trim().to_owned()
    }

    /// Stopped as a service manager does it; what it said.
    async fn stop(&mut self) -> String {
        self.process.signal("TERM");
        let (status, log) = self.process.ended().await;
        assert_eq!(status, 0, "{log}");
        log
    }

    fn start_again(&mut self) {
        self.process = Process::begin(&self.config()).listening();
    }
}

impl World {
    async fn new() -> Self {
        let redis = Redis::start();
        let members = [Member::start().await, Member::start().await];
        let gateways = [0, 1].map(|_| Gateway::start(&yaml(&redis, &members)));
        let folder = gateways[0].place.folder().join("edge");
        std::fs::create_dir(&folder).unwrap();
        certificate(&folder);
        let [one, two] = [0, 1].map(|at: usize| gateways[at].place.address());
        let both = format!("server {one} max_fails=0;\n    server {two} max_fails=0;");
        let snippet = changed(
            &snippet("deploy/nginx/portcullis.conf"),
            &[("server 127.0.0.1:8080 max_fails=0;", &both)],
        );
        let edge = ([127, 0, 0, 1], free_port()).into();
        let nginx = nginx(&snippet, folder.to_str().unwrap(), edge);
        let tls = Arc::new(trusting(&folder.join("edge.pem"), &[b"http/1.1"]));
        Self { _redis: redis, _nginx: nginx, gateways, members, asker: Asker { edge, tls } }
    }
}

impl Asker {
    async fn connect(&self, host: &'static str) -> http1::SendRequest<Body> {
        let tcp = TcpStream::connect(self.edge).await.unwrap();
        let name = ServerName::try_from(host).unwrap();
        http1_on(TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await.unwrap()).await
    }

    async fn send(&self, host: &'static str, mut asked: Request<String>) -> Answer {
        asked.headers_mut().insert("host", host.parse().unwrap());
        whole(self.connect(host).await.send_request(asked.map(Into::into)).await.unwrap()).await
    }

    /// A token of a client that acts on its own, from whichever gateway it meets.
    async fn token(&self) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "ci"),
            ("client_secret", SECRET),
            ("resource", "https://todo.example.com/mcp"),
        ];
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.send(AUTH, request("POST", "/token", &headers, encode(&form))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Begins a session; its id, and the server that it lives on.
    async fn session(&self, token: &str) -> (String, String) {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
        let answer = self.send(TODO, call(token, body, &[])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.header("mcp-session-id").to_owned(), answer.body)
    }
}

fn call(token: &str, body: &str, more: &[(&str, &str)]) -> Request<String> {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("host", TODO), ("authorization", &bearer), ("content-type", "application/json")];
    headers.extend_from_slice(more);
    request("POST", "/mcp", &headers, body.to_owned())
}

impl Tally {
    /// One request after the other over a kept connection, each asked once: the answers that were none.
    async fn customer(self: Arc<Self>, session: Option<(String, String)>) -> Vec<String> {
        let mut failures = Vec::new();
        let mut kept: Option<http1::SendRequest<Body>> = None;
        while !self.stop.load(Ordering::SeqCst) {
            let mut sender = match kept.take().filter(http1::SendRequest::is_ready) {
                Some(sender) => sender,
                None => self.asker.connect(TODO).await,
            };
            let number = self.next.fetch_add(1, Ordering::SeqCst).to_string();
            let mut more = vec![(ID, number.as_str())];
            more.extend(session.as_ref().map(|(id, _)| ("mcp-session-id", id.as_str())));
            let asked = call(&self.token, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &more);
            match sender.send_request(asked.map(Into::into)).await {
                Ok(response) => {
                    let answer = whole(response).await;
                    let at_home = session.as_ref().is_none_or(|(_, home)| *home == answer.body);
                    if answer.status != 200 || !at_home {
                        failures.push(format!("{number}: {answer:?}"));
                    }
                    kept = sender.ready().await.is_ok().then_some(sender);
                }
                Err(error) => failures.push(format!("{number}: {error}")),
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        failures
    }

    /// Waits until `number` more were answered.
    async fn answers(&self, number: usize) {
        let (before, started) = (self.answered.load(Ordering::SeqCst), Instant::now());
        while self.answered.load(Ordering::SeqCst) < before + number {
            assert!(started.elapsed() < Duration::from_secs(30), "nothing is answered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

// P7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gateway_after_the_other_is_upgraded_and_no_request_fails_or_comes_twice() {
    let mut world = World::new().await;
    let token = world.gateways[0].issues().await;
    let tally = Arc::new(Tally {
        asker: world.asker.clone(),
        token: token.clone(),
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        answered: AtomicUsize::new(0),
    });
    let mut customers = JoinSet::new();
    for _ in 0..STRANGERS {
        customers.spawn(Arc::clone(&tally).customer(None));
    }
    for _ in 0..SESSIONS {
        customers.spawn(Arc::clone(&tally).customer(Some(world.asker.session(&token).await)));
    }
    tally.answers(SOME).await;
    let asker = world.asker.clone();
    for round in 0..4 {
        let at = round % 2;
        let before = asker.token().await;
        world.gateways[at].stop().await;
        assert!(!world.gateways[at].is_ready().await && world.gateways[1 - at].is_ready().await);
        tally.answers(SOME).await;
        // The other one takes what this one has issued, and issues what this one will take.
        let meanwhile = asker.token().await;
        let issued = world.gateways[1 - at].issues().await;
        for token in [&before, &meanwhile, &issued] {
            let answer = asker.send(TODO, call(token, "{}", &[])).await;
            assert_eq!(answer.status, 200, "round {round}: {answer:?}");
        }
        world.gateways[at].start_again();
        assert!(world.gateways[at].is_ready().await);
        for token in [&before, &meanwhile, &issued] {
            let direct = direct(&world.gateways[at], token).await;
            assert_eq!(direct.status, 200, "round {round}: {direct:?}");
        }
        tally.answers(SOME).await;
    }
    tally.stop.store(true, Ordering::SeqCst);
    let mut failures = Vec::new();
    while let Some(customer) = customers.join_next().await {
        failures.extend(customer.unwrap());
    }
    assert!(failures.is_empty(), "{} requests failed: {failures:#?}", failures.len());
    let number = tally.next.load(Ordering::SeqCst);
    let arrived = arrivals(&world.members);
    assert_eq!(arrived.len(), number, "each came");
    assert!(arrived.values().all(|times| *times == 1), "each came once: {arrived:?}");
    println!("upgrade: {number} requests over four restarts of two gateways, none failed, none came twice");
}

/// Asked without the edge, as the edge would.
async fn direct(gateway: &Gateway, token: &str) -> Answer {
    let tcp = TcpStream::connect(gateway.place.address()).await.unwrap();
    let asked = call(token, "{}", &[("x-forwarded-proto", "https")]);
    whole(http1_on(tcp).await.send_request(asked.map(Into::into)).await.unwrap()).await
}

/// How often each number came, wherever it came.
fn arrivals(members: &[Member; 2]) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for (number, times) in members.iter().flat_map(Member::arrived) {
        *all.entry(number).or_default() += times;
    }
    all
}
