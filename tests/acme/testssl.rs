//! Debian's testssl.sh looks at a gateway with certificates by ACME, on port 443.

use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Deserialize;

use crate::login::World;
use crate::support::network::{self, in_a_network_of_its_own};

/// What it says, a line each.
#[derive(Debug, Deserialize)]
struct Finding {
    id: String,
    severity: String,
    #[serde(rename = "finding")]
    told: String,
}

/// What is no fault, and why.
const EXCUSED: [(&str, &str); 3] = [
    // The certificates of a test CA name no list of what was revoked. Let's Encrypt's do.
    ("cert_revocation", "Neither CRL nor OCSP URI provided"),
    // Pebble's live for five years. Let's Encrypt's for ninety days, and less.
    ("cert_validityPeriod", ""),
    // All suites that are offered are AEAD with forward secrecy, which is asserted below: the client may choose, for it
    // knows whether it has AES in hardware. Mozilla's recommendations, "modern" and "intermediate", have it so, too.
    ("cipher_order", "NOT a cipher order configured"),
];

/// Everything that says how good the offer is, and what it must be.
const OFFERED: [(&str, &str); 12] = [
    ("SSLv2", "not offered"),
    ("SSLv3", "not offered"),
    ("TLS1", "not offered"),
    ("TLS1_1", "not offered"),
    ("TLS1_2", "offered"),
    ("TLS1_3", "offered with final"),
    ("ALPN_HTTP2", "h2"),
    ("cipherlist_3DES_IDEA", "not offered"),
    ("cipherlist_AVERAGE", "not offered"),
    ("cipherlist_STRONG", "offered"),
    ("PFS", "offered"),
    ("cert_chain_of_trust", "passed."),
];

#[test]
fn testssl_finds_nothing_but_what_is_excused() {
    in_a_network_of_its_own("testssl::testssl_finds_nothing_but_what_is_excused", async {
        let world = World::start().await;
        world.pebble.visitor().await.gets(world.gateway.https, "auth.gw.test").await;
        let folder = network::folder();
        std::fs::write(folder.join("pebble.pem"), world.pebble.root().await).unwrap();
        let mut testssl = Command::new("testssl");
        testssl.args([
            "--quiet",
            "--warnings",
            "off",
            "--nodns",
            "none",
            "--color",
            "0",
            "--ip",
            "127.0.0.1",
        ]);
        testssl.args(["-p", "-s", "-f", "-P", "-S", "-h", "-U"]);
        testssl.args(["--add-ca", "pebble.pem", "--jsonfile", "found.json", "https://auth.gw.test/"]);
        testssl.current_dir(&folder).stdin(Stdio::null());
        let started = Instant::now();
        let ran = tokio::task::spawn_blocking(move || testssl.output()).await.unwrap();
        let ran = ran.expect("testssl is missing; tests/run installs it");
        let found = std::fs::read_to_string(folder.join("found.json"));
        let found = found.unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let found: Vec<Finding> = serde_json::from_str(&found).unwrap();
        println!("{:?}", started.elapsed());
        assert!(found.len() > 60, "it gave up: {found:#?}");
        for (id, wanted) in OFFERED {
            let one = found.iter().find(|one| one.id == id).unwrap_or_else(|| panic!("no {id}: {found:#?}"));
            assert_eq!(one.told, wanted, "{id}");
        }
        let is_bad =
            |one: &&Finding| matches!(one.severity.as_str(), "MEDIUM" | "HIGH" | "CRITICAL" | "FATAL");
        let is_excused =
            |one: &&Finding| EXCUSED.iter().any(|(id, why)| one.id == *id && one.told.contains(why));
        for one in found.iter().filter(|one| !matches!(one.severity.as_str(), "OK" | "INFO")) {
            println!("{} {}: {}", one.severity, one.id, one.told);
        }
        let bad: Vec<_> = found.iter().filter(is_bad).filter(|one| !is_excused(one)).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    });
}
