//! Several servers behind one service: whom a request reaches, and what happens when one of them goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Request};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

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
    *call.body_mut() = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#.to_owned();
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
    let expected = serde_json::json!({
        "jsonrpc": "2.0", "id": null, "error": { "code": -32001, "message": "Session not found" },
    });
    assert_eq!((answer.status.as_u16(), answer.json()), (404, expected));
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

/// What became of the requests of one client that asks all the time.
type Outcomes = Arc<Mutex<BTreeMap<String, (u16, Duration)>>>;

/// Asks again and again, until it is told to stop: by itself, or in a session.
async fn load(
    client: Client,
    alice: Arc<SignedIn>,
    session: Option<String>,
    (next, stop): (Arc<AtomicUsize>, Arc<AtomicBool>),
    started: Instant,
) -> Outcomes {
    let outcomes = Outcomes::default();
    while !stop.load(Ordering::SeqCst) {
        let number = next.fetch_add(1, Ordering::SeqCst).to_string();
        let answer = client.send(numbered("POST", &alice, &number, session.as_deref())).await;
        outcomes.lock().unwrap().insert(number, (answer.status.as_u16(), started.elapsed()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    outcomes
}

const CLIENTS: usize = 36;

// P7
#[tokio::test]
async fn of_a_replica_that_is_killed_and_revived_under_load_only_what_was_in_flight_fails() {
    let (place, one, two) = (Place::new(), Member::start().await, Member::start().await);
    let process = place.start(&replicated(&[one.address, two.address], ", health: { every: 1s }"));
    let client = Client::plain(&place);
    let alice = Arc::new(client.sign_in("alice").await);
    let sessions = sessions(&client, &alice).await;
    for member in [&one, &two] {
        member.pause(Duration::from_millis(100));
    }
    let counters = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let started = Instant::now();
    let asks =
        |session| tokio::spawn(load(client.clone(), Arc::clone(&alice), session, counters.clone(), started));
    // So many that a replica with a tenth of its share gets some of them.
    let stateless: Vec<_> = (0..CLIENTS).map(|_| asks(None)).collect();
    let bound: Vec<_> =
        sessions.iter().map(|(session, home)| (home.clone(), asks(Some(session.clone())))).collect();
    tokio::time::sleep(Duration::from_millis(600)).await;
    one.kill().await;
    let killed = one.arrived();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(told(&place, "/ready").await.json()["ready"], true);
    let degraded = told(&place, "/ready").await.json()["degraded"][0].as_str().unwrap().to_owned();
    assert!(degraded.starts_with(&format!("echo: the replica {} is ejected: ", one.address)), "{degraded}");
    one.revive().await;
    until("it is back", async || figure(&place, "up", one.address).await == 1).await;
    let back = started.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    counters.1.store(true, Ordering::SeqCst);

    let (mut lost, mut returned) = (0, 0);
    let late = back + Duration::from_millis(200);
    let one_saw = one.arrived();
    for task in stateless {
        let outcomes = task.await.unwrap().lock().unwrap().clone();
        assert!(outcomes.len() > 10, "{}", outcomes.len());
        returned +=
            outcomes.iter().filter(|(number, (_, at))| *at > late && one_saw.contains_key(*number)).count();
        for (number, (status, _)) in outcomes.iter().filter(|(_, (status, _))| *status != 200) {
            assert_eq!(*status, 502);
            assert_eq!(killed.get(number), Some(&1), "{number} was not in flight on it");
            lost += 1;
        }
    }
    assert!(lost <= CLIENTS, "{lost} requests of {CLIENTS} clients were in flight");
    assert!(returned > 0, "it gets requests without a session again");
    for (home, task) in bound {
        let outcomes = task.await.unwrap().lock().unwrap().clone();
        let failed: Vec<_> = outcomes.iter().filter(|(_, (status, _))| *status != 200).collect();
        if home == two.address.to_string() {
            assert!(failed.is_empty(), "{failed:?}");
        }
        for (number, (status, at)) in failed {
            assert_eq!(*status, 502, "{number}");
            assert!(*at < back + Duration::from_millis(500), "{number} failed after it was back");
        }
        let last = outcomes.values().max_by_key(|(_, at)| *at).unwrap();
        assert_eq!(last.0, 200, "the sessions of both live on");
    }
    let (one_saw, two_saw) = (one.arrived(), two.arrived());
    for (number, times) in one_saw.iter().chain(&two_saw) {
        assert_eq!(*times, 1, "{number} arrived twice");
        assert!(!(one_saw.contains_key(number) && two_saw.contains_key(number)), "{number} arrived at both");
    }
    assert_eq!(said(&process, "a replica is ejected: ", one.address), 1, "{}", process.log());
    assert_eq!(said(&process, "a replica is back", one.address), 1);
    assert_eq!(figure(&place, "ejections_total", one.address).await, 1);
    assert_eq!(figure(&place, "ejections_total", two.address).await, 0);
    assert!(figure(&place, "probe_failures_total", one.address).await >= 1);
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
