//! The internal listener: what probes and monitoring are told, and that nobody else is.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use http::Request;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::{Client, call, http1_on, piece, raw, read_raw, whole};
use crate::process::{Place, Process, free_port, plain, secure};
use crate::recorder::Recorder;
use crate::support::redis::Redis;
use crate::support::rig::{Answer, request};

const OK: &str = r#"{"status":"ok"}"#;
const READY: &str = r#"{"ready":true,"degraded":[],"waiting_for":[]}"#;
const NOTHING: &str = r#"{"error":"not_found","error_description":"there is nothing here; there are /health, /ready, /status and /metrics"}"#;
const TOKEN: &str = "9d1e4b7c0a35f8269d1e4b7c0a35f826";

/// [`plain`] with an internal listener on the second port.
fn probed(upstream: SocketAddr, more: &str) -> String {
    let public = "{ http: \"127.0.0.1:{port}\" }";
    let yaml = plain(upstream, more);
    yaml.replace(public, "{ http: \"127.0.0.1:{port}\", internal: \"127.0.0.1:{second}\" }")
}

/// What is asked there, over a connection of its own.
async fn ask(port: u16, mut asked: Request<String>) -> Answer {
    let mut sender = http1_on(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()).await;
    asked.headers_mut().entry("host").or_insert_with(|| "localhost".parse().unwrap());
    whole(sender.send_request(asked.map(Into::into)).await.unwrap()).await
}

/// What a probe is told.
pub(crate) async fn get(port: u16, path: &str) -> Answer {
    ask(port, request("GET", path, &[], String::new())).await
}

/// The first answer to `path` that is `wanted`.
async fn awaited(port: u16, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let started = Instant::now();
    loop {
        let answer = get(port, path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn lines(answer: &Answer, name: &str) -> Vec<String> {
    answer.json()[name].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

async fn start(more: &str) -> (Place, Recorder, Process) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&probed(upstream.address, more));
    (place, upstream, process)
}

#[tokio::test]
async fn probes_get_their_answers_and_nothing_of_the_product_is_there() {
    let (place, upstream, _process) = start("").await;
    let health = get(place.second, "/health").await;
    assert_eq!((health.status.as_u16(), health.body.as_str()), (200, OK));
    for (name, value) in
        [("content-type", "application/json"), ("cache-control", "no-store"), ("connection", "close")]
    {
        assert_eq!(health.header(name), value, "{name}");
    }
    let ready = awaited(place.second, "/ready", |answer| answer.status == 200).await;
    assert_eq!(ready.body, READY);
    let metrics = get(place.second, "/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        format!("portcullis_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        "portcullis_ready 1".into(),
        "portcullis_store_up 1".into(),
    ] {
        assert!(metrics.body.lines().any(|one| one == line), "{line}: {}", metrics.body);
    }
    let head = ask(place.second, request("HEAD", "/ready", &[], String::new())).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "45"));
    assert_eq!(head.body, "");
    for path in ["/", "/mcp", "/verify", "/authorize", "/.well-known/oauth-authorization-server", "/jwks"] {
        let nothing = get(place.second, path).await;
        assert_eq!((nothing.status.as_u16(), nothing.body.as_str()), (404, NOTHING), "{path}");
    }
    let nothing = ask(place.second, request("POST", "/token", &[], "grant_type=x".into())).await;
    assert_eq!((nothing.status.as_u16(), nothing.body.as_str()), (404, NOTHING));
    let refused = ask(place.second, request("POST", "/ready", &[], String::new())).await;
    assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "GET, HEAD"));
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn no_request_to_the_public_listener_reaches_them() {
    let (place, upstream, _process) = start("").await;
    awaited(place.second, "/ready", |answer| answer.status == 200).await;
    let client = Client::plain(&place);
    let internal = format!("localhost:{}", place.second);
    let absolute = format!("http://{internal}/health");
    for path in
        ["/health", "/ready", "/status", "/metrics", "//metrics", "/mcp/../metrics", absolute.as_str()]
    {
        for host in [client.host(), internal.as_str(), "localhost", "127.0.0.1"] {
            let asked = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = raw(place.address(), &asked).await;
            let refused = matches!(answer.statuses()[..], [400..500]);
            assert!(refused, "{asked}: {answer:?}");
            for told in ["\"ok\"", "waiting_for", "portcullis_"] {
                assert!(!answer.text.contains(told), "{asked}: {answer:?}");
            }
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_address_that_others_can_reach_answers_nobody_without_the_token() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let wide = format!("internal: \"0.0.0.0:{{second}}\", internal_token: {TOKEN}");
    let yaml = probed(upstream.address, "").replace("internal: \"127.0.0.1:{second}\"", &wide);
    let mut process = place.start(&yaml);
    let bearer = format!("Bearer {TOKEN}");
    for path in ["/health", "/ready", "/status", "/metrics", "/nothing"] {
        for wrong in [None, Some("Bearer 9d1e4b7c0a35f8269d1e4b7c0a35f827"), Some(TOKEN)] {
            let headers: Vec<_> = wrong.map(|value| ("authorization", value)).into_iter().collect();
            let refused = ask(place.second, request("GET", path, &headers, String::new())).await;
            assert_eq!(refused.status, 401, "{path} {wrong:?}");
            assert_eq!(refused.header("www-authenticate"), "Bearer");
            assert_eq!(refused.json()["error"], "unauthorized");
        }
        let told =
            ask(place.second, request("GET", path, &[("authorization", &bearer)], String::new())).await;
        assert_eq!(told.status, if path == "/nothing" { 404 } else { 200 }, "{path}");
    }
    process.signal("TERM");
    assert!(!process.ended().await.1.contains(&TOKEN[..31]), "the log has the token");
}

#[tokio::test]
async fn whoever_sends_too_much_or_nothing_does_not_hold_up_the_others() {
    let (place, _upstream, _process) = start("").await;
    let address: SocketAddr = ([127, 0, 0, 1], place.second).into();
    let large = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n", "x".repeat(20_000));
    let refused = raw(address, &large).await;
    assert_eq!(refused.statuses(), [431], "{refused:?}");
    for body in ["Content-Length: 2\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"] {
        let refused = raw(address, &format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{body}")).await;
        assert_eq!(refused.statuses(), [413], "{refused:?}");
    }
    let two = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    let answered = raw(address, &two).await;
    assert_eq!((answered.statuses(), answered.closed), (vec![200], true), "one request a connection");

    let started = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Accepted in order, so that those before have their places by now.
    let mut late = TcpStream::connect(address).await.unwrap();
    let turned_away = read_raw(&mut late).await;
    assert!(turned_away.closed && turned_away.text.is_empty(), "{turned_away:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    for stream in &mut silent {
        let ended = tokio::time::timeout(Duration::from_secs(15), stream.read(&mut [0; 64])).await;
        assert!(!matches!(ended.expect("it is still open"), Ok(1..)), "it was answered");
    }
    assert_eq!(get(place.second, "/health").await.status, 200);
}

#[tokio::test]
async fn whoever_stops_says_so_until_the_last_request_has_ended() {
    let (place, upstream, mut process) = start("drain: 30s").await;
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let mut stream = client.open(call("GET", "/mcp/stream", &signed_in)).await;
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    process.signal("TERM");
    let stopping = awaited(place.second, "/ready", |answer| answer.status == 503).await;
    assert_eq!(stopping.body, r#"{"ready":false,"degraded":[],"waiting_for":["stopping"]}"#);
    let health = get(place.second, "/health").await;
    assert_eq!((health.status.as_u16(), health.body.as_str()), (200, OK));
    let metrics = get(place.second, "/metrics").await;
    assert!(metrics.body.contains("\nportcullis_ready 0\n"), "{}", metrics.body);
    assert!(process.is_running());
    drop((stream, upstream));
    let (status, log) = process.ended().await;
    assert_eq!(status, 0, "{log}");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, place.second)).await.is_err());
}

#[tokio::test]
async fn before_the_store_is_read_it_is_alive_and_not_ready() {
    let place = Place::new();
    // Accepts, as the kernel does for it, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!("store: redis://{}/0", silent.local_addr().unwrap());
    let yaml = probed(([127, 0, 0, 1], 9).into(), "").replace("store: file:{folder}/portcullis.db", &store);
    let mut process = place.launch(&yaml);
    process.says("probes and metrics are answered").await;
    let health = get(place.second, "/health").await;
    assert_eq!((health.status.as_u16(), health.body.as_str()), (200, OK));
    let waiting = get(place.second, "/ready").await;
    assert_eq!(waiting.status, 503);
    assert_eq!(
        waiting.body,
        r#"{"ready":false,"degraded":[],"waiting_for":["the store has not been read yet","the listeners do not accept connections yet"]}"#
    );
    assert!(get(place.second, "/metrics").await.body.contains("\nportcullis_ready 0\n"));
    let (status, log) = process.ended().await;
    assert_eq!(status, 1, "{log}");
    assert!(log.contains("portcullis: the store is away: "), "{log}");
}

#[tokio::test]
async fn a_store_that_goes_away_leaves_it_ready_and_says_so() {
    let (place, upstream, redis) = (Place::new(), Recorder::start().await, Redis::start());
    let store = format!("store: {}", redis.url());
    let yaml = probed(upstream.address, "revocation_staleness: 6s");
    let _process = place.start(&yaml.replace("store: file:{folder}/portcullis.db", &store));
    assert_eq!(awaited(place.second, "/ready", |answer| answer.status == 200).await.body, READY);
    drop(redis);
    let degraded = awaited(place.second, "/ready", |answer| answer.body != READY).await;
    assert_eq!(
        (degraded.status.as_u16(), degraded.body.as_str()),
        (
            200,
            r#"{"ready":true,"degraded":["the store is away: nobody can sign in or refresh; tokens work until revocation_staleness has passed"],"waiting_for":[]}"#
        )
    );
    let metrics = get(place.second, "/metrics").await.body;
    assert!(
        metrics.contains("\nportcullis_store_up 0\n") && metrics.contains("\nportcullis_ready 1\n"),
        "{metrics}"
    );
    let stale = awaited(place.second, "/ready", |answer| answer.body != degraded.body).await;
    assert_eq!(
        (stale.status.as_u16(), stale.body.as_str()),
        (
            200,
            r#"{"ready":true,"degraded":["the store has been away for longer than revocation_staleness: requests get 503 until it is back"],"waiting_for":[]}"#
        )
    );
    let metrics = get(place.second, "/metrics").await.body;
    let age = metrics.lines().find_map(|line| line.strip_prefix("portcullis_revocation_feed_age_seconds "));
    assert!(age.unwrap().parse::<u64>().unwrap() > 6, "{metrics}");
}

/// The issuer and `echo` on https, with these certificates, and an internal listener on a third port.
fn with_tls(upstream: SocketAddr, internal: u16, tls: &str) -> String {
    let yaml = secure(upstream)
        .replace("tls: { local_ca: \"{folder}/ca\" }", tls)
        .replace("http: \"127.0.0.1:{second}\" }", &format!("internal: \"127.0.0.1:{internal}\" }}"));
    yaml.split("  other:").next().unwrap().to_owned()
}

#[tokio::test]
async fn an_expired_certificate_is_told_loudly_and_measured_and_shown_on() {
    let (place, upstream, internal) = (Place::new(), Recorder::start().await, free_port());
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2020, 1, 2));
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(place.folder().join("a.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(place.folder().join("a.key"), key.serialize_pem()).unwrap();
    let files = "tls: { files: [{ certificate: \"a.pem\", key: \"a.key\" }] }";
    let process = place.start(&with_tls(upstream.address, internal, files));
    let ready = awaited(internal, "/ready", |answer| answer.status == 200).await;
    assert_eq!(
        ready.body,
        r#"{"ready":true,"degraded":["localhost: the certificate has expired at 2020-01-02T00:00:00Z"],"waiting_for":[]}"#
    );
    let metrics = get(internal, "/metrics").await.body;
    for line in [
        "portcullis_certificate_expiry_timestamp_seconds{host=\"localhost\"} 1577923200",
        "portcullis_certificate_expired{host=\"localhost\"} 1",
        "portcullis_certificate_renewal_failures{host=\"localhost\"} 0",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
    assert!(process.log().contains("this certificate HAS EXPIRED"), "{}", process.log());
}

#[tokio::test]
async fn without_any_certificate_it_says_which_are_waited_for_and_why() {
    let (place, upstream, internal) = (Place::new(), Recorder::start().await, free_port());
    // A directory at which nobody is.
    let acme = format!(
        "tls: {{ acme: {{ email: ops@example.com, directory: \"http://127.0.0.1:{}/dir\", challenge: tls-alpn-01 }} }}",
        free_port()
    );
    let _process = place.start(&with_tls(upstream.address, internal, &acme));
    let told = awaited(internal, "/ready", |answer| answer.body.contains("last problem")).await;
    assert_eq!(told.status, 503);
    assert_eq!(told.json()["ready"], false);
    assert_eq!(lines(&told, "degraded"), [] as [&str; 0]);
    let waiting = lines(&told, "waiting_for");
    let start = "localhost: the certificate authority has not issued yet; last problem: ";
    assert!(waiting.len() == 1 && waiting[0].starts_with(start), "{waiting:?}");
    let metrics = get(internal, "/metrics").await.body;
    assert!(metrics.contains("\nportcullis_ready 0\n"), "{metrics}");
    assert!(
        metrics.contains("\nportcullis_certificate_renewal_failures{host=\"localhost\"} 1\n"),
        "{metrics}"
    );
    assert!(!metrics.contains("portcullis_certificate_expiry_timestamp_seconds{"), "{metrics}");
}

#[test]
fn a_taken_internal_port_is_told_at_once() {
    let place = Place::new();
    let _taken = TcpListener::bind(("127.0.0.1", place.second)).unwrap();
    let (status, told) = place.run("serve", &probed(([127, 0, 0, 1], 9).into(), ""));
    assert_eq!(status, 1, "{told}");
    let holder = format!("portcullis: port {} is taken by ", place.second);
    let cause = format!(
        "cannot listen on 127.0.0.1:{}: Address already in use (os error 98)\nmore: portcullis doctor --explain port-in-use\n",
        place.second
    );
    assert!(told.contains(&holder) && told.ends_with(&cause), "{told}");
    assert!(!place.folder().join("portcullis.db").exists(), "nothing is made before the port is ours");
}
