//! `portcullis status` and `/status`: the same answer by each way, and nothing in it that only the gateway may know.

use serde_json::{Value, json};

use crate::admin::{Said, run};
use crate::client::{Client, call, piece};
use crate::internal::get;
use crate::process::{Place, Process, plain};
use crate::recorder::Recorder;
use crate::support::redis::Redis;

const INTERNAL: &str = "{ http: \"127.0.0.1:{port}\", internal: \"127.0.0.1:{second}\" }";
const PUBLIC: &str = "{ http: \"127.0.0.1:{port}\" }";

async fn status(place: &Place, more: &[&str]) -> Said {
    let config = place.folder().join("serve.yaml");
    run(&[&["status", "--config", config.to_str().unwrap()], more].concat()).await
}

/// The answer without what passes by itself.
fn settled(mut report: Value) -> Value {
    assert!(report["memory_bytes"].take().as_u64().unwrap() > 1_000_000);
    for (at, key) in [("", "uptime_seconds"), ("/store", "revocations_age_seconds")] {
        assert!(report.pointer_mut(at).unwrap()[key].take().as_u64().unwrap() < 60, "{key}");
    }
    report
}

fn expected(place: &Place, upstream: &Recorder, store: &str, streams: usize) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": "serving",
        "uptime_seconds": null,
        "memory_bytes": null,
        "ready": true,
        "degraded": [],
        "waiting_for": [],
        "issuer": format!("http://localhost:{}", place.port),
        "identity": { "kind": "dev", "origin": null },
        "store": { "kind": store, "away": false, "revocations_age_seconds": null },
        "services": [{
            "name": "echo",
            "url": format!("http://localhost:{}/mcp", place.port),
            "public": false,
            "forward_auth": false,
            "requests": 0,
            "streams": streams,
            "replicas": [{ "name": upstream.address.to_string(), "health": "unknown", "problem": null }],
        }],
        "certificates": [],
        "refused": [],
        "lately": {
            "counts": [], "logins": [], "tokens": [], "upstreams": [], "others": [], "rate_limited": [], "left_out": 0,
        },
        "specifications": [
            "OAuth 2.1", "RFC 6750", "RFC 7009", "RFC 7591", "RFC 7592", "RFC 7636", "RFC 7662", "RFC 8414", "RFC 8707",
            "RFC 9068", "RFC 9207", "RFC 9728",
        ],
        "mcp_revisions": ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"],
    })
}

#[tokio::test]
async fn status_is_the_same_at_the_internal_listener_and_at_the_socket() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, "").replace(PUBLIC, INTERNAL));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let mut stream = client.open(call("GET", "/mcp/stream", &signed_in)).await;
    piece(&mut stream).await.unwrap().unwrap();
    let expected = expected(&place, &upstream, "file", 1);
    let socket = place.folder().join("admin.sock");
    let page = get(place.second, "/status").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "application/json"));
    assert_eq!(settled(page.json()), expected);
    for more in [&["--json"][..], &["--json", "--socket", socket.to_str().unwrap()]] {
        assert_eq!(settled(status(&place, more).await.good().json()), expected, "{more:?}");
    }
    let text = status(&place, &[]).await.good().out;
    assert!(
        text.starts_with(&format!("portcullis      {}, serving, up ", env!("CARGO_PKG_VERSION"))),
        "{text}"
    );
    assert!(text.lines().next().unwrap().ends_with("s: ready"), "no colour where nobody sees it: {text}");
    let services =
        format!("services        echo  http://localhost:{}/mcp: 0 requests, 1 stream\n", place.port);
    assert!(text.contains(&services), "{text}");
}

#[tokio::test]
async fn status_works_without_an_internal_listener_and_tells_no_secret() {
    let (place, upstream, redis) = (Place::new(), Recorder::start().await, Redis::start());
    let secret = "planted-secret-planted-secret-22";
    let more = format!(
        "admin_socket: \"{{folder}}/admin.sock\"\nstore_prefix: \"planted-prefix:\"\nclients: {{ registered: {{ ci: {{ grant_types: [client_credentials], secret: {secret}, services: {{ echo: [mcp] }} }} }} }}"
    );
    let yaml = plain(upstream.address, &more).replace("file:{folder}/portcullis.db", &redis.url());
    let _process = place.start(&yaml);
    let said = status(&place, &["--json"]).await.good();
    assert_eq!(settled(said.json()), expected(&place, &upstream, "redis", 0));
    let text = status(&place, &[]).await.good().out;
    for planted in [secret, "planted", &"5a".repeat(32), "redis://", &redis.url()["redis://".len()..]] {
        assert!(!said.out.contains(planted) && !text.contains(planted), "{planted}: {text}");
    }
    // What does not work is told by name.
    drop(redis);
    let away = async || status(&place, &[]).await.good().out;
    let started = std::time::Instant::now();
    while !away().await.contains("degraded        the store is away: nobody can sign in") {
        assert!(started.elapsed().as_secs() < 10, "{}", away().await);
    }
    assert!(away().await.contains("\nstore           redis: away, revocations read "), "{}", away().await);
}

#[tokio::test]
async fn what_went_wrong_lately_is_told_with_what_to_do() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, "limits: { revoke: 1/m }").replace(PUBLIC, INTERNAL));
    let client = Client::plain(&place);
    let refused = client.get("/mcp", &[("authorization", "Bearer x")]).await;
    for _ in 0..3 {
        client.post("/revoke", &[], &[]).await;
    }
    client.get("/mcp", &[]).await;
    let report = status(&place, &["--json"]).await.good().json();
    let mut lately = report["lately"].clone();
    let open = get(place.second, "/status").await.json()["lately"].clone();
    let counts_only = json!({
        "counts": lately["counts"], "logins": [], "tokens": [], "upstreams": [], "others": [], "rate_limited": [], "left_out": 0,
    });
    assert_eq!(open, counts_only, "any program of this machine may ask there");
    let at = lately["tokens"][1]["at"].take();
    assert!(at.as_str().unwrap().ends_with('Z'), "{report}");
    assert_eq!(
        lately["tokens"][1],
        json!({
            "at": null, "trouble": "token-401", "request_id": refused.header("x-request-id"), "service": "echo",
            "network": "127.0.0.1", "status": 401, "times": 1,
        })
    );
    let counts = lately["counts"].as_array().unwrap().iter();
    let counts: Vec<_> =
        counts.map(|one| (one["trouble"].as_str().unwrap(), one["times"].as_u64())).collect();
    assert_eq!(counts, [("token-401", Some(1)), ("rate-limited", Some(2))]);
    assert_eq!(lately["rate_limited"], json!([{ "network": "127.0.0.1", "times": 2 }]));
    let text = status(&place, &[]).await.good().out;
    let at = at.as_str().unwrap();
    for line in [
        &format!(
            "\nlately          token-401 once at {at}: `portcullis token inspect TOKEN` says which claim, "
        ),
        "\n                rate-limited 2 times, the last at ",
        "\n                limits were reached by 127.0.0.1 (2)\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn whoever_may_not_use_the_socket_is_told_the_counts() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "").replace(PUBLIC, INTERNAL);
    let _process = place.start(&yaml);
    Client::plain(&place).get("/mcp", &[("authorization", "Bearer x")]).await;
    let lately = async || status(&place, &["--json"]).await.good().json()["lately"].clone();
    assert_eq!(lately().await["tokens"].as_array().unwrap().len(), 1);
    std::fs::remove_file(place.folder().join("admin.sock")).unwrap();
    let told = lately().await;
    assert_eq!((&told["counts"][0]["trouble"], &told["tokens"]), (&json!("token-401"), &json!([])));
}

#[tokio::test]
async fn with_a_token_the_internal_listener_tells_everything() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let token = "0123456789abcdef0123456789abcdef";
    let closed = INTERNAL.replace(" }", &format!(", internal_token: {token} }}"));
    let _process = place.start(&plain(upstream.address, "").replace(PUBLIC, &closed));
    Client::plain(&place).get("/mcp", &[("authorization", "Bearer x")]).await;
    std::fs::remove_file(place.folder().join("admin.sock")).unwrap();
    let report = status(&place, &["--json"]).await.good().json();
    assert_eq!(report["lately"]["tokens"][0]["trouble"], "token-401");
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_told_with_what_to_do() {
    let place = Place::new();
    let yaml = plain(([127, 0, 0, 1], 9).into(), "");
    place.write("serve.yaml", &yaml);
    let socket = place.folder().join("admin.sock");
    let text = format!(
        "no gateway is listening on {}: start it (portcullis serve FILE), or give it listen: {{ internal: localhost:9400 }}",
        socket.display()
    );
    status(&place, &[]).await.is_refused(1, &text);
    place.write("serve.yaml", &yaml.replace(PUBLIC, INTERNAL));
    let text = format!(
        "no gateway is listening on 127.0.0.1:{} (Connection refused (os error 111)): start it (portcullis serve FILE)",
        place.second
    );
    status(&place, &[]).await.is_refused(1, &text);
    status(&place, &["--json"]).await.is_refused(1, &text);
}

#[tokio::test]
async fn whoever_starts_says_so() {
    // Accepts, as the kernel does for it, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    let store = format!("redis://{}/0", silent.local_addr().unwrap());
    let yaml = plain(([127, 0, 0, 1], 9).into(), "").replace(PUBLIC, INTERNAL);
    let process: Process = place.launch(&yaml.replace("file:{folder}/portcullis.db", &store));
    process.says("probes and metrics are answered").await;
    let text = status(&place, &[]).await.good().out;
    let mut lines = text.lines();
    assert!(lines.next().unwrap().ends_with(": not ready"), "{text}");
    assert_eq!(lines.next(), Some("waiting for     the store has not been read yet"));
    let report = status(&place, &["--json"]).await.good().json();
    assert_eq!(
        (&report["state"], &report["ready"], &report["issuer"]),
        (&json!("starting"), &json!(false), &Value::Null)
    );
}
