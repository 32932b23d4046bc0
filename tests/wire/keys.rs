//! What the running binary does with keys by itself.

use std::sync::Arc;

use portcullis::clock::{Clock, SystemClock};
use portcullis::oauth::StoredKey;
use portcullis::seal::Sealer;
use portcullis::secret::Key;
use portcullis::store::{RingKind, Settings, Store, Swap};
use portcullis::time::Timestamp;

use crate::client::{Client, call};
use crate::process::{Place, Process, plain};
use crate::recorder::Recorder;

const JSON: &str = "log: { format: json }";

async fn stop(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.ended().await.0, 0);
}

/// Makes the first signing key of a store older, as if its gateway had run for long.
async fn age(place: &Place, days: u64) {
    let settings = Settings::Embedded { path: place.folder().join("portcullis.db") };
    let sealer = Sealer::new(Key::from_hex(&"5a".repeat(32)).unwrap());
    let control = tokio::runtime::Handle::current();
    let store = Store::open(&settings, sealer, &control, Arc::new(SystemClock)).await.unwrap();
    let unused = StoredKey {
        id: portcullis::oauth::KeyId::parse("unused").unwrap(),
        material: String::new(),
        created: Timestamp::from_seconds(0),
        signs_from: None,
        needed: None,
    };
    let ring = store.load_ring(RingKind::Signing, &unused).await.unwrap();
    let created = SystemClock.now().before(std::time::Duration::from_hours(24 * days));
    let older = ring.value.iter().map(|key| StoredKey { created, ..key.clone() }).collect();
    assert_eq!(store.swap_ring(RingKind::Signing, &ring, older).await.unwrap(), Swap::Done);
}

// V3
#[tokio::test]
async fn a_key_whose_time_ends_has_its_successor_published_without_anybody_asking() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, JSON);
    stop(place.start(&yaml)).await;
    age(&place, 100).await;
    let process = place.start(&yaml);
    let event = process.line(|line| line["event"] == "key_rotated").await;
    assert_eq!(event["by"], "gateway");
    let reason = event["reason"].as_str().unwrap();
    let keys = Client::plain(&place).get("/jwks", &[]).await.json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 2);
    assert_eq!(reason, format!("signing: the key {} signs in 86400 s", keys[1]["kid"].as_str().unwrap()));
}

#[tokio::test]
async fn keys_that_never_rotate_stay() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "keys: { rotate: never }");
    stop(place.start(&yaml)).await;
    age(&place, 1000).await;
    let process = place.start(&yaml);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(!process.log().contains("key_rotated"), "{}", process.log());
    let keys = Client::plain(&place).get("/jwks", &[]).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
}

// secret-key-changed
#[tokio::test]
async fn a_changed_secret_key_is_told_until_the_old_one_can_go_and_signs_nobody_out() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let old = plain(upstream.address, JSON);
    let process = place.start(&old);
    let signed_in = Client::plain(&place).sign_in("alice").await;
    stop(process).await;

    let new = old.replace(&"5a".repeat(32), &"c3".repeat(32));
    let both = new.replace("store:", &format!("secret_key_previous: {}\nstore:", "5a".repeat(32)));
    let process = place.start(&both);
    process
        .line(|line| {
            line["message"].as_str().is_some_and(|text| text.starts_with("secret_key is new to the store"))
        })
        .await;
    let left = process.line(|line| line["message"] == "sealing again what secret_key_previous sealed").await;
    assert_eq!(left["left"], 3, "three rings");
    let started = std::time::Instant::now();
    while !process.log().contains("0 left: secret_key_previous can be removed from the configuration") {
        assert!(started.elapsed().as_secs() < 20, "{}", process.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(Client::plain(&place).send(call("POST", "/mcp", &signed_in)).await.status, 200);
    stop(process).await;

    let (status, told) = place.run("serve", &old);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("portcullis: secret_key is not the one this store was made with"), "{told}");
    let process = place.start(&new);
    assert_eq!(Client::plain(&place).send(call("POST", "/mcp", &signed_in)).await.status, 200);
    stop(process).await;
}
