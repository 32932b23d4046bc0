//! Portcullis behind the edges that people have, each configured by the snippet that we ship: nginx and Caddy as Debian has them,
//! in front of the real binary. Traefik's snippets are read only.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use http::Request;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::admin::run;
use crate::client::{CALL, Raw, http1_on, piece, read_raw, trusting, whole};
use crate::process::{Place, Process, free_port};
use crate::program::Program;
use crate::recorder::{RESULT, Recorder, Seen};
use crate::support::rig::{Answer, request};

const AUTH: &str = "auth.example.com";
const TODO: &str = "todo.example.com";
const CHALLENGE: &str = "Bearer resource_metadata=\"https://todo.example.com/.well-known/oauth-protected-resource/mcp\", scope=\"mcp\"";
const TOKEN: &str = "an-id-of-the-store";

/// The edges that can be run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Nginx,
    Caddy,
}

/// An edge, and the gateways and the server behind it.
pub(crate) struct World {
    pub(crate) edge: Edge,
    pub(crate) address: SocketAddr,
    pub(crate) place: Place,
    pub(crate) upstream: Recorder,
    internal: u16,
    folder: PathBuf,
}

pub(crate) fn snippet(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// `text` in which each of `changes` was found.
pub(crate) fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in {text}");
        text.replace(from, to)
    })
}

/// A certificate for both hosts, and its key, in `folder`.
pub(crate) fn certificate(folder: &Path) {
    let params = rcgen::CertificateParams::new([AUTH, TODO].map(str::to_owned).to_vec()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join("edge.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("edge.key"), key.serialize_pem()).unwrap();
}

impl World {
    async fn new(edge: Edge) -> Self {
        let (place, upstream) = (Place::new(), Recorder::start().await);
        let folder = place.folder().join("edge");
        std::fs::create_dir(&folder).unwrap();
        certificate(&folder);
        let address = ([127, 0, 0, 1], free_port()).into();
        Self { edge, address, place, upstream, internal: free_port(), folder }
    }

    /// The gateway of the example for forward-auth; `change` is made to it.
    fn gateway(&self, change: impl Fn(String) -> String) -> Process {
        self.place.start_in(&self.yaml(change), &ENVIRONMENT)
    }

    fn yaml(&self, change: impl Fn(String) -> String) -> String {
        let upstream = self.upstream.address.to_string();
        change(changed(
            &snippet("config/examples/forward-auth.yaml"),
            &[
                ("/var/lib/portcullis", "{folder}"),
                ("localhost:8080", "localhost:{port}"),
                ("localhost:9400", &format!("localhost:{}", self.internal)),
                ("127.0.0.1:3002", &upstream),
                ("users: [octocat]", "users: [\"github:583231\"]"),
            ],
        ))
    }

    /// The snippet of this kind, in a configuration that is otherwise empty.
    fn start(&self, kind: &str) -> Program {
        let (portcullis, upstream) = (self.place.address().to_string(), self.upstream.address.to_string());
        let internal = format!("127.0.0.1:{}", self.internal);
        let folder = self.folder.to_str().unwrap();
        let mut changes = vec![("127.0.0.1:8080", portcullis.as_str())];
        if kind == "forward-auth" {
            changes.extend([("127.0.0.1:9400", internal.as_str()), ("127.0.0.1:3002", &upstream)]);
        }
        match self.edge {
            Edge::Nginx => nginx(
                &changed(&snippet(&format!("deploy/nginx/{kind}.conf")), &changes),
                folder,
                self.address,
            ),
            Edge::Caddy => caddy(
                &changed(&snippet(&format!("deploy/caddy/{kind}.caddyfile")), &changes),
                folder,
                self.address,
            ),
        }
    }

    async fn token(&self) -> String {
        let config = self.place.folder().join("serve.yaml");
        let arguments = [
            "token",
            "issue",
            "--user",
            "github:583231",
            "--service",
            "todo",
            "--config",
            config.to_str().unwrap(),
            "--socket",
        ];
        let socket = self.place.folder().join("admin.sock");
        run(&[&arguments[..], &[socket.to_str().unwrap()]].concat()).await.out.trim().to_owned()
    }

    /// A request over a connection of its own.
    pub(crate) async fn open(
        &self,
        host: &'static str,
        mut asked: Request<String>,
    ) -> http::Response<hyper::body::Incoming> {
        let config = trusting(&self.folder.join("edge.pem"), &[b"http/1.1"]);
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(host).unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        asked.headers_mut().insert("host", host.parse().unwrap());
        http1_on(tls).await.send_request(asked.map(Into::into)).await.unwrap()
    }

    async fn send(&self, host: &'static str, asked: Request<String>) -> Answer {
        whole(self.open(host, asked).await).await
    }
}

const ENVIRONMENT: [(&str, &str); 3] = [
    ("PORTCULLIS_SECRET_KEY", "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"),
    ("GITHUB_CLIENT_ID", "Ov23li0123456789abcd"),
    ("GITHUB_CLIENT_SECRET", "0123456789abcdef0123456789abcdef01234567"),
];

/// nginx with this in its `http { }`, listening at `address` instead of port 443.
pub(crate) fn nginx(snippet: &str, folder: &str, address: SocketAddr) -> Program {
    let snippet = changed(
        snippet,
        &[
            ("listen 443 ssl", &format!("listen {address} ssl")),
            ("/etc/nginx/tls/fullchain.pem", "edge.pem"),
            ("/etc/nginx/tls/privkey.pem", "edge.key"),
        ],
    );
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"));
    let config = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr info;\nworker_processes 1;\nevents {{ worker_connections 2000; }}\n\
         http {{\n{}    access_log off;\n{snippet}}}\n",
        folders.concat()
    );
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    // The test's folder is root's own.
    let config = if root { format!("user root;\n{config}") } else { config };
    let file = format!("{folder}/nginx.conf");
    std::fs::write(&file, config).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
    let nginx = || {
        let mut command = Command::new("nginx");
        command.args(["-p", folder, "-e", "stderr", "-c", &file]).env("PATH", &path);
        command
    };
    let tested = nginx().arg("-t").output().expect("nginx is missing: apt-get install nginx-light");
    let told = String::from_utf8(tested.stderr).unwrap();
    assert!(tested.status.success() && !told.contains("[warn]"), "{told}");
    Program::start(nginx(), Path::new(folder), address)
}

/// Caddy with this, listening at `address` instead of port 443.
fn caddy(snippet: &str, folder: &str, address: SocketAddr) -> Program {
    let file = format!("{folder}/Caddyfile");
    let caddy = |command: &str| {
        let mut caddy = Command::new("caddy");
        caddy.args([command, "--adapter", "caddyfile", "--config", &file]).env("HOME", folder);
        caddy
    };
    std::fs::write(&file, snippet).unwrap();
    let tested = caddy("validate").output().expect("caddy is missing: apt-get install caddy");
    let told = String::from_utf8([tested.stdout, tested.stderr].concat()).unwrap();
    assert!(tested.status.success() && told.contains("Valid configuration"), "{told}");
    let global = format!("{{\n\tadmin off\n\tauto_https off\n\thttps_port {}\n}}\n", address.port());
    let sites =
        snippet.replace(".example.com {\n", ".example.com {\n\tbind 127.0.0.1\n\ttls edge.pem edge.key\n");
    let sites = sites.replace("auth.example.com", "https://auth.example.com");
    let sites = sites.replace("todo.example.com", "https://todo.example.com");
    std::fs::write(&file, global + &sites).unwrap();
    Program::start(caddy("run"), Path::new(folder), address)
}

/// What a client sends that would be somebody else.
const FORGED: [(&str, &str); 7] = [
    ("x-user-id", "github:1"),
    ("x-user-name", "root"),
    ("x-user-email", "root@example.com"),
    ("x-forwarded-for", "192.0.2.66"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-uri", "/public"),
    ("x-forwarded-method", "OPTIONS"),
];

fn with(method: &str, target: &str, token: &str, more: &[(&str, &str)]) -> Request<String> {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("content-type", "application/json"), ("cookie", "a=b")];
    if !token.is_empty() {
        headers.push(("authorization", &bearer));
    }
    headers.extend_from_slice(more);
    let body = if method == "POST" { CALL } else { "" };
    request(method, target, &headers, body.to_owned())
}

/// What holds whoever forwards the requests.
async fn assert_guarded(world: &World, token: &str) {
    let called = world.send(TODO, with("POST", "/mcp", token, &FORGED)).await;
    assert_eq!((called.status.as_u16(), called.body.as_str()), (200, RESULT), "{called:?}");
    let [seen] = &world.upstream.requests()[..] else { panic!("{}", world.upstream.raw()) };
    assert!(seen.line.starts_with("POST /mcp "), "{seen:?}");
    assert_eq!((seen.all("x-user-id"), seen.all("x-user-name")), (vec!["github:583231"], vec!["583231"]));
    assert!(seen.all("x-user-email").iter().all(|email| email.is_empty()), "{seen:?}");
    for gone in ["authorization", "cookie"] {
        assert!(seen.all(gone).is_empty(), "{gone}: {seen:?}");
    }
    assert_eq!(seen.body, CALL);
    assert_eq!(seen.all("x-request-id").len(), 1, "{seen:?}");
    world.upstream.forget();

    for token in ["", "x"] {
        let refused = world.send(TODO, with("POST", "/mcp", token, &FORGED)).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        let challenge = refused.headers.get_all("www-authenticate").iter().collect::<Vec<_>>();
        let [challenge] = challenge[..] else { panic!("{refused:?}") };
        assert!(challenge.to_str().unwrap().starts_with(CHALLENGE), "{challenge:?}");
    }
    let evil = [("origin", "https://evil.example")];
    assert_eq!(world.send(TODO, with("POST", "/mcp", token, &evil)).await.status, 403);
    // A browser's question is answered by the gateway.
    let page = [("origin", "http://localhost:6274"), ("access-control-request-method", "POST")];
    let preflight = world.send(TODO, with("OPTIONS", "/mcp", "", &page)).await;
    assert_eq!(
        (preflight.status.as_u16(), preflight.header("access-control-allow-origin")),
        (204, page[0].1)
    );
    for (host, path) in [
        (TODO, "/.well-known/oauth-protected-resource/mcp"),
        (TODO, "/.well-known/oauth-protected-resource"),
        (TODO, "/.well-known/oauth-authorization-server/mcp"),
        (AUTH, "/.well-known/oauth-authorization-server"),
        (AUTH, "/jwks"),
    ] {
        let document = world.send(host, with("GET", path, "", &[])).await;
        assert_eq!(
            (document.status.as_u16(), document.header("content-type")),
            (200, "application/json"),
            "{path}"
        );
    }
    assert_eq!(world.send(TODO, with("POST", "/mcpx", token, &[])).await.status, 404);
    assert!(world.upstream.requests().is_empty(), "{}", world.upstream.raw());

    let mut stream =
        world.open(TODO, with("GET", "/mcp/stream", token, &[("accept", "text/event-stream")])).await;
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    for event in ["one", "two"] {
        world.upstream.tell(event);
        assert_eq!(piece(&mut stream).await.unwrap().unwrap(), format!("data: {event}\n\n"));
    }
}

async fn passes_everything_on(edge: Edge) {
    let world = World::new(edge).await;
    let _gateway = world.gateway(|yaml| changed(&yaml, &[("    forward_auth: true\n", "")]));
    let _edge = world.start("portcullis");
    let token = world.token().await;
    assert_guarded(&world, &token).await;
    world.upstream.forget();
    world.send(TODO, with("POST", "/mcp", &token, &[("x-forwarded-proto", "http")])).await;
    let [seen] = &world.upstream.requests()[..] else { panic!("{}", world.upstream.raw()) };
    for (name, value) in
        [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", TODO)]
    {
        assert_eq!(seen.all(name), [value], "{name}");
    }
}

#[tokio::test]
async fn nginx_passes_everything_on() {
    // P2
    passes_everything_on(Edge::Nginx).await;
}

#[tokio::test]
async fn caddy_passes_everything_on() {
    // P2
    passes_everything_on(Edge::Caddy).await;
}

async fn asks_first(edge: Edge) {
    let world = World::new(edge).await;
    let gateway = world.gateway(|yaml| yaml);
    let _edge = world.start("forward-auth");
    let token = world.token().await;
    assert_guarded(&world, &token).await;
    world.upstream.forget();
    let log = gateway.log();
    assert!(log.contains("path=\"/mcp\"") && !log.contains("path=\"/verify\""), "{log}");

    // Neither another spelling of the request nor of the user gets through, nor somebody else's session; nginx can say no more
    // than that something is wrong.
    for (name, value, status) in
        [("x-original-uri", "/public", 400), ("x-user-roles", "admin", 400), ("mcp-session-id", TOKEN, 403)]
    {
        let refused = world.send(TODO, with("POST", "/mcp", &token, &[(name, value)])).await;
        let expected = match (edge, status) {
            // It takes the whole family away by itself.
            (Edge::Caddy, _) if name == "x-user-roles" => 200,
            (Edge::Nginx, 400) => 500,
            (Edge::Nginx | Edge::Caddy, status) => status,
        };
        assert_eq!(refused.status, expected, "{name}: {refused:?}");
    }
    for seen in world.upstream.requests() {
        assert!(seen.all("x-user-roles").is_empty(), "{seen:?}");
    }
    world.upstream.forget();

    // More scopes are asked for in a 403, and its challenge says so.
    world.place.write("serve.yaml", &world.yaml(|yaml| yaml + "    scopes: [mcp, write]\n"));
    gateway.signal("HUP");
    gateway.says("services changed: todo (scopes)").await;
    let lacking = world.send(TODO, with("POST", "/mcp", &token, &[])).await;
    assert_eq!(lacking.status, 403);
    let challenge = lacking.header("www-authenticate");
    assert!(challenge.contains("scope=\"mcp write\", error=\"insufficient_scope\""), "{challenge}");
    assert!(world.upstream.requests().is_empty(), "{}", world.upstream.raw());
}

#[tokio::test]
async fn nginx_asks_first_and_forwards_itself() {
    // P2, R1, R7
    asks_first(Edge::Nginx).await;
}

#[tokio::test]
async fn caddy_asks_first_and_forwards_itself() {
    // P2, R1, R7
    asks_first(Edge::Caddy).await;
}

/// What other gateways say of a user; every snippet takes these away.
const FOREIGN: [&str; 15] = [
    "Remote-User",
    "Remote-Name",
    "Remote-Email",
    "Remote-Groups",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Webauth-User",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "Tailscale-User-Login",
    "Tailscale-User-Name",
    "Tailscale-User-Profile-Pic",
];

/// The one request that the server has seen since this was asked last.
fn only_seen(world: &World) -> Seen {
    let mut seen = world.upstream.requests();
    assert_eq!(seen.len(), 1, "{}", world.upstream.raw());
    world.upstream.forget();
    seen.remove(0)
}

/// What a client sends to undo what the gateway says, in headers that an edge may act on or pass on by itself.
async fn nothing_undoes_the_verdict(edge: Edge) {
    let world = World::new(edge).await;
    let _gateway = world.gateway(|yaml| yaml);
    let _edge = world.start("forward-auth");
    let token = world.token().await;
    let who = "X-User-Id, X-User-Name, X-User-Email, X-Request-Id";
    let modern = ("mcp-protocol-version", "2026-07-28");
    let session = ("mcp-session-id", "another-user-s");
    for more in [
        vec![("connection", who)],
        vec![("connection", "close, x-user-id"), ("connection", "x-user-name"), FORGED[0]],
        FOREIGN.map(|name| (name, "admin")).to_vec(),
        vec![modern, session],
        vec![modern, session, ("connection", "Mcp-Protocol-Version")],
    ] {
        let called = world.send(TODO, with("POST", "/mcp", &token, &more)).await;
        assert_eq!(called.status, 200, "{more:?}: {called:?}");
        let seen = only_seen(&world);
        assert_eq!(seen.all("x-user-id"), ["github:583231"], "{more:?}");
        assert_eq!(seen.all("x-user-name"), ["583231"], "{more:?}");
        assert_eq!(seen.all("x-request-id").len(), 1, "{more:?}");
        for gone in FOREIGN.into_iter().chain(["mcp-session-id"]) {
            assert!(seen.all(&gone.to_ascii_lowercase()).is_empty(), "{gone}: {seen:?}");
        }
    }
    // No session of an older client gets by unseen.
    for connection in ["Mcp-Session-Id", "close"] {
        let more = [session, ("connection", connection)];
        let refused = world.send(TODO, with("POST", "/mcp", &token, &more)).await;
        assert_eq!(refused.status, 403, "{connection}: {refused:?}");
    }
    // Refused rather than taken away. nginx drops names with odd signs by itself.
    for (name, nginx) in
        [("x-goog-iap-jwt-assertion", 500), ("x-email", 500), ("remote_user", 200), ("mcp_session_id", 200)]
    {
        let answer = world.send(TODO, with("POST", "/mcp", &token, &[(name, "admin")])).await;
        let expected = match edge {
            Edge::Nginx => nginx,
            Edge::Caddy => 400,
        };
        assert_eq!(answer.status, expected, "{name}: {answer:?}");
        assert!(world.upstream.requests().iter().all(|seen| seen.all(name).is_empty()), "{name}");
        if expected != 200 {
            assert!(world.upstream.requests().is_empty(), "{}", world.upstream.raw());
        }
        world.upstream.forget();
    }
}

#[tokio::test]
async fn nothing_that_a_client_sends_through_nginx_undoes_the_verdict() {
    // P2, P11
    nothing_undoes_the_verdict(Edge::Nginx).await;
}

#[tokio::test]
async fn nothing_that_a_client_sends_through_caddy_undoes_the_verdict() {
    // P2, P11
    nothing_undoes_the_verdict(Edge::Caddy).await;
}

/// What is taken away from the question only would be forwarded without a verdict on it.
#[test]
fn nginx_asks_about_all_that_it_forwards() {
    // P2
    let text = snippet("deploy/nginx/forward-auth.conf");
    let taken_in = |location: &str| -> Vec<String> {
        let block = text.split_once(&format!("location {location} {{")).unwrap().1;
        let block = block.split_once("\n    }\n").unwrap().0;
        let set = block.lines().filter_map(|line| line.trim().strip_prefix("proxy_set_header "));
        set.filter_map(|line| line.strip_suffix(" \"\";")).map(str::to_owned).collect()
    };
    let own = ["Connection", "Content-Length"];
    let asked = taken_in("= /portcullis-verify");
    let asked: Vec<_> = asked.iter().map(String::as_str).filter(|name| !own.contains(name)).collect();
    assert_eq!(asked, FOREIGN);
    let forwarded = taken_in("~ ^/mcp(/|$)");
    for name in asked.into_iter().chain(["Authorization", "Cookie", "Origin", "Mcp-Session-Id"]) {
        assert!(forwarded.iter().any(|taken| taken == name), "{name}");
    }
}

/// Asks the internal listener from an address of loopback, and reads all that comes.
async fn asked(world: &World, source: [u8; 4], text: &str) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(source), 0).into()).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], world.internal).into()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    read_raw(&mut stream).await
}

#[tokio::test]
async fn only_proxies_are_answered_and_they_keep_their_connections() {
    let world = World::new(Edge::Nginx).await;
    let _gateway = world.gateway(|yaml| yaml);
    let question = "GET /verify HTTP/1.1\r\nHost: portcullis\r\nX-Forwarded-Host: todo.example.com\r\nX-Forwarded-Uri: /mcp\r\n\
                    X-Forwarded-Method: POST\r\nX-Forwarded-Proto: https\r\n\r\n";
    let stranger = asked(&world, [127, 0, 0, 2], &question.repeat(2)).await;
    assert_eq!((stranger.statuses(), stranger.closed), (vec![403], true), "{stranger:?}");
    assert!(stranger.text.contains("this is for the proxies that are listed under trusted_proxies"));
    // As many as there may be of others; a proxy has more connections than that, and each of them is quiet for a while.
    let mut kept = Vec::new();
    for _ in 0..100 {
        kept.push(TcpStream::connect(("127.0.0.1", world.internal)).await.unwrap());
    }
    let proxy = asked(&world, [127, 0, 0, 1], &question.repeat(3)).await;
    assert_eq!((proxy.statuses(), proxy.closed), (vec![401, 401, 401], false), "{proxy:?}");
    assert_eq!(proxy.text.matches(&CHALLENGE[..40]).count(), 3);
    let long = question.replace("\r\n\r\n", &format!("\r\nX-Long: {}\r\n\r\n", "x".repeat(30_000)));
    assert_eq!(asked(&world, [127, 0, 0, 1], &long).await.statuses(), [401]);
    for (wrong, status) in [
        (question.replace("GET", "POST"), 405),
        (question.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\nab"), 413),
        (question.replace("/verify", "/verify/"), 403),
        (question.replace("/verify", "/health"), 403),
    ] {
        let answer = asked(&world, [127, 0, 0, 1], &wrong).await;
        assert_eq!(answer.statuses(), [status], "{wrong}: {answer:?}");
    }
}

/// Traefik is not at hand: its snippets are YAML, and say what its documentation has.
#[test]
fn traefik_is_told_the_same_in_its_own_words() {
    use serde_yaml::Value;
    let read = |name: &str| serde_yaml::from_str::<Value>(&snippet(name)).unwrap();
    let behind = read("deploy/traefik/portcullis.yaml");
    let balancer = &behind["http"]["services"]["portcullis"]["loadBalancer"];
    assert_eq!(
        (&balancer["passHostHeader"], &balancer["servers"][0]["url"]),
        (&Value::from(true), &Value::from("http://127.0.0.1:8080"))
    );
    let asking = read("deploy/traefik/forward-auth.yaml");
    let auth = &asking["http"]["middlewares"]["portcullis-verify"]["forwardAuth"];
    let headers = ["X-User-Id", "X-User-Name", "X-User-Email", "X-Request-Id"];
    assert_eq!(auth["address"], "http://127.0.0.1:9400/verify");
    assert_eq!(auth["trustForwardHeader"], false);
    assert_eq!(auth["authResponseHeaders"], Value::from(headers.to_vec()));
    let todo = &asking["http"]["routers"]["todo"];
    assert_eq!(
        todo["middlewares"],
        Value::from(vec!["portcullis-strip", "portcullis-verify", "portcullis-clean"]),
        "in this order"
    );
    let taken = |middleware: &str| -> Vec<String> {
        let headers = &asking["http"]["middlewares"][middleware]["headers"]["customRequestHeaders"];
        let empty = headers.as_mapping().unwrap().iter().filter(|(_, value)| **value == "");
        empty.map(|(name, _)| name.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(taken("portcullis-strip"), [&["Connection"], &FOREIGN[..]].concat());
    assert_eq!(taken("portcullis-clean"), ["Authorization", "Cookie", "Origin", "Mcp-Session-Id"]);
    assert!(todo["rule"].as_str().unwrap().ends_with("!Method(`OPTIONS`)"));
    assert!(todo["priority"].as_u64() > asking["http"]["routers"]["portcullis"]["priority"].as_u64());
    for file in [&behind, &asking] {
        let http = &file["http"];
        for (name, router) in http["routers"].as_mapping().unwrap() {
            assert!(http["services"].get(&router["service"]).is_some(), "{name:?}");
            for middleware in router["middlewares"].as_sequence().into_iter().flatten() {
                assert!(http["middlewares"].get(middleware).is_some(), "{middleware:?}");
            }
        }
    }
}
