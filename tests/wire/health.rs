//! `portcullis health`: what a container's health check and a script are told, and that they are told it in time.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::admin::{Said, run};
use crate::client::{Client, call, piece};
use crate::process::{Place, plain};
use crate::recorder::Recorder;
use crate::support::redis::Redis;

const TOKEN: &str = "9d1e4b7c0a35f8269d1e4b7c0a35f826";
const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

/// [`plain`] with an internal listener.
fn probed(upstream: SocketAddr, internal: &str, more: &str) -> String {
    let public = "{ http: \"127.0.0.1:{port}\" }";
    let listen = format!("{{ http: \"127.0.0.1:{{port}}\", {internal} }}");
    plain(upstream, more).replace(public, &listen)
}

const LOOPBACK: &str = "internal: \"127.0.0.1:{second}\"";

async fn health(file: &Path, more: &[&str]) -> Said {
    let started = Instant::now();
    let said = run(&[&["health", file.to_str().unwrap()], more].concat()).await;
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    said
}

fn config(place: &Place) -> PathBuf {
    place.folder().join("serve.yaml")
}

#[tokio::test]
async fn a_gateway_is_asked_at_its_internal_listener_or_else_at_its_socket() {
    let wide = format!("internal: \"0.0.0.0:{{second}}\", internal_token: {TOKEN}");
    for internal in [Some(LOOPBACK), Some(&wide), None] {
        let (place, upstream) = (Place::new(), Recorder::start().await);
        let yaml = match internal {
            Some(internal) => probed(upstream.address, internal, "admin_socket: off"),
            None => plain(upstream.address, ""),
        };
        let mut process = place.start(&yaml);
        assert_eq!(health(&config(&place), &[]).await.good().out, "alive\n", "{internal:?}");
        assert_eq!(health(&config(&place), &["--ready"]).await.good().out, "ready\n", "{internal:?}");
        let asked = match internal {
            Some(_) => format!("127.0.0.1:{}", place.second),
            None => place.folder().join("admin.sock").display().to_string(),
        };
        let told = health(&config(&place), &["--ready", "--json"]).await.good().json();
        let expected =
            json!({ "healthy": true, "asked": asked, "degraded": [], "waiting_for": [], "problem": null });
        assert_eq!(told, expected);
        process.signal("TERM");
        process.ended().await;
        let said = health(&config(&place), &[]).await;
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{said:?}");
        assert!(
            said.errors.starts_with(&format!("portcullis: no gateway is listening on {asked}")),
            "{said:?}"
        );
        assert!(said.errors.contains("start it (portcullis serve FILE)"), "{said:?}");
        assert_eq!(said.errors.lines().count(), 1);
        let said = health(&config(&place), &["--json"]).await;
        assert_eq!(
            (said.status, &said.json()["healthy"], &said.json()["asked"]),
            (1, &json!(false), &json!(asked))
        );
    }
}

#[tokio::test]
async fn whoever_stops_is_alive_and_not_ready() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&probed(upstream.address, LOOPBACK, "drain: 30s"));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let mut stream = client.open(call("GET", "/mcp/stream", &signed_in)).await;
    piece(&mut stream).await.unwrap().unwrap();
    process.signal("TERM");
    process.says("stopping: ").await;
    let started = Instant::now();
    while health(&config(&place), &["--ready"]).await.status == 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "it is ready for ever");
    }
    health(&config(&place), &["--ready"]).await.is_refused(1, "not ready: stopping");
    assert_eq!(health(&config(&place), &[]).await.good().out, "alive\n");
}

#[tokio::test]
async fn a_store_that_goes_away_leaves_it_healthy_and_is_told() {
    let (place, upstream, redis) = (Place::new(), Recorder::start().await, Redis::start());
    let yaml = probed(upstream.address, LOOPBACK, "");
    let _process = place.start(&yaml.replace("file:{folder}/portcullis.db", &redis.url()));
    drop(redis);
    let told = "ready; the store is away: nobody can sign in or refresh; tokens work until revocation_staleness has passed\n";
    let started = Instant::now();
    while health(&config(&place), &["--ready"]).await.good().out != told {
        assert!(started.elapsed() < Duration::from_secs(10), "the store is away");
    }
    assert_eq!(health(&config(&place), &[]).await.good().out, "alive\n");
}

#[tokio::test]
async fn what_is_wrong_is_one_line_and_in_time() {
    let place = Place::new();
    let nobody = SocketAddr::from(NOBODY);
    let missing = place.folder().join("missing.yaml");
    let said = health(&missing, &[]).await;
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    let text = "missing.yaml: no such file; name it by --config FILE (health: as the argument) or PORTCULLIS_CONFIG\n";
    assert!(said.errors.ends_with(text), "{said:?}");

    let none = place.write("none.yaml", &plain(nobody, "admin_socket: off"));
    let text = "says neither listen.internal nor admin_socket; write listen: { internal: localhost:9400 }";
    health(&none, &[]).await.is_refused(1, &format!("{} {text}", none.display()));

    // Accepts, as the kernel does for it, and never says a word.
    let _silent = TcpListener::bind(("127.0.0.1", place.second)).unwrap();
    let silent = place.write("silent.yaml", &probed(nobody, LOOPBACK, ""));
    health(&silent, &[]).await.is_refused(1, "the gateway has not answered within 4 seconds");

    // A configuration that nothing ever comes out of.
    let pipe = place.folder().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    health(&pipe, &[]).await.is_refused(1, "the gateway has not answered within 4 seconds");
}

#[tokio::test]
async fn another_program_at_the_address_and_another_token_are_told_apart() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let wide = format!("internal: \"127.0.0.1:{{second}}\", internal_token: {TOKEN}");
    let _process = place.start(&probed(upstream.address, &wide, ""));
    let at = format!("127.0.0.1:{}", place.second);
    let other = place.write("other.yaml", &probed(upstream.address, &wide.replace("9d", "8d"), ""));
    let text = format!("the gateway at {at} has another internal_token than the configuration: restart it");
    health(&other, &[]).await.is_refused(1, &text);
    let at = upstream.address;
    let foreign = probed(upstream.address, &format!("internal: \"{at}\""), "");
    let foreign = place.write("foreign.yaml", &foreign);
    for (more, path) in [(&["--ready"][..], "/ready"), (&[], "/health")] {
        let text = format!("what answers at {at} is no gateway: 200 OK for {path}");
        health(&foreign, more).await.is_refused(1, &text);
    }
}
