//! One gateway and one Pebble: how a certificate comes.

use std::time::{Duration, Instant};

use portcullis::certs::Facts;
use rustls::AlertDescription;
use serde_json::json;

use crate::door::Door;
use crate::faketime::FakeTime;
use crate::gateway::{Gateway, HOST, Setup};
use crate::pebble::{Options, Pebble};
use crate::process::{Place, free_port};

/// A Pebble that looks at the ports of a place, and a gateway there.
fn start(challenge: &str) -> (Pebble, Gateway) {
    let place = Place::new();
    let (http, tls) = (place.second, place.port);
    let pebble = Pebble::start(Options { http, tls, ..Options::default() });
    let acme = pebble.acme(&format!(", challenge: {challenge}"));
    (pebble, Setup::at(&place, acme).start(place))
}

fn is_pebbles(facts: &Facts) {
    assert!(facts.issuer.starts_with("Pebble Intermediate CA "), "{facts:?}");
    assert_eq!(facts.names, [HOST]);
}

#[tokio::test]
async fn a_certificate_comes_by_http_01() {
    // X3
    let (pebble, gateway) = start("http-01");
    let facts = pebble.visitor().await.gets(gateway.https, HOST).await;
    is_pebbles(&facts);
    let row = gateway.row(HOST).await;
    let told = ["host", "source", "state", "problem"].map(|name| row[name].clone());
    assert_eq!(told, [json!(HOST), json!("acme"), json!("valid"), json!(null)], "{row}");
    assert_eq!((&row["serial"], &row["issuer"]), (&json!(facts.serial), &json!(facts.issuer)));
    assert_eq!(pebble.orders(), 1);
    assert!(gateway.said("answered the certificate authority's question on port 80 (http-01)") >= 1);
    assert_eq!(gateway.said("(tls-alpn-01)"), 0);
}

#[tokio::test]
async fn a_certificate_comes_by_tls_alpn_01() {
    // X3
    let (pebble, gateway) = start("tls-alpn-01");
    is_pebbles(&pebble.visitor().await.gets(gateway.https, HOST).await);
    assert_eq!(pebble.orders(), 1);
    assert_eq!(gateway.said("asked for what proves on port 443 that the host is ours (tls-alpn-01)"), 1);
    assert_eq!(gateway.said("(http-01)"), 0);
    // RFC 8737 §3: that certificate is for whoever asks in this way, and for as long as it is asked.
    let refused = pebble.visitor().await.refused(gateway.https, "other.test").await;
    assert_eq!(refused, Some(AlertDescription::UnrecognisedName));
}

#[tokio::test]
async fn auto_falls_over_from_a_closed_port_to_the_other_challenge_both_ways() {
    // X3
    let place = Place::new();
    let (closed, open) = (free_port(), (place.port, place.second));
    let mut pebble = Pebble::start(Options { tls: closed, http: open.1, ..Options::default() });
    let gateway = Setup::at(&place, pebble.acme("")).start(place);
    let first = pebble.visitor().await.gets(gateway.https, HOST).await;
    let told = |failed: &str, tried: &str| {
        let begins = format!("{failed} failed, the certificate authority says: ");
        let ends = format!("; trying {tried} instead");
        let log = gateway.process().log();
        log.lines().any(|line| line.contains(&begins) && line.contains(&ends))
    };
    assert!(told("tls-alpn-01", "http-01"));
    assert_eq!(pebble.orders(), 2);

    // What did is begun with the next time; now it is the other port that is closed.
    pebble.restart(|options| (options.tls, options.http) = (open.0, closed));
    gateway.renew(HOST).await;
    assert!(told("http-01", "tls-alpn-01"));
    let second = pebble.visitor().await.gets(gateway.https, HOST).await;
    assert_ne!(first.serial, second.serial);
}

const BINDING: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

#[tokio::test]
async fn an_external_account_binding_is_needed_and_a_wrong_one_is_told() {
    // X3
    let place = Place::new();
    let (http, tls) = (place.second, place.port);
    let options = Options { http, tls, binding: Some(BINDING), ..Options::default() };
    let pebble = Pebble::start(options);
    let mut gateway = Setup::at(&place, pebble.acme("")).start(place);
    gateway.says("write eab: { kid: ..., key: ... } under tls.acme").await;
    gateway.end("TERM").await;
    let wrong = BINDING.1.replace('z', "y");
    gateway.reconfigure(" } }\nidentity", &format!(", eab: {{ kid: kid-1, key: {wrong} }} }} }}\nidentity"));
    gateway.start();
    // What failed before is tried again after a pause, and when an operator wants it.
    let (status, _, told) = gateway.cert(&["renew", HOST]).await;
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("the certificate authority says: external account binding JWS"), "{told}");
    gateway.end("TERM").await;
    gateway.reconfigure(&wrong, BINDING.1);
    gateway.start();
    gateway.renew(HOST).await;
    is_pebbles(&pebble.visitor().await.gets(gateway.https, HOST).await);
    assert_eq!(pebble.orders(), 1, "nobody orders without an account");
}

#[tokio::test]
async fn a_certificate_comes_though_half_of_all_nonces_are_refused() {
    // X3
    let (time, place) = (FakeTime::new(), Place::new());
    let environment = vec![("PEBBLE_WFE_NONCEREJECT", "50")];
    let (http, tls) = (place.second, place.port);
    let pebble = Pebble::start(Options { http, tls, environment, ..Options::default() });
    let setup = Setup { environment: time.environment(), ..Setup::at(&place, pebble.acme("")) };
    let gateway = setup.start(place);
    let (visitor, started, mut failed) = (pebble.visitor().await, Instant::now(), 0);
    while visitor.shown(gateway.https, HOST).await.is_err() {
        assert!(started.elapsed() < Duration::from_mins(2), "{failed} attempts failed");
        // One request in eight is refused three times, after which there is a pause; it is slept through on the gateway's
        // clock.
        if gateway.said("no certificate: ") > failed {
            failed += 1;
            time.advance(60 * 60);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    is_pebbles(&visitor.shown(gateway.https, HOST).await.unwrap());
    assert!(pebble.log().contains("reject 50% of good nonces"));
    let made = |what: &str| pebble.log().matches(what).count();
    assert_eq!(made("Added order "), 1, "an attempt goes on where the one before was");
    assert_eq!(made("There are now 2 accounts"), 0);
}

#[tokio::test]
async fn before_there_is_a_certificate_port_80_answers_and_443_shows_nothing() {
    // X3
    let (door, place) = (Door::shut().await, Place::new());
    let environment = vec![("PEBBLE_VA_NOSLEEP", ""), ("PEBBLE_VA_SLEEPTIME", "3")];
    let options = Options { http: door.port, tls: free_port(), environment, ..Options::default() };
    let pebble = Pebble::start(options);
    let gateway = Setup::at(&place, pebble.acme(", challenge: http-01")).start(place);
    let visitor = pebble.visitor().await;
    // The authority is slow by itself, and finds a door that does not open.
    door.knocked().await;
    for host in [HOST, "other.test"] {
        assert_eq!(visitor.refused(gateway.https, host).await, Some(AlertDescription::UnrecognisedName));
    }
    assert_eq!(gateway.plain(HOST, "/mcp").await, "HTTP/1.1 308 Permanent Redirect");
    let unknown = gateway.plain(HOST, "/.well-known/acme-challenge/unknown").await;
    assert_eq!(unknown, "HTTP/1.1 308 Permanent Redirect", "no answer is ours, so it is a path as any other");
    assert_eq!(gateway.row(HOST).await["state"], "none");
    tokio::time::sleep(Duration::from_secs(3)).await;
    door.lead_to(gateway.http);
    is_pebbles(&visitor.gets(gateway.https, HOST).await);
    assert_eq!(pebble.orders(), 1);
}
