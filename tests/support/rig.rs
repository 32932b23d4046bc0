//! The whole gateway in process: requests go over a duplex pipe through hyper into `Gateway::handle`, the clock
//! stands still until a test moves it, the store is an embedded one in a temporary folder.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portcullis::clock::StoppedClock;
use portcullis::config::Config;
use portcullis::gateway::{Arrival, DocumentSource, Documents, Gateway, Shared, Site, Worker};
use portcullis::seal::Sealer;
use portcullis::store::{self, Store};
use portcullis::time::Timestamp;
use portcullis::{cli, tasks};

use super::faults::Faulty;

pub const ISSUER: &str = "http://localhost:8080";
pub const RESOURCE: &str = "http://localhost:8080/mcp";
/// RFC 7636's own example.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const REDIRECT: &str = "http://localhost:4711/callback";

/// A gateway and what a test needs around it.
pub struct Rig {
    pub gateway: Arc<Gateway>,
    pub shared: Arc<Shared>,
    pub clock: Arc<StoppedClock>,
    worker: Arc<Worker>,
    yaml: String,
    _tasks: tasks::Tasks,
    folder: Arc<tempfile::TempDir>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A query parameter of the `Location`.
    pub fn location(&self, name: &str) -> Option<String> {
        let url =
            url::Url::parse(self.header("location")).unwrap_or_else(|_| panic!("no location: {self:?}"));
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The value of a hidden input of a page.
    pub fn input(&self, name: &str) -> String {
        let after = self.body.split(&format!("name=\"{name}\" value=\"")).nth(1);
        after
            .unwrap_or_else(|| panic!("no input {name} in {}", self.body))
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    }

    /// The cookies it sets, as a browser would send them back.
    pub fn cookies(&self) -> String {
        let set = self.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
        set.map(|line| line.split(';').next().unwrap())
            .filter(|pair| !pair.ends_with('='))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// The demo's configuration with one service at `upstream`.
pub fn dev_yaml(upstream: SocketAddr) -> String {
    format!(
        "issuer: {ISSUER}
secret_key: {key}
store: file:{{folder}}/portcullis.db
listen: {{ http: \"localhost:8080\" }}
tls: off
identity: {{ dev: {{}} }}
access: {{ users: [\"*\"] }}
services:
  echo: {{ url: \"{RESOURCE}\", upstream: \"http://{upstream}/mcp\" }}
",
        key = "5a".repeat(32)
    )
}

/// With a Redis (whose dumps are not compressed) in this variable, every store of these tests is there instead of in a file.
pub fn redis_url() -> Option<String> {
    std::env::var("PORTCULLIS_TEST_REDIS").ok()
}

/// What a test's keys in Redis begin with.
pub fn prefix(folder: &Path) -> String {
    format!("{}:", folder.file_name().unwrap().to_str().unwrap())
}

/// A configuration whose store is in `folder`, or in Redis.
fn placed(yaml: &str, folder: &Path) -> String {
    let file = "store: file:{folder}/portcullis.db";
    assert!(yaml.contains(file) || !yaml.contains("{folder}"), "the store is elsewhere: {yaml}");
    let yaml = match redis_url() {
        Some(url) => yaml.replace(file, &format!("store: {url}\nstore_prefix: \"{}\"", prefix(folder))),
        None => yaml.to_owned(),
    };
    yaml.replace("{folder}", folder.to_str().unwrap())
}

impl Rig {
    /// A gateway with the `dev` identity, one service, and nothing behind it.
    pub async fn dev() -> Self {
        Self::with(&dev_yaml(SocketAddr::from(([127, 0, 0, 1], 9)))).await
    }

    /// A gateway of a configuration in which `{folder}` stands for the store's folder.
    pub async fn with(yaml: &str) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let yaml = placed(yaml, folder.path());
        let clock = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000)));
        Self::start(yaml, clock, folder).await
    }

    /// The same gateway, stopped and started again with another configuration.
    pub async fn reconfigured(self, change: impl Fn(&str) -> String) -> Self {
        let (yaml, clock, folder) = (change(&self.yaml), Arc::clone(&self.clock), Arc::clone(&self.folder));
        assert_ne!(yaml, self.yaml);
        drop(self);
        Self::start(yaml, clock, folder).await
    }

    async fn start(yaml: String, clock: Arc<StoppedClock>, folder: Arc<tempfile::TempDir>) -> Self {
        let config = Config::from_text(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
        let shared = share(&config, &clock).await;
        Self::over(config, yaml, clock, shared, folder).await
    }

    /// Another process over the same store.
    pub async fn beside(&self) -> Self {
        let config = Config::from_text(&self.yaml).unwrap();
        let (clock, folder) = (Arc::clone(&self.clock), Arc::clone(&self.folder));
        let shared = cli::serve::share_over(&config, self.shared.store.clone(), clock.clone()).await.unwrap();
        Self::over(config, self.yaml.clone(), clock, shared, folder).await
    }

    /// A gateway that gets clients' metadata documents from `source` instead of from the internet.
    pub async fn with_documents(yaml: &str, source: Arc<dyn DocumentSource>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let yaml = placed(yaml, folder.path());
        let clock = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let config = Config::from_text(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
        let shared = Shared { documents: Documents::new(source), ..share(&config, &clock).await };
        Self::over(config, yaml, clock, shared, folder).await
    }

    /// A gateway whose store can be told to lose an answer after the deed.
    pub async fn forgetful() -> (Self, Arc<Faulty>) {
        Self::forgetful_with("").await
    }

    /// The same with further lines of configuration; its store counts what it is asked.
    pub async fn forgetful_with(more: &str) -> (Self, Arc<Faulty>) {
        Self::forgetful_of(&(dev_yaml(SocketAddr::from(([127, 0, 0, 1], 9))) + more)).await
    }

    /// The same of another configuration.
    pub async fn forgetful_of(yaml: &str) -> (Self, Arc<Faulty>) {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let yaml = placed(yaml, folder.path());
        let config = Config::from_text(&yaml).unwrap();
        let clock = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let control = tokio::runtime::Handle::current();
        let backend = store::open_backend(&config.store, &control, clock.clone()).await.unwrap();
        let faulty = Faulty::new(&backend, Duration::ZERO);
        let sealer = Sealer::new(config.secret_key.clone());
        let store = Store::with_backend(faulty.clone(), sealer).await.unwrap();
        let shared = cli::serve::share_over(&config, store, clock.clone()).await.unwrap();
        (Self::over(config, yaml, clock, shared, folder).await, faulty)
    }

    /// Several gateways over one store, as processes over one Redis: each of a configuration in which `{folder}` stands for
    /// the store's folder. They have one clock.
    pub async fn several<const N: usize>(yamls: [&str; N]) -> [Self; N] {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let yamls = yamls.map(|yaml| placed(yaml, folder.path()));
        let clock = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let control = tokio::runtime::Handle::current();
        let first = Config::from_text(&yamls[0]).unwrap_or_else(|problems| panic!("{problems}"));
        let backend = store::open_backend(&first.store, &control, clock.clone()).await.unwrap();
        let mut rigs = Vec::new();
        for yaml in yamls {
            let config = Config::from_text(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
            let sealer = cli::serve::sealer(&config);
            let store = Store::with_backend(Arc::clone(&backend), sealer).await.unwrap();
            let shared = cli::serve::share_over(&config, store, clock.clone()).await.unwrap();
            rigs.push(Self::over(config, yaml, Arc::clone(&clock), shared, Arc::clone(&folder)).await);
        }
        rigs.try_into().ok().unwrap()
    }

    /// Lets time pass, and reads the revocations as of then.
    pub fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
        let now = portcullis::clock::Clock::now(&*self.clock);
        self.shared.revocations.update(&[], Duration::from_hours(24), now);
    }

    async fn over(
        config: Config,
        yaml: String,
        clock: Arc<StoppedClock>,
        shared: Shared,
        folder: Arc<tempfile::TempDir>,
    ) -> Self {
        let shared = Arc::new(shared);
        let tasks = tasks::start(&shared).await.unwrap();
        let gateway = Arc::new(Gateway::new(Site::new(config.gateway), Arc::clone(&shared)));
        let worker = Arc::new(shared.workers.hire());
        Self { gateway, shared, clock, worker, yaml, _tasks: tasks, folder }
    }

    /// Another process over the same store.
    pub async fn another(&self) -> Self {
        let config = Config::from_text(&self.yaml).unwrap();
        let (store, clock) = (self.shared.store.clone(), Arc::clone(&self.clock));
        let shared = cli::serve::share_over(&config, store, clock.clone()).await.unwrap();
        Self::over(config, self.yaml.clone(), clock, shared, Arc::clone(&self.folder)).await
    }

    /// Puts another configuration to work while it runs.
    pub fn reload(&self, change: impl Fn(&str) -> String) {
        let yaml = change(&self.yaml);
        assert_ne!(yaml, self.yaml);
        let config = Config::from_text(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
        self.gateway.replace(config.gateway);
    }

    /// Its configuration as text.
    pub fn yaml(&self) -> &str {
        &self.yaml
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Sends one request over a connection of its own and leaves the body to the caller.
    pub async fn open(&self, request: Request<String>) -> Response<hyper::body::Incoming> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (gateway, worker) = (Arc::clone(&self.gateway), Arc::clone(&self.worker));
        let arrival =
            Arrival { peer: SocketAddr::from(([127, 0, 0, 1], 50_000)), tls: false, server_name: None };
        let service = service_fn(move |request| {
            let (gateway, worker, arrival) = (Arc::clone(&gateway), Arc::clone(&worker), arrival.clone());
            async move { Ok::<_, Infallible>(gateway.handle(&worker, &arrival, request).await) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        let (mut parts, body) = request.into_parts();
        parts.headers.entry("host").or_insert_with(|| "localhost:8080".parse().unwrap());
        sender.send_request(Request::from_parts(parts, Full::new(Bytes::from(body)))).await.unwrap()
    }

    /// Sends one request and reads the whole answer.
    pub async fn send(&self, request: Request<String>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    pub async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", target, headers, String::new())).await
    }

    /// Posts a form.
    pub async fn post(&self, target: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.send(request("POST", target, &all, encode(form))).await
    }

    /// Registers a client with [`REDIRECT`]; its id.
    pub async fn register(&self) -> String {
        let body = serde_json::json!({ "client_name": "Rig", "redirect_uris": [REDIRECT] }).to_string();
        let answer =
            self.send(request("POST", "/register", &[("content-type", "application/json")], body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// Goes through consent and the dev sign-in as a browser would; the last answer, which leads to the client.
    pub async fn sign_in(&self, query: &[(&str, &str)], name: &str) -> Answer {
        let page = self.get(&format!("/authorize?{}", encode(query)), &[]).await;
        assert_eq!(page.status, 200, "{page:?}");
        let cookie = page.cookies();
        let mut form = query.to_vec();
        let token = page.input("form_token");
        form.extend([("form_token", token.as_str()), ("decision", "approve")]);
        let headers = [("cookie", cookie.as_str()), ("origin", ISSUER)];
        let sent = self.post("/authorize", &headers, &form).await;
        assert_eq!(sent.status, 303, "{sent:?}");
        let state = sent.location("state").unwrap();
        let callback = format!("/callback?{}", encode(&[("code", name), ("state", &state)]));
        self.get(&callback, &[("cookie", &sent.cookies())]).await
    }

    /// A code for `client`, of the person `name`.
    pub async fn code(&self, client: &str, name: &str) -> String {
        let answer = self.sign_in(&authorize_query(client), name).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.location("code").unwrap_or_else(|| panic!("no code: {answer:?}"))
    }

    /// The tokens of a new grant.
    pub async fn tokens(&self, client: &str, name: &str) -> serde_json::Value {
        let code = self.code(client, name).await;
        let answer = self.redeem(client, &code, &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub async fn redeem(&self, client: &str, code: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![("grant_type", "authorization_code"), ("client_id", client), ("code", code)];
        form.push(("redirect_uri", REDIRECT));
        if !more.iter().any(|(name, _)| *name == "code_verifier") {
            form.push(("code_verifier", VERIFIER));
        }
        form.extend_from_slice(more);
        self.post("/token", &[], &form).await
    }

    pub async fn refresh(&self, client: &str, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)];
        form.extend_from_slice(more);
        self.post("/token", &[], &form).await
    }

    /// Calls the service with a token.
    pub async fn call(&self, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.to_owned();
        self.send(request("POST", "/mcp", &headers, body)).await
    }
}

/// A gateway that was just dropped gives its store up in a moment.
async fn share(config: &Config, clock: &Arc<StoppedClock>) -> Shared {
    let mut last = None;
    for _ in 0..100 {
        match cli::serve::share(config, Arc::clone(clock) as Arc<dyn portcullis::clock::Clock>).await {
            Ok(shared) => return shared,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{last:?}");
}

/// What a client asks for.
pub fn authorize_query(client: &str) -> Vec<(&str, &str)> {
    vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "st/ate+1 ü"),
        ("resource", RESOURCE),
        ("scope", "mcp"),
    ]
}

pub fn encode(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: String) -> Request<String> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}
