//! Authorities that do not find what they look for, and what becomes of it.

use std::time::{Duration, Instant};

use rustls::AlertDescription;

use crate::faketime::FakeTime;
use crate::gateway::{Gateway, HOST, Setup};
use crate::pebble::{Options, Pebble};
use crate::process::Place;

/// Nothing listens there.
const NOWHERE: &str = "127.0.0.9";

/// A Pebble whose DNS leads nowhere, and a gateway with these hosts.
async fn lost(hosts: &'static [&'static str], environment: Vec<(&'static str, String)>) -> (Pebble, Gateway) {
    let place = Place::new();
    let (http, tls) = (place.second, place.port);
    let pebble = Pebble::start(Options { http, tls, ..Options::default() });
    for host in hosts.iter().filter(|host| **host != "good.test") {
        pebble.resolve(host, NOWHERE).await;
    }
    let acme = pebble.acme(", challenge: http-01");
    let setup = Setup { hosts, environment, ..Setup::at(&place, acme) };
    (pebble, setup.start(place))
}

#[tokio::test]
async fn an_order_that_goes_invalid_is_told_with_its_reason_and_comes_good_when_mended() {
    // X3
    let (pebble, gateway) = lost(&[HOST], Vec::new()).await;
    gateway.says("no certificate: http-01 failed, the certificate authority says: ").await;
    gateway.says("port 80 must be open from the internet").await;
    let row = gateway.row_that(HOST, |row| row["failures"] == 1).await;
    assert!(row["problem"].as_str().unwrap().contains("http-01 failed"), "{row}");
    assert_eq!(row["state"], "none");
    assert!(row["next_try"].is_string(), "{row}");
    let (status, _, told) = gateway.cert(&["renew", HOST]).await;
    assert!(status == 1 && told.contains("http-01 failed") && told.contains("tried again at"), "{told}");
    assert_eq!(gateway.row(HOST).await["failures"], 2);
    pebble.resolve(HOST, "127.0.0.1").await;
    gateway.renew(HOST).await;
    let facts = pebble.visitor().await.shown(gateway.https, HOST).await.unwrap();
    let row = gateway.row(HOST).await;
    assert_eq!((&row["failures"], &row["problem"]), (&0.into(), &serde_json::Value::Null), "{row}");
    assert_eq!(row["serial"], facts.serial);
}

#[tokio::test]
async fn a_host_that_fails_keeps_no_other_from_its_certificate() {
    // X3
    let (pebble, gateway) = lost(&["bad.test", "good.test", "worse.test"], Vec::new()).await;
    let visitor = pebble.visitor().await;
    assert_eq!(visitor.gets(gateway.https, "good.test").await.names, ["good.test"]);
    for host in ["bad.test", "worse.test"] {
        gateway.row_that(host, |row| row["failures"] == 1).await;
        assert_eq!(visitor.refused(gateway.https, host).await, Some(AlertDescription::UnrecognisedName));
    }
    assert_eq!(gateway.row("good.test").await["state"], "valid");
}

#[tokio::test]
async fn validations_that_fail_at_random_succeed_in_the_end() {
    // X3
    let time = FakeTime::new();
    let (pebble, gateway) = lost(&[HOST], time.environment()).await;
    gateway.row_that(HOST, |row| row["failures"] == 1).await;
    let (visitor, started) = (pebble.visitor().await, Instant::now());
    let (mut turns, mut tried) = (0_u32, 1);
    // The name leads here and nowhere, faster than anybody looks. Each pause is slept through on the gateway's clock.
    while visitor.shown(gateway.https, HOST).await.is_err() {
        assert!(started.elapsed() < Duration::from_mins(1), "{turns}");
        turns += 1;
        pebble.resolve(HOST, if turns.is_multiple_of(3) { NOWHERE } else { "127.0.0.1" }).await;
        let failed = gateway.said("no certificate: ");
        if failed >= tried {
            tried = failed + 1;
            time.advance(25 * 60 * 60);
        }
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    assert_eq!(gateway.row_that(HOST, |row| row["failures"] == 0).await["state"], "valid");
}

#[tokio::test]
async fn an_account_that_the_authority_has_forgotten_is_made_anew() {
    // X3
    let place = Place::new();
    let (http, tls) = (place.second, place.port);
    let mut pebble = Pebble::start(Options { http, tls, ..Options::default() });
    let gateway = Setup::at(&place, pebble.acme("")).start(place);
    let first = pebble.visitor().await.gets(gateway.https, HOST).await;
    assert_eq!(pebble.asked("/sign-me-up"), 1);
    // Its database is its memory.
    pebble.restart(|_| ());
    gateway.renew(HOST).await;
    let second = pebble.visitor().await.shown(gateway.https, HOST).await.unwrap();
    assert_ne!(first.issuer, second.issuer, "another Pebble's");
    assert_eq!(pebble.asked("/sign-me-up"), 2);
    assert_eq!(gateway.said("does not know our account any more"), 1);
}
