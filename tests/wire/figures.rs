//! What `/metrics` tells: by service and outcome, over all workers and reloads; that the guide's table and the dashboard speak of what
//! there is; and what memory is taken by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;

use crate::admin::run;
use crate::client::{Client, call, piece};
use crate::internal::get;
use crate::process::{Place, Process, plain, secure};
use crate::recorder::Recorder;

/// [`plain`] with an internal listener on the second port, three workers, and further keys at its service.
fn measured(upstream: &Recorder, more: &str) -> String {
    let public = "{ http: \"127.0.0.1:{port}\" }";
    plain(upstream.address, "")
        .replace(public, "{ http: \"127.0.0.1:{port}\", internal: \"127.0.0.1:{second}\" }")
        .replace("workers: 1", "workers: 3")
        .replace("/mcp\" }", &format!("/mcp\"{more} }}"))
}

async fn figures(place: &Place) -> String {
    get(place.second, "/metrics").await.body
}

/// The value of a line, which begins with these words.
fn value(text: &str, line: &str) -> Option<f64> {
    let rest = text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
    rest.map(|value| value.parse().unwrap())
}

/// Waits until a line has this value: what was answered is counted when its end is sent.
async fn awaited(place: &Place, line: &str, wanted: f64) {
    let started = Instant::now();
    loop {
        let text = figures(place).await;
        if value(&text, line) == Some(wanted) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{line} {wanted}: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn requests_are_counted_by_service_method_status_and_reason_whichever_worker_answers() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&measured(&upstream, ""));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    for _ in 0..30 {
        assert_eq!(client.send(call("POST", "/mcp", &signed_in)).await.status, 200);
    }
    for _ in 0..20 {
        assert_eq!(client.get("/mcp", &[]).await.status, 401);
    }
    assert_eq!(client.send(call("DELETE", "/mcp", &signed_in)).await.status, 200);
    assert_eq!(client.send(call("BREW", "/mcp", &signed_in)).await.status, 200);
    assert_eq!(client.send(call("POST", "/mcp/break", &signed_in)).await.status, 502);
    assert_eq!(client.get("/nowhere", &[]).await.status, 404);
    assert_eq!(client.post("/token", &[], &[("grant_type", "nothing")]).await.status, 401);
    for (line, wanted) in [
        ("portcullis_requests_total{service=\"echo\",method=\"write\",status=\"200\"}", 30.0),
        ("portcullis_requests_total{service=\"echo\",method=\"write\",status=\"502\"}", 1.0),
        ("portcullis_requests_total{service=\"echo\",method=\"read\",status=\"401\"}", 20.0),
        ("portcullis_requests_total{service=\"echo\",method=\"delete\",status=\"200\"}", 1.0),
        ("portcullis_requests_total{service=\"echo\",method=\"other\",status=\"200\"}", 1.0),
        ("portcullis_request_duration_seconds_count{service=\"echo\"}", 53.0),
        ("portcullis_request_duration_seconds_bucket{le=\"+Inf\",service=\"echo\"}", 53.0),
        ("portcullis_refusals_total{service=\"echo\",reason=\"no_token\"}", 20.0),
        ("portcullis_refusals_total{service=\"echo\",reason=\"upstream-down\"}", 1.0),
        ("portcullis_upstream_failures_total{service=\"echo\",finding=\"upstream-down\"}", 1.0),
        ("portcullis_endpoint_requests_total{endpoint=\"register\",method=\"write\",status=\"201\"}", 1.0),
        ("portcullis_endpoint_requests_total{endpoint=\"callback\",method=\"read\",status=\"303\"}", 1.0),
        ("portcullis_endpoint_requests_total{endpoint=\"token\",method=\"write\",status=\"200\"}", 1.0),
        ("portcullis_endpoint_requests_total{endpoint=\"token\",method=\"write\",status=\"401\"}", 1.0),
        ("portcullis_endpoint_requests_total{endpoint=\"elsewhere\",method=\"read\",status=\"404\"}", 1.0),
        ("portcullis_endpoint_refusals_total{endpoint=\"token\",reason=\"invalid_client\"}", 1.0),
        ("portcullis_requests_in_flight{service=\"echo\"}", 0.0),
        ("portcullis_streams_open{service=\"echo\"}", 0.0),
    ] {
        awaited(&place, line, wanted).await;
    }
    let text = figures(&place).await;
    let lookups =
        |result| value(&text, &format!("portcullis_token_cache_lookups_total{{result=\"{result}\"}}"));
    // Each of the workers that were asked has verified the token once.
    let [hits, misses] = ["hit", "miss"].map(|result| lookups(result).unwrap());
    assert!((1.0..=3.0).contains(&misses), "{text}");
    assert_eq!(Some(hits + misses), Some(33.0), "{text}");
    assert_eq!(value(&text, "portcullis_token_cache_tokens"), Some(misses));
    assert!(
        value(&text, "portcullis_store_operation_duration_seconds_count{operation=\"put\"}").unwrap() >= 5.0
    );
    assert_eq!(value(&text, "portcullis_store_errors_total{operation=\"put\"}"), Some(0.0));
    for told in ["alice", signed_in.client.as_str(), "127.0.0.1"] {
        assert!(!text.contains(told), "nothing is told by user, client or address: {told}: {text}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_counted_too() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&measured(&upstream, ""));
    let client = Client::plain(&place);
    let request = call("POST", "/mcp/mute", &client.sign_in("alice").await);
    let asking = tokio::spawn(async move { client.open(request).await });
    upstream.asked(1).await;
    asking.abort();
    for line in [
        "portcullis_requests_total{service=\"echo\",method=\"write\",status=\"499\"}",
        "portcullis_refusals_total{service=\"echo\",reason=\"client-gone\"}",
    ] {
        awaited(&place, line, 1.0).await;
    }
}

#[tokio::test]
async fn a_reload_loses_no_count_and_a_service_that_comes_back_goes_on() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = measured(&upstream, "");
    let process = place.start(&yaml);
    let client = Client::plain(&place);
    let line = |service: &str| {
        format!("portcullis_requests_total{{service=\"{service}\",method=\"read\",status=\"401\"}}")
    };
    let ask = async || assert_eq!(client.get("/mcp", &[]).await.status, 401);
    let reload = async |yaml: &str, told: &str| {
        place.write("serve.yaml", yaml);
        process.signal("HUP");
        process.says(told).await;
    };
    ask().await;
    // Another one before it, in its place.
    reload(&yaml.replace("  echo:", "  aaa:"), "services added: aaa; services removed: echo").await;
    ask().await;
    ask().await;
    awaited(&place, &line("aaa"), 2.0).await;
    awaited(&place, &line("echo"), 1.0).await;
    let text = figures(&place).await;
    assert_eq!(
        value(&text, "portcullis_streams_open{service=\"echo\"}"),
        None,
        "what is open is of those that are there"
    );
    reload(&yaml, "services added: echo; services removed: aaa").await;
    ask().await;
    awaited(&place, &line("echo"), 2.0).await;
    awaited(&place, &line("aaa"), 2.0).await;
}

// trouble: memory
#[tokio::test]
async fn what_takes_memory_is_measured_limited_and_shown_and_given_back() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&measured(&upstream, ", max_streams_per_user: 5"));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let before = value(&figures(&place).await, "portcullis_open_files").unwrap();
    let mut streams: Vec<Response<Incoming>> = Vec::new();
    for _ in 0..5 {
        let mut stream = client.open(call("GET", "/mcp/stream", &signed_in)).await;
        piece(&mut stream).await.unwrap().unwrap();
        streams.push(stream);
    }
    assert_eq!(client.send(call("GET", "/mcp/stream", &signed_in)).await.status, 429);
    awaited(&place, "portcullis_streams_open{service=\"echo\"}", 5.0).await;
    awaited(&place, "portcullis_requests_refused_total{reason=\"user-streams\"}", 1.0).await;
    let text = figures(&place).await;
    assert!(value(&text, "portcullis_resident_memory_bytes").unwrap() > 1_000_000.0, "{text}");
    assert!(
        value(&text, "portcullis_open_files").unwrap() >= before + 5.0,
        "each is one, and one to the server: {text}"
    );
    let config = place.folder().join("serve.yaml");
    let status = run(&["status", "--config", config.to_str().unwrap()]).await.good().out;
    for told in [" MB\n", ": 0 requests, 5 streams\n", "refused         1 user-streams\n"] {
        assert!(status.contains(told), "{told}: {status}");
    }
    assert!(status.contains("\nmemory          "), "{status}");
    drop(streams);
    awaited(&place, "portcullis_streams_open{service=\"echo\"}", 0.0).await;
    awaited(&place, "portcullis_request_duration_seconds_count{service=\"echo\"}", 1.0).await;
}

/// Everything that there is to measure, measured once: certificates, replicas, failures, the lot.
async fn everything() -> (Place, [Recorder; 2], Process, String) {
    let (place, upstreams) = (Place::new(), [Recorder::start().await, Recorder::start().await]);
    let [one, other] = upstreams.each_ref().map(|upstream| format!("\"http://{}/mcp\"", upstream.address));
    let yaml = secure(upstreams[0].address)
        .replace("http: \"127.0.0.1:{second}\" }", "internal: \"127.0.0.1:{second}\" }")
        .replacen(&format!("upstream: {one}"), &format!("upstream: [{one}, {other}]"), 1);
    let process = place.start(&yaml);
    let client = Client::secure(&place);
    let signed_in = client.sign_in("alice").await;
    assert_eq!(client.send(call("POST", "/mcp", &signed_in)).await.status, 200);
    assert_eq!(client.send(call("POST", "/mcp/break", &signed_in)).await.status, 502);
    assert_eq!(client.post("/token", &[], &[("grant_type", "nothing")]).await.status, 401);
    awaited(&place, "portcullis_request_duration_seconds_count{service=\"echo\"}", 2.0).await;
    let text = figures(&place).await;
    (place, upstreams, process, text)
}

/// A figure: its type, its help, and the labels that it has.
#[derive(Debug, PartialEq, Eq)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The families of a scrape, by the name by which they are asked for.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let helps: BTreeMap<_, _> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
    for (name, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        let suffix = match kind {
            "counter" => "_total",
            "histogram" => "_count",
            _ => "",
        };
        let sample = format!("{name}{suffix}");
        let is_its =
            |line: &&str| line.strip_prefix(&sample).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let line =
            text.lines().find(is_its).unwrap_or_else(|| panic!("nothing was measured of {name}: {text}"));
        let within = line.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
        let labels =
            within.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect();
        let asked = if kind == "counter" { sample } else { name.to_owned() };
        families.insert(asked, Family { kind: kind.to_owned(), help: helps[name].to_owned(), labels });
    }
    families
}

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test]
async fn the_guide_s_table_and_a_scrape_say_the_same() {
    let (_place, _upstreams, _process, text) = everything().await;
    let guide = read("deploy/OPERATIONS.md");
    let section = guide.split_once("\n## Metrics\n").unwrap().1.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `portcullis_"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [name, kind, labels, help] = cells[..] else { panic!("{row}") };
            let labels = labels.split_whitespace().map(|label| label.trim_matches('`').to_owned()).collect();
            let family =
                Family { kind: kind.to_owned(), help: help.trim_end_matches(" |").to_owned(), labels };
            (name.trim_matches('`').to_owned(), family)
        })
        .collect();
    let scraped = families(&text);
    assert!(scraped.len() > 25, "{text}");
    for (name, family) in &scraped {
        assert_eq!(documented.get(name), Some(family), "{name}");
    }
    assert_eq!(documented.keys().collect::<Vec<_>>(), scraped.keys().collect::<Vec<_>>());
}

/// Every `"expr"`, `"query"` and `"legendFormat"` of the dashboard.
fn texts<'a>(value: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(object) => {
            found.extend(object.get(key).and_then(serde_json::Value::as_str));
            object.values().for_each(|value| texts(value, key, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

/// What a scrape adds to every figure.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// The families that an expression asks for; each has the labels that it is asked by.
fn asked(expr: &str, families: &BTreeMap<String, Family>) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut used = BTreeSet::new();
    let mut labels: BTreeSet<_> = OF_PROMETHEUS.iter().map(|label| (*label).to_owned()).collect();
    for (at, _) in expr.match_indices("portcullis_") {
        let rest = &expr[at..];
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let histogram = base.and_then(|base| families.get(base)).filter(|family| family.kind == "histogram");
        let family = histogram.or_else(|| families.get(name)).unwrap_or_else(|| panic!("{name} of {expr}"));
        used.insert(if histogram.is_some() { base.unwrap() } else { name }.to_owned());
        let mut its = family.labels.clone();
        if name.ends_with("_bucket") {
            its.insert("le".into());
        }
        let matchers =
            rest[name.len()..].strip_prefix('{').map_or("", |rest| rest.split('}').next().unwrap());
        for matcher in matchers.split("\",").filter(|matcher| !matcher.is_empty()) {
            let label = matcher.split(['=', '!']).next().unwrap();
            assert!(its.contains(label) || OF_PROMETHEUS.contains(&label), "{label} of {expr}");
        }
        labels.extend(its);
    }
    for (_, rest) in expr.match_indices("by (").map(|(at, by)| expr.split_at(at + by.len())) {
        for label in rest.split(')').next().unwrap().split(',').map(str::trim) {
            assert!(labels.contains(label), "by {label}: {expr}");
        }
    }
    assert_eq!(expr.matches('(').count(), expr.matches(')').count(), "{expr}");
    used
}

#[tokio::test]
async fn the_dashboard_asks_for_figures_and_labels_that_there_are() {
    let (_place, _upstreams, _process, text) = everything().await;
    let families = families(&text);
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana/portcullis.json")).unwrap();
    let (mut exprs, mut used) = (Vec::new(), BTreeSet::new());
    texts(&dashboard, "expr", &mut exprs);
    assert!(exprs.len() > 30, "{exprs:?}");
    for expr in exprs {
        used.extend(asked(expr, &families));
    }
    let mut queries = Vec::new();
    texts(&dashboard, "query", &mut queries);
    for query in queries.iter().filter_map(|query| query.strip_prefix("label_values(")) {
        let (name, label) = query.trim_end_matches(')').split_once(", ").unwrap();
        assert!(families[name].labels.contains(label) || OF_PROMETHEUS.contains(&label), "{query}");
    }
    let mut legends = Vec::new();
    texts(&dashboard, "legendFormat", &mut legends);
    let known: BTreeSet<_> =
        families.values().flat_map(|family| family.labels.iter().map(String::as_str)).collect();
    for label in legends.iter().flat_map(|legend| legend.split("{{").skip(1)) {
        let label = label.split("}}").next().unwrap();
        assert!(known.contains(label) || OF_PROMETHEUS.contains(&label), "{label}");
    }
    for shown in [
        "portcullis_requests_total",
        "portcullis_refusals_total",
        "portcullis_request_duration_seconds",
        "portcullis_streams_open",
        "portcullis_certificate_expiry_timestamp_seconds",
        "portcullis_store_up",
        "portcullis_replica_up",
        "portcullis_requests_refused_total",
    ] {
        assert!(used.contains(shown), "{shown} is not shown: {used:?}");
    }
}
