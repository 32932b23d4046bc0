//! Several servers behind one service: whom a request reaches, and what happens when one of them goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Request};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::client::{Client, SignedIn, call, http1_on, piece, whole};
use crate::member::{ID, Member};
use crate::process::{Place, Process, plain};
use crate::recorder::{RESULT, Recorder};
use crate::support::redis::Redis;
use crate::support::rig::{Answer, request};

/// [`plain`] with these replicas, and `more` keys of the service; probes and figures on the second port.
fn replicated(replicas: &[SocketAddr], more: &str) -> String {
    let nobody: SocketAddr = ([127, 0, 0, 1], 9).into();
    let urls: Vec<_> = replicas.iter().map(|address| format!("\"http://{address}/mcp\"")).collect();
    let list = format!("upstream: [{}]{more} }}", urls.join(", "));
    plain(nobody, "log: { format: json }")
        .replace(&format!("upstream: \"http://{nobody}/mcp\" }}"), &list)
        .replace(
            "{ http: \"127.0.0.1:{port}\" }",
            "{ http: \"127.0.0.1:{port}\", internal: \"127.0.0.1:{second}\" }",
        )
}

/// A request with a number, and the session of a client that has one.
fn numbered(method: &str, signed_in: &SignedIn, number: &str, session: Option<&str>) -> Request<String> {
    let mut call = call(method, "/mcp", signed_in);
    let mut add = |name: &'static str, value: &str| {
        call.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    };
    add(ID, number);
    if let Some(session) = session {
        add("mcp-session-id", session);
    }
    call
}

/// Begins a session; its id, and the replica that it lives on.
async fn initialize(client: &Client, signed_in: &SignedIn) -> (String, String) {
    let mut call = call("POST", "/mcp", signed_in);
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#.clone_into(call.body_mut());
    let answer = client.send(call).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer.header("mcp-session-id").to_owned(), answer.body)
}

/// Begins sessions until there are three on each of two replicas.
async fn sessions(client: &Client, signed_in: &SignedIn) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    while all.len() < 6 {
        let (session, home) = initialize(client, signed_in).await;
        if all.iter().filter(|(_, other)| *other == home).count() < 3 {
            all.push((session, home));
        }
    }
    all
}

/// Sees that every session is answered by its own replica.
async fn assert_at_home(client: &Client, signed_in: &SignedIn, sessions: &[(String, String)]) {
    for (session, home) in sessions {
        for _ in 0..3 {
            let answer = client.send(numbered("POST", signed_in, "0", Some(session))).await;
            assert_eq!((answer.status.as_u16(), &answer.body), (200, home), "{answer:?}");
        }
    }
}

fn not_found(answer: &Answer) {
    let mut answered = answer.json();
    let help = answered["error"]["data"]["help"].take();
    assert!(help.as_str().unwrap().ends_with("/help/session-lost"), "{help}");
    let data = serde_json::json!({
        "trouble": "session-lost", "help": null, "request_id": answer.header("x-request-id"),
    });
    let error = serde_json::json!({ "code": -32001, "message": "Session not found", "data": data });
    let expected = serde_json::json!({ "jsonrpc": "2.0", "id": null, "error": error });
    assert_eq!((answer.status.as_u16(), answered), (404, expected));
}

async fn told(place: &Place, path: &str) -> Answer {
    let tcp = TcpStream::connect(("127.0.0.1", place.second)).await.unwrap();
    let asked = request("GET", path, &[("host", "localhost")], String::new()).map(Into::into);
    whole(http1_on(tcp).await.send_request(asked).await.unwrap()).await
}

/// A figure of one replica.
async fn figure(place: &Place, name: &str, replica: SocketAddr) -> u64 {
    let metrics = told(place, "/metrics").await.body;
    let start = format!("portcullis_replica_{name}{{service=\"echo\",replica=\"{replica}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("no {start}: {metrics}")).parse().unwrap()
}

/// How often a message about a replica stands in the log.
fn said(process: &Process, message: &str, replica: SocketAddr) -> usize {
    let log = process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines
        .filter(|line| {
            line["replica"] == replica.to_string()
                && line["message"].as_str().is_some_and(|text| text.starts_with(message))
        })
        .count()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn requests_without_a_session_are_spread_and_a_busy_replica_gets_fewer() {
    let (place, one, two) = (Place::new(), Member::start().await, Member::start().await);
    let _process = place.start(&replicated(&[one.address, two.address], ""));
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    for number in 0..40 {
        client.send(numbered("POST", &alice, &number.to_string(), None)).await;
    }
    assert!((15..=25).contains(&one.count()) && one.count() + two.count() == 40, "{}", one.count());
    // Streams that stand open count, and the one that has none of them gets the next requests.
    let mut streams = Vec::new();
    for _ in 0..6 {
        let mut stream = client.open(call("GET", "/mcp", &alice)).await;
        let home = piece(&mut stream).await.unwrap().unwrap();
        streams.push((home, stream));
    }
    let at_one = |(home, _): &(String, _)| *home == one.address.to_string();
    assert_eq!(streams.iter().filter(|stream| at_one(stream)).count(), 3);
    assert_eq!(figure(&place, "requests_in_flight", one.address).await, 3);
    streams.retain(at_one);
    until("the others have ended", async || figure(&place, "requests_in_flight", two.address).await == 0)
        .await;
    let before = two.count();
    for number in 100..110 {
        client.send(numbered("POST", &alice, &number.to_string(), None)).await;
    }
    assert_eq!(two.count(), before + 10);
    assert!(one.probes() > 0 && two.probes() > 0, "both are probed by default");
}

#[tokio::test]
async fn a_session_stays_at_its_replica_over_a_restart_and_in_another_order_until_that_is_gone() {
    let (place, one, two) = (Place::new(), Member::start().await, Member::start().await);
    let three = Member::start().await;
    let yaml = replicated(&[one.address, two.address], "");
    let mut process = place.start(&yaml);
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    let sessions = sessions(&client, &alice).await;
    assert_at_home(&client, &alice, &sessions).await;

    let reordered = replicated(&[three.address, two.address, one.address], "");
    place.write("serve.yaml", &reordered);
    process.signal("HUP");
    process.says("services changed: echo (upstream)").await;
    assert_at_home(&client, &alice, &sessions).await;

    process.signal("TERM");
    assert_eq!(process.ended().await.0, 0);
    let process = place.start(&reordered);
    assert_at_home(&client, &alice, &sessions).await;
    // A GET stream and DELETE go the same way.
    let (session, home) = &sessions[0];
    let mut stream = client.open(numbered("GET", &alice, "0", Some(session))).await;
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), *home);
    let ended = client.send(numbered("DELETE", &alice, "0", Some(session))).await;
    assert_eq!(ended.status, 204, "{ended:?}");
    let left = one.sessions().len() + two.sessions().len();
    let again = client.send(numbered("DELETE", &alice, "0", Some(session))).await;
    assert_eq!((again.status.as_u16(), again.body.as_str()), (404, "unknown here"));
    assert_eq!(one.sessions().len() + two.sessions().len(), left);

    // A reload that takes one away; the sessions of the others do not notice.
    let sessions = &sessions[1..];
    place.write("serve.yaml", &replicated(&[three.address, two.address], ""));
    process.signal("HUP");
    process.says("services changed: echo (upstream)").await;
    let (kept, lost): (Vec<_>, Vec<_>) =
        sessions.iter().cloned().partition(|(_, home)| *home == two.address.to_string());
    assert!(!kept.is_empty() && !lost.is_empty());
    assert_at_home(&client, &alice, &kept).await;
    let before = one.count();
    for (session, _) in &lost {
        not_found(&client.send(numbered("POST", &alice, "after", Some(session))).await);
    }
    assert_eq!(one.count(), before);
}

#[tokio::test]
async fn another_gateway_process_finds_the_replica_of_a_session() {
    let (redis, place) = (Redis::start(), Place::new());
    let (one, two) = (Member::start().await, Member::start().await);
    let shared = |yaml: String| yaml.replace("file:{folder}/portcullis.db", &redis.url());
    let _first = place.start(&shared(replicated(&[one.address, two.address], "")));
    let other = Place::new();
    // The same issuer, at another address, which knows the replicas in another order.
    let yaml = shared(replicated(&[two.address, one.address], ""))
        .replace("localhost:{port}", &format!("localhost:{}", place.port));
    let _second = other.start(&yaml);
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    let sessions = sessions(&client, &alice).await;
    assert_at_home(&client.at(other.address()), &alice, &sessions).await;
    assert_at_home(&client, &alice, &sessions).await;
}

/// What became of a request: the answer's status, and when it was asked and answered.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    status: u16,
    asked: Duration,
    answered: Duration,
}

/// Of one client's requests, by number.
type Outcomes = BTreeMap<String, Outcome>;

/// What clients ask for until they are told to stop.
#[derive(Clone)]
struct Load {
    client: Client,
    alice: Arc<SignedIn>,
    next: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    started: Instant,
}

impl Load {
    fn new(client: Client, alice: SignedIn) -> Self {
        let (next, stop, started) = (Arc::default(), Arc::default(), Instant::now());
        Self { client, alice: Arc::new(alice), next, stop, started }
    }

    /// A client that asks one request after the other, in a session or without.
    fn client(&self, session: Option<String>) -> JoinHandle<Outcomes> {
        let load = self.clone();
        tokio::spawn(async move {
            let mut outcomes = Outcomes::default();
            while !load.stop.load(Ordering::SeqCst) {
                let kind = if session.is_some() { "bound" } else { STRANGER };
                let number = format!("{kind}-{}", load.next.fetch_add(1, Ordering::SeqCst));
                let request = numbered("POST", &load.alice, &number, session.as_deref());
                let asked = load.started.elapsed();
                let status = load.client.send(request).await.status.as_u16();
                outcomes.insert(number, Outcome { status, asked, answered: load.started.elapsed() });
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            outcomes
        })
    }
}

fn failed(outcomes: &Outcomes) -> Vec<(&String, Outcome)> {
    outcomes.iter().map(|(number, outcome)| (number, *outcome)).filter(|(_, it)| it.status != 200).collect()
}

/// Sees that nothing arrived twice, here or there.
fn assert_once(one: &Member, two: &Member) {
    let (one, two) = (one.arrived(), two.arrived());
    for (number, times) in one.iter().chain(&two) {
        assert_eq!(*times, 1, "{number} arrived twice");
        assert!(!(one.contains_key(number) && two.contains_key(number)), "{number} arrived at both");
    }
}

/// What the numbers of requests without a session begin with.
const STRANGER: &str = "stranger";

/// So many that a replica with a tenth of its share gets some of their requests.
const CLIENTS: usize = 36;

// P7
#[tokio::test]
async fn of_a_replica_that_is_killed_and_revived_under_load_only_what_was_in_flight_fails() {
    let (place, one, two) = (Place::new(), Member::start().await, Member::start().await);
    let process = place.start(&replicated(&[one.address, two.address], ", health: { every: 1s }"));
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    let sessions = sessions(&client, &alice).await;
    one.pause(Duration::from_millis(100));
    two.pause(Duration::from_millis(100));
    let load = Load::new(client, alice);
    let strangers: Vec<_> = (0..CLIENTS).map(|_| load.client(None)).collect();
    let bound: Vec<_> =
        sessions.into_iter().map(|(session, home)| (home, load.client(Some(session)))).collect();
    tokio::time::sleep(Duration::from_millis(600)).await;
    one.kill().await;
    let (killed, seen) = (load.started.elapsed(), one.arrived());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let ready = told(&place, "/ready").await.json();
    let degraded = format!("echo: the replica {} is ejected: ", one.address);
    assert!(ready["ready"] == true && ready["degraded"][0].as_str().unwrap().starts_with(&degraded));
    one.revive().await;
    until("it is back", async || figure(&place, "up", one.address).await == 1).await;
    let back = load.started.elapsed();
    let strangers_of =
        |seen: BTreeMap<String, u32>| seen.into_keys().filter(|it| it.starts_with(STRANGER)).count();
    let before = strangers_of(seen);
    until("it gets requests without a session again", async || strangers_of(one.arrived()) > before + 10)
        .await;
    load.stop.store(true, Ordering::SeqCst);

    for stranger in strangers {
        let outcomes = stranger.await.unwrap();
        assert!(outcomes.len() > 10, "{}", outcomes.len());
        let failed = failed(&outcomes);
        assert!(failed.len() <= 1, "it has one at a time in flight: {failed:?}");
        for (number, it) in failed {
            assert_eq!(it.status, 502, "{number}");
            assert!(it.asked < killed && killed < it.answered + Duration::from_millis(500), "{it:?}");
        }
    }
    for (home, client) in bound {
        let outcomes = client.await.unwrap();
        for (number, it) in failed(&outcomes) {
            assert_eq!((it.status, &home), (502, &one.address.to_string()), "{number}");
            assert!(it.asked < back, "{number} failed after it was back");
        }
        let newest = outcomes.values().max_by_key(|it| it.asked).unwrap();
        assert_eq!(newest.status, 200, "the sessions of both live on");
    }
    assert_once(&one, &two);
    assert_eq!(said(&process, "a replica is ejected: ", one.address), 1, "{}", process.log());
    assert_eq!(said(&process, "a replica is back", one.address), 1);
    assert_eq!(figure(&place, "ejections_total", one.address).await, 1);
    assert_eq!(figure(&place, "ejections_total", two.address).await, 0);
}

#[tokio::test]
async fn a_replica_that_comes_back_without_its_sessions_says_so_itself() {
    let (place, one, two) = (Place::new(), Member::start().await, Member::start().await);
    let _process = place.start(&replicated(&[one.address, two.address], ", health: off"));
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    let sessions = sessions(&client, &alice).await;
    one.kill().await;
    let (session, _) = sessions.iter().find(|(_, home)| *home == one.address.to_string()).unwrap();
    for _ in 0..3 {
        let answer = client.send(numbered("POST", &alice, "away", Some(session))).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.json()["error"]["data"]["finding"], "upstream-down");
    }
    one.forget();
    one.revive().await;
    let answer = client.send(numbered("POST", &alice, "back", Some(session))).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (404, "unknown here"));
    assert_eq!((one.arrived().get("away"), two.arrived().get("away")), (None, None));
    assert_eq!((one.probes(), two.probes()), (0, 0), "they are off");
}

// P7
#[tokio::test]
async fn a_post_that_is_broken_off_after_it_was_sent_is_502_and_goes_to_nobody_else() {
    let (place, one, two) = (Place::new(), Recorder::start().await, Recorder::start().await);
    let _process = place.start(&replicated(&[one.address, two.address], ", health: off"));
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    for number in 1..=4 {
        let answer = client.send(call("POST", "/mcp/break", &alice)).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(one.answered() + two.answered(), number);
    }
}

/// A listener whose queue is full: the kernel does not answer whoever else connects.
fn full() -> (Socket, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let waiting = (0..3).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        drop(socket.connect(&listener.local_addr().unwrap()));
        socket
    });
    let waiting = waiting.collect();
    (listener, waiting)
}

#[tokio::test]
async fn a_replica_that_accepts_no_connection_costs_a_wait_now_and_then_and_no_request() {
    let (place, (listener, _waiting), upstream) = (Place::new(), full(), Recorder::start().await);
    let stuck = listener.local_addr().unwrap().as_socket().unwrap();
    let more = ", health: off, connect_timeout: 1s";
    let process = place.start(&replicated(&[stuck, upstream.address], more));
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    let started = Instant::now();
    for _ in 0..30 {
        let answer = client.send(call("POST", "/mcp", &alice)).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, RESULT));
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(upstream.answered(), 30);
    assert_eq!(said(&process, "a replica is ejected: it cannot be reached", stuck), 1);
}

#[tokio::test]
async fn a_replica_that_accepts_and_says_nothing_is_found_by_its_probes() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    // The kernel accepts for it, as for a process that is stopped.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = mute.local_addr().unwrap();
    let process = place.start(&replicated(&[address, upstream.address], ""));
    until("it is ejected", async || figure(&place, "up", address).await == 0).await;
    assert_eq!(said(&process, "a replica is ejected: it does not answer probes", address), 1);
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    for _ in 0..10 {
        assert_eq!(client.send(call("POST", "/mcp", &alice)).await.body, RESULT);
    }
}

#[tokio::test]
async fn without_probes_one_request_tries_out_a_replica_whose_time_is_over() {
    let (place, one, two) = (Place::new(), Member::start().await, Member::start().await);
    let process = place.start(&replicated(&[one.address, two.address], ", health: off"));
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    one.kill().await;
    let ask = async || {
        let answer = client.send(call("POST", "/mcp", &alice)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    for _ in 0..10 {
        assert_eq!(ask().await, two.address.to_string());
    }
    assert_eq!(said(&process, "a replica is ejected: it cannot be reached", one.address), 1);
    one.revive().await;
    until("it is tried out", async || ask().await == one.address.to_string()).await;
    assert_eq!(said(&process, "a replica is back", one.address), 1);
    for _ in 0..10 {
        assert_eq!(ask().await, two.address.to_string(), "while it has a tenth of its share");
    }
}

#[tokio::test]
async fn all_replicas_are_away_and_the_service_is_back_as_soon_as_one_of_them_is() {
    let (place, one, two) = (Place::new(), Member::start().await, Member::start().await);
    let _process =
        place.start(&replicated(&[one.address, two.address], ", health: { probe: tcp, every: 1h }"));
    let client = Client::plain(&place);
    let alice = client.sign_in("alice").await;
    one.kill().await;
    two.kill().await;
    for _ in 0..3 {
        let answer = client.send(call("POST", "/mcp", &alice)).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        let message = "echo: the upstream cannot be reached (finding upstream-down)";
        assert_eq!(answer.json()["error"]["message"], message);
    }
    assert_eq!(told(&place, "/ready").await.json()["degraded"].as_array().unwrap().len(), 2);
    two.revive().await;
    let answer = client.send(call("POST", "/mcp", &alice)).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, two.address.to_string()));
}
