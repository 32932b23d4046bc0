//! A GitHub to test against, on a loopback port of the test process: the OAuth web flow and the few API calls a sign-in
//! needs, with GitHub's peculiarities. Errors come with HTTP 200, answers are form-encoded unless `Accept:
//! application/json`, scopes are separated by commas, PKCE is S256 and enforced, a code works once and for ten
//! minutes, a `User-Agent` is required, lists come in pages. The web part is at [`FakeGitHub::url`], the API below
//! `/api/v3`, as on a GitHub Enterprise Server.
//!
//! A test scripts the world (`user`, `org`, `member`, `leave`, `hide`, `rename`, `recycle`, `revoke`), who answers the
//! authorize page (`approve_as`, `deny`, `ask`) and what goes wrong (`fail`), and looks at what was asked (`requests`).
//! With `expiring` it is a GitHub App, whose tokens end and are renewed by a refresh token that works once.

mod answers;
mod api;
mod web;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portcullis::identity::GitHubSettings;
use portcullis::secret::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::{Url, form_urlencoded};

use self::answers::{failed, not_found};

/// The client id of the application registered there.
pub const CLIENT_ID: &str = "Iv1.0123456789abcdef";
/// Its secret.
pub const CLIENT_SECRET: &str = "fake-github-client-secret";

type Answer = Response<Full<Bytes>>;
type Pairs = HashMap<String, String>;

/// The server; it stops when this is dropped.
pub struct FakeGitHub {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    server: JoinHandle<()>,
}

/// A person's standing in an organisation or team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    Active,
    Pending,
}

/// Why an organisation shows the application nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hiding {
    /// SAML: 403 with `X-GitHub-SSO: required; url=…`.
    SingleSignOn,
    /// OAuth App access restrictions: a plain 403.
    AppRestrictions,
}

/// Who answers the authorize page.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Visitor {
    /// A 302 at once, as after an earlier approval.
    Approves(String),
    /// A 302 with `error=access_denied`.
    Denies,
    /// A page with a link for each user and one to cancel, for tests with a browser.
    Asks,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Any status, with a body that is not JSON.
    Status(u16),
    /// The secondary limit: this status (403 or 429) with `Retry-After`.
    RetryAfter(u16, u64),
    /// The primary limit: 403, `X-RateLimit-Remaining: 0` and a reset at this many seconds of the epoch.
    Spent(u64),
    /// The secondary limit in the text alone.
    SaysLimit,
    /// The account is suspended: a 403 that says so.
    Suspended,
    /// The right answer, later.
    Slow(Duration),
    /// 200, but neither JSON nor a form.
    Garbage,
    /// The connection is closed without an answer.
    HangUp,
    /// HTTP 200 with this `error` (token endpoint).
    Error(&'static str),
}

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: Pairs,
    pub headers: HeaderMap,
    /// The decoded body of a form.
    pub form: Pairs,
}

#[derive(Clone, Debug)]
struct User {
    id: u64,
    login: String,
    emails: Vec<Value>,
}

struct Code {
    user: u64,
    scope: String,
    challenge: String,
    redirect_uri: String,
    issued: Duration,
}

/// An access token.
#[derive(Clone)]
struct Token {
    user: u64,
    scopes: HashSet<String>,
    ends: Option<Duration>,
    /// What renews it, once.
    refresh: Option<String>,
}

struct World {
    started: Instant,
    passed: Duration,
    url: Url,
    callback: Option<Url>,
    users: Vec<User>,
    orgs: Vec<(String, Option<Hiding>)>,
    members: HashMap<(u64, String), Membership>,
    teams: HashMap<(u64, String, String), Membership>,
    visitor: Visitor,
    suspended: bool,
    page: usize,
    failures: Vec<(String, Failure)>,
    codes: HashMap<String, Code>,
    tokens: HashMap<String, Token>,
    given: Vec<String>,
    token_life: Option<Duration>,
    seen: Vec<Seen>,
}

// What a test says.
impl FakeGitHub {
    /// Starts on a free loopback port, with nobody in it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let world = Arc::new(Mutex::new(World::empty(address)));
        let server = tokio::spawn(serve(listener, world.clone()));
        Self { address, world, server }
    }

    /// `http://127.0.0.1:PORT/`, for [`GitHubSettings::web`].
    pub fn url(&self) -> Url {
        self.world().url.clone()
    }

    /// `http://127.0.0.1:PORT/api/v3`, for [`GitHubSettings::api`].
    pub fn api(&self) -> Url {
        self.url().join("api/v3").expect("a URL")
    }

    /// What the gateway's configuration says of this GitHub.
    pub fn settings(&self) -> GitHubSettings {
        GitHubSettings {
            client_id: CLIENT_ID.into(),
            client_secret: Secret::new(CLIENT_SECRET.into()),
            web: self.url(),
            api: self.api(),
        }
    }

    /// The callback URL registered for the application; until this is said, any is taken.
    pub fn callback(&self, url: &str) {
        self.world().callback = Some(url.parse().expect("a URL"));
    }

    /// A new person with a verified primary address `<login>@users.example`.
    pub fn user(&self, id: u64, login: &str) {
        let mut world = self.world();
        assert!(
            world.by_login(login).is_none() && world.users.iter().all(|user| user.id != id),
            "{id} {login}"
        );
        let email = email(&format!("{login}@users.example"), true, true);
        world.users.push(User { id, login: login.into(), emails: vec![email] });
    }

    /// Replaces a person's addresses: `(address, primary, verified)`.
    pub fn emails(&self, login: &str, emails: &[(&str, bool, bool)]) {
        let mut world = self.world();
        let user = world.users.iter_mut().find(|user| user.login == login).expect("a user");
        user.emails =
            emails.iter().map(|(address, primary, verified)| email(address, *primary, *verified)).collect();
    }

    /// The same person under another login.
    pub fn rename(&self, login: &str, new: &str) {
        let mut world = self.world();
        assert!(world.by_login(new).is_none(), "{new} is taken");
        world.users.iter_mut().find(|user| user.login == login).expect("a user").login = new.into();
    }

    /// Another person takes over a login that its owner has given up.
    pub fn recycle(&self, login: &str, new_id: u64) {
        self.world().users.retain(|user| user.login != login);
        self.user(new_id, login);
    }

    /// An organisation that shows its members to everybody's application.
    pub fn org(&self, name: &str) {
        self.world().orgs.push((name.into(), None));
    }

    /// An organisation begins to hide its members.
    pub fn hide(&self, org: &str, how: Hiding) {
        let mut world = self.world();
        world.orgs.iter_mut().find(|(name, _)| name == org).expect("an organisation").1 = Some(how);
    }

    /// Puts a person into an organisation, or invites them.
    pub fn member(&self, login: &str, org: &str, membership: Membership) {
        let mut world = self.world();
        let user = world.by_login(login).expect("a user").id;
        world.members.insert((user, org.into()), membership);
    }

    /// An organisation shows its members again.
    pub fn show(&self, org: &str) {
        self.world().orgs.iter_mut().find(|(name, _)| name == org).expect("an organisation").1 = None;
    }

    /// A person leaves an organisation, and its teams.
    pub fn leave(&self, login: &str, org: &str) {
        let mut world = self.world();
        let user = world.by_login(login).expect("a user").id;
        assert!(world.members.remove(&(user, org.into())).is_some(), "{login} is no member");
        world.teams.retain(|(member, of, _), _| (*member, of.as_str()) != (user, org));
    }

    /// A person leaves a team.
    pub fn leave_team(&self, login: &str, org: &str, team: &str) {
        let mut world = self.world();
        let user = world.by_login(login).expect("a user").id;
        assert!(world.teams.remove(&(user, org.into(), team.into())).is_some(), "{login} is no member");
    }

    /// A person takes the application's access away: none of its tokens works any more.
    pub fn revoke(&self, login: &str) {
        let mut world = self.world();
        let user = world.by_login(login).expect("a user").id;
        world.tokens.retain(|_, token| token.user != user);
    }

    /// One token works no more.
    pub fn kill(&self, token: &str) {
        assert!(self.world().tokens.remove(token).is_some(), "no such token");
    }

    /// From now on tokens end after `life`, and come with a refresh token.
    pub fn expiring(&self, life: Duration) {
        self.world().token_life = Some(life);
    }

    /// Puts a person into a team, or invites them.
    pub fn team_member(&self, login: &str, org: &str, team: &str, membership: Membership) {
        let mut world = self.world();
        let user = world.by_login(login).expect("a user").id;
        world.teams.insert((user, org.into(), team.into()), membership);
    }

    /// From now on the authorize page sends everybody back at once, signed in as `login`.
    pub fn approve_as(&self, login: &str) {
        self.world().visitor = Visitor::Approves(login.into());
    }

    /// From now on the person says no.
    pub fn deny(&self) {
        self.world().visitor = Visitor::Denies;
    }

    /// From now on the authorize page is a page with links (the state at start).
    pub fn ask(&self) {
        self.world().visitor = Visitor::Asks;
    }

    /// GitHub suspends the application.
    pub fn suspend_application(&self) {
        self.world().suspended = true;
    }

    /// How many entries a list's page has, whatever `per_page` asks for.
    pub fn page_size(&self, entries: usize) {
        self.world().page = entries;
    }

    /// From now on requests whose path begins with `path` fail; `/` is all of them.
    pub fn fail(&self, path: &str, failure: Failure) {
        self.world().failures.insert(0, (path.into(), failure));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.world().failures.clear();
    }

    /// Lets time pass for codes.
    pub fn advance(&self, time: Duration) {
        self.world().passed += time;
    }

    /// Everything that was asked so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.world().seen.clone()
    }

    /// What was asked at `path` (`/api/v3/user`).
    pub fn requests_to(&self, path: &str) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| seen.path == path).collect()
    }

    /// Every token given out so far: a test looks for them where they must not be.
    pub fn tokens(&self) -> Vec<String> {
        self.world().given.clone()
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics in here")
    }
}

impl Drop for FakeGitHub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, world: Arc<Mutex<World>>) {
    // Dropped with this task, and with it every connection.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let world = world.clone();
        let service = service_fn(move |request| answer(world.clone(), request));
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// `Err` closes the connection without an answer.
async fn answer(world: Arc<Mutex<World>>, request: Request<Incoming>) -> Result<Answer, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let seen = Seen {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: pairs(parts.uri.query().unwrap_or_default().as_bytes()),
        headers: parts.headers,
        form: pairs(&body),
    };
    let lock = || world.lock().expect("no test panics in here");
    lock().seen.push(seen.clone());
    let failure =
        lock().failures.iter().find(|(path, _)| seen.path.starts_with(path)).map(|(_, failure)| *failure);
    match failure {
        Some(Failure::HangUp) => return Err(std::io::ErrorKind::ConnectionAborted.into()),
        Some(Failure::Slow(time)) => tokio::time::sleep(time).await,
        Some(failure) => return Ok(failed(failure, &seen)),
        None => {}
    }
    Ok(lock().route(&seen))
}

impl World {
    fn empty(address: SocketAddr) -> Self {
        Self {
            started: Instant::now(),
            passed: Duration::ZERO,
            url: format!("http://{address}/").parse().expect("a URL"),
            callback: None,
            users: Vec::new(),
            orgs: Vec::new(),
            members: HashMap::new(),
            teams: HashMap::new(),
            visitor: Visitor::Asks,
            suspended: false,
            page: 30,
            failures: Vec::new(),
            codes: HashMap::new(),
            tokens: HashMap::new(),
            given: Vec::new(),
            token_life: None,
            seen: Vec::new(),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed() + self.passed
    }

    fn by_login(&self, login: &str) -> Option<&User> {
        self.users.iter().find(|user| user.login.eq_ignore_ascii_case(login))
    }

    fn route(&mut self, seen: &Seen) -> Answer {
        match (&seen.method, seen.path.as_str()) {
            (&Method::GET, "/login/oauth/authorize") => self.authorize(seen),
            (&Method::POST, "/login/oauth/access_token") => self.redeem(seen),
            (&Method::GET, path) if path.starts_with("/api/v3/") => self.api(seen),
            _ => not_found(),
        }
    }
}

fn email(address: &str, primary: bool, verified: bool) -> Value {
    json!({ "email": address, "primary": primary, "verified": verified, "visibility": "private" })
}

fn pairs(encoded: &[u8]) -> Pairs {
    form_urlencoded::parse(encoded).into_owned().collect()
}
