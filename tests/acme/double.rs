//! A certificate authority to test against, on a loopback port of the test process: RFC 8555 with renewal information
//! (RFC 9773) and profiles, as Let's Encrypt has them and no ACME server of Debian's. It proves hosts for real, over http-01
//! and tls-alpn-01, at ports the test names, and issues by a root and an intermediate of its own, dated by the test's clock.
//!
//! A test says how hosts are proven (`prove`), what orders come to (`processing`, `turn_invalid`), when certificates are to be
//! renewed (`suggest`) and what goes wrong (`fail`, `forget_everything`), and looks at what was asked (`requests`, `orders`).
//! Nonces, account keys and URLs are checked as RFC 8555 §6 has it; the signatures are not.
//!
//! It names nothing of Portcullis, so that tests inside the crate can include it, too.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses another part of this")]

#[path = "double/answers.rs"]
mod answers;
#[path = "double/authority.rs"]
mod authority;
#[path = "double/orders.rs"]
mod orders;
#[path = "double/proof.rs"]
mod proof;
#[path = "double/server.rs"]
mod server;
#[path = "double/world.rs"]
mod world;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::authority::Authority;

/// Seconds of the epoch, by the test's clock.
type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The server; it stops when this is dropped.
pub struct AcmeDouble {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    changes: watch::Sender<usize>,
    server: JoinHandle<()>,
}

/// A resource of RFC 8555 §7.1, or RFC 9773 §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    Directory,
    NewNonce,
    NewAccount,
    Account,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
    RenewalInfo,
    Unknown,
}

/// How a host is found to be somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The answers are looked at: http-01 here, tls-alpn-01 there.
    Looked { http: SocketAddr, tls: SocketAddr },
    /// It is known already: the authorization is valid before anybody answers.
    Known,
    /// Whoever says that the answer is there is believed.
    Believed,
    /// It is not looked at before the test says something else.
    Pending,
    /// It fails with this kind of problem and these words.
    Fails(&'static str, &'static str),
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A problem document: its status and kind (`badNonce`), and what `Retry-After` says.
    Problem(u16, &'static str, Option<String>),
    /// A status with a body that is not JSON.
    Status(u16),
    /// 200, and JSON that breaks off.
    Garbage,
    /// The connection is closed without an answer. Nothing is done.
    HangUp,
    /// It is done, and the connection closed without an answer.
    LostAnswer,
    /// The right answer, later.
    Slow(Duration),
}

impl Failure {
    /// `rateLimited`, with a `Retry-After` in seconds.
    pub fn rate_limited(seconds: u64) -> Self {
        Self::Problem(429, "rateLimited", Some(seconds.to_string()))
    }
}

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub resource: Resource,
    pub method: Method,
    pub path: String,
    /// The protected header of its JWS.
    pub protected: Value,
    /// `null` if there is none, as in a POST-as-GET.
    pub payload: Value,
    /// What it was answered with; 0 if it was not.
    pub status: u16,
}

/// An order.
#[derive(Clone, Debug)]
pub struct Order {
    pub url: String,
    pub account: String,
    pub host: String,
    pub replaces: Option<String>,
    pub profile: Option<String>,
    /// As in RFC 8555 §7.1.6.
    pub status: &'static str,
    /// The serial number of what came of it, as [`Issued::serial`].
    pub serial: Option<String>,
    authorization: String,
    error: Option<Value>,
    /// How often it is asked about before it is done.
    left: u32,
}

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Hexadecimal digits, two by two, with colons between them.
    pub serial: String,
    pub host: String,
    /// The leaf and the intermediate, in PEM.
    pub chain: String,
    /// Seconds of the epoch.
    pub not_before: u64,
    pub not_after: u64,
    /// As RFC 9773 §4.1 names it.
    pub id: String,
}

/// What is said of when to renew a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// From when to when: seconds of the epoch.
    pub window: (u64, u64),
    /// Seconds.
    pub retry_after: u64,
    pub explanation: Option<String>,
}

#[derive(Clone, Debug)]
struct Authorization {
    host: String,
    status: &'static str,
    token: String,
    /// What each challenge came to, by its type.
    errors: HashMap<&'static str, Value>,
    /// The challenge that was said to be answered.
    answered: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Account {
    /// RFC 7638.
    thumbprint: String,
    contact: Value,
}

struct World {
    now: Now,
    url: String,
    authority: Authority,
    next: u64,
    nonces: HashSet<String>,
    binding: Option<String>,
    renewal_info: bool,
    profiles: Vec<String>,
    challenges: Vec<&'static str>,
    proofs: HashMap<String, Proof>,
    life: Duration,
    /// How often an order is `processing`, and its `Retry-After`.
    processing: (u32, Option<u64>),
    invalid: Option<(&'static str, &'static str)>,
    suggestion: Option<Suggestion>,
    suggestions: HashMap<String, Suggestion>,
    failures: Vec<(Resource, Failure, u32)>,
    accounts: BTreeMap<String, Account>,
    orders: Vec<Order>,
    authorizations: BTreeMap<String, Authorization>,
    issued: Vec<Issued>,
    seen: Vec<Seen>,
}

/// Stands for every host.
const EVERY: &str = "*";

// What a test says.
impl AcmeDouble {
    /// Starts on a free loopback port; it believes everybody, and its certificates live for ninety days.
    pub async fn start(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let world = Arc::new(Mutex::new(World::empty(address, Arc::new(now))));
        let changes = watch::Sender::new(0);
        let server = tokio::spawn(server::serve(listener, world.clone(), changes.clone()));
        Self { address, world, changes, server }
    }

    /// `http://127.0.0.1:PORT/directory`, for `tls.acme.directory`.
    pub fn directory(&self) -> String {
        format!("http://{}/directory", self.address)
    }

    /// The root that clients are to trust, in PEM.
    pub fn root(&self) -> String {
        self.world().authority.root()
    }

    /// Accounts must be bound to this key id.
    pub fn require_binding(&self, kid: &str) {
        self.world().binding = Some(kid.into());
    }

    /// Says nothing of when to renew, as an older server.
    pub fn without_renewal_info(&self) {
        self.world().renewal_info = false;
    }

    /// The profiles it has; others are refused.
    pub fn profiles(&self, names: &[&str]) {
        self.world().profiles = names.iter().map(ToString::to_string).collect();
    }

    /// The challenges it offers: both at start.
    pub fn offer(&self, challenges: &[&'static str]) {
        self.world().challenges = challenges.to_vec();
    }

    /// How every host is proven from now on.
    pub fn prove(&self, how: Proof) {
        self.prove_host(EVERY, how);
    }

    /// How one host is proven from now on.
    pub fn prove_host(&self, host: &str, how: Proof) {
        self.world().proofs.insert(host.into(), how);
    }

    /// How long certificates live that are issued from now on.
    pub fn life(&self, life: Duration) {
        self.world().life = life;
    }

    /// An order that is finalized is `processing` for so many looks, with this `Retry-After`.
    pub fn processing(&self, looks: u32, retry_after: Option<u64>) {
        self.world().processing = (looks, retry_after);
    }

    /// Whatever is `processing` is done.
    pub fn finish(&self) {
        let mut world = self.world();
        world.processing = (0, None);
        world.orders.iter_mut().for_each(|order| order.left = 0);
    }

    /// The next order that is finalized turns `invalid`, for this reason.
    pub fn turn_invalid(&self, kind: &'static str, detail: &'static str) {
        self.world().invalid = Some((kind, detail));
    }

    /// What is said of every certificate. Without it, the window is the seventh tenth of its life.
    pub fn suggest(&self, suggestion: Suggestion) {
        self.world().suggestion = Some(suggestion);
    }

    /// What is said of one certificate, by its serial number.
    pub fn suggest_for(&self, serial: &str, suggestion: Suggestion) {
        self.world().suggestions.insert(serial.into(), suggestion);
    }

    /// The next `times` requests to a resource fail.
    pub fn fail(&self, resource: Resource, failure: Failure, times: u32) {
        self.world().failures.push((resource, failure, times));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.world().failures.clear();
    }

    /// Loses its database: no account and no order is known any more. Certificates are.
    pub fn forget_everything(&self) {
        let mut world = self.world();
        world.accounts.clear();
        world.orders.clear();
        world.authorizations.clear();
    }

    /// Everything that was asked so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.world().seen.clone()
    }

    /// What was asked of one resource.
    pub fn requests_to(&self, resource: Resource) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| seen.resource == resource).collect()
    }

    /// The orders it knows, the oldest first.
    pub fn orders(&self) -> Vec<Order> {
        self.world().orders.clone()
    }

    /// The accounts it knows: their contacts by their URLs.
    pub fn accounts(&self) -> BTreeMap<String, Value> {
        let world = self.world();
        world.accounts.iter().map(|(url, account)| (url.clone(), account.contact.clone())).collect()
    }

    /// The certificates it issued, the oldest first.
    pub fn issued(&self) -> Vec<Issued> {
        self.world().issued.clone()
    }

    /// Waits until something that was asked makes this so; 30 seconds at most.
    pub async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        let reached = async {
            while !wanted(self) {
                changes.changed().await.expect("the server lives");
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        assert!(reached.is_ok(), "it does not happen; asked: {:#?}", self.requests());
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics in here")
    }
}

impl Drop for AcmeDouble {
    fn drop(&mut self) {
        self.server.abort();
    }
}
