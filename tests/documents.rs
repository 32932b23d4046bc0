//! Rung 4, in a network of its own: the real binary fetches a client's metadata document over real DNS names, TCP and TLS.
//! Each test runs itself once more inside a network and a mount namespace, in which an address of the public internet is a
//! dummy interface, and the names lead where the test wants. Nothing in the binary knows of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

#[allow(dead_code, reason = "shared with the rung `wire`, which uses all of it")]
#[path = "wire/client.rs"]
mod client;
#[path = "documents/internet.rs"]
mod internet;
#[allow(dead_code, reason = "shared with the rung `wire`, which uses all of it")]
#[path = "wire/process.rs"]
mod process;

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;

use client::Client;
use internet::Internet;
use process::{Place, Process, plain};
use support::network::in_a_network_of_its_own;
use support::rig::{Answer, CHALLENGE, REDIRECT, VERIFIER, encode};

/// A running gateway, and who asks it.
struct World {
    client: Client,
    internet: Internet,
    process: Process,
    _place: Place,
}

impl World {
    async fn new() -> Self {
        let internet = Internet::start().await;
        let place = Place::new();
        // Nothing listens behind.
        let process = place.start(&plain(([127, 0, 0, 1], 9).into(), "log: { format: json }"));
        Self { client: Client::plain(&place), internet, process, _place: place }
    }

    async fn authorize(&self, id: &str) -> Answer {
        let resource = format!("{}/mcp", self.client.issuer);
        let query = [
            ("response_type", "code"),
            ("client_id", id),
            ("redirect_uri", REDIRECT),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", &resource),
        ];
        self.client.get(&format!("/authorize?{}", encode(&query)), &[("accept", "application/json")]).await
    }

    /// The status and the reason of a refusal.
    async fn refused(&self, id: &str) -> (u16, String) {
        let answer = self.authorize(id).await;
        assert_eq!(answer.header("location"), "", "{answer:?}");
        let told = answer.json()["error_description"].as_str().unwrap().to_owned();
        let (_, why) = told.split_once(" cannot be used: ").unwrap_or_else(|| panic!("{told}"));
        (answer.status.as_u16(), why.to_owned())
    }
}

#[test]
fn a_client_signs_in_by_its_document() {
    // M2, M3, M4, M5, M10, D14
    in_a_network_of_its_own("a_client_signs_in_by_its_document", async {
        let world = World::new().await;
        let (client, id) = (&world.client, "https://app.example.com/client.json");
        let metadata = client.get("/.well-known/oauth-authorization-server", &[]).await.json();
        assert_eq!(metadata["client_id_metadata_document_supported"], json!(true));
        let code = client.code(id, "alice", &mut Vec::new()).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", id),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let tokens = client.post("/token", &[], &form).await;
        assert_eq!(tokens.status, 200, "{tokens:?}");
        let refresh = tokens.json()["refresh_token"].as_str().unwrap().to_owned();
        let form = [("grant_type", "refresh_token"), ("client_id", id), ("refresh_token", &refresh)];
        let tokens = client.post("/token", &[], &form).await;
        assert_eq!(tokens.status, 200, "{tokens:?}");
        let bearer = format!("Bearer {}", tokens.json()["access_token"].as_str().unwrap());
        let call = client.get("/mcp", &[("authorization", &bearer)]).await;
        assert_eq!(call.status, StatusCode::BAD_GATEWAY, "admitted, and nothing listens behind");
        // Once for the page, the form, the way back and the tokens.
        assert_eq!(world.internet.requests(), ["app.example.com app.example.com GET /client.json"]);
    });
}

#[test]
fn many_who_want_one_document_fetch_it_once_and_keep_it() {
    // M6: the document says `no-store`, and the floor holds.
    in_a_network_of_its_own("many_who_want_one_document_fetch_it_once_and_keep_it", async {
        let world = World::new().await;
        let id = "https://app.example.com/client.json";
        let ask = || world.authorize(id);
        let answers = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), ask(), ask());
        for status in [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5, answers.6, answers.7]
        {
            assert_eq!(status.status, 200, "{status:?}");
        }
        assert_eq!(world.authorize(id).await.status, 200);
        assert_eq!(world.internet.requests().len(), 1);
    });
}

#[test]
fn a_name_that_leads_inside_is_refused_and_nothing_is_sent_there() {
    // M4
    in_a_network_of_its_own("a_name_that_leads_inside_is_refused_and_nothing_is_sent_there", async {
        let world = World::new().await;
        for (name, address) in internet::INSIDE {
            let (status, why) = world.refused(&format!("https://{name}.example.com/client.json")).await;
            assert_eq!(status, 400, "{name}: {why}");
            let wanted =
                format!("its host name leads to {address}, which is no address of the public internet.");
            assert_eq!(why, wanted, "{name}");
        }
        assert_eq!(world.internet.connections_inside(), 0);
        assert_eq!(world.internet.requests(), [""; 0]);
        assert!(internet::is_reachable_inside().await, "or nothing was proven");
    });
}

#[test]
fn only_a_small_json_document_at_this_very_url_is_taken() {
    // M5
    in_a_network_of_its_own("only_a_small_json_document_at_this_very_url_is_taken", async {
        let world = World::new().await;
        for (host, path, status, wanted) in [
            (
                "a",
                "/redirect",
                400,
                "its server answered 302 Found and a redirect is not followed; it must be at this very URL.",
            ),
            ("b", "/large", 400, "it is larger than 5120 bytes."),
            ("c", "/html", 400, "its Content-Type is text/html; it must be application/json."),
            ("d", "/missing", 400, "its server answered 404 Not Found; it must be 200 OK."),
            (
                "e",
                "/another",
                400,
                "client_id is https://app.example.com/client.json; it must be the document's own URL, character for character.",
            ),
            (
                "untrusted",
                "/client.json",
                502,
                "there is no secure connection to it (invalid peer certificate: UnknownIssuer).",
            ),
            ("wrong", "/client.json", 502, ""),
            ("closed", "/client.json", 502, "its server cannot be connected to."),
            ("nowhere", "/client.json", 502, "its host name cannot be resolved."),
        ] {
            let (got, why) = world.refused(&format!("https://{host}.example.com{path}")).await;
            assert_eq!(got, status, "{host}: {why}");
            if wanted.is_empty() {
                assert!(why.contains("invalid peer certificate: certificate not valid for name"), "{why}");
            } else {
                assert_eq!(why, wanted, "{host}");
            }
        }
        let asked = world.internet.requests();
        assert_eq!(
            asked.len(),
            5,
            "the redirect is not followed, and without TLS nothing is asked: {asked:?}"
        );
    });
}

#[test]
fn the_eleventh_fetch_of_a_minute_is_refused_and_told_to_the_operator() {
    in_a_network_of_its_own("the_eleventh_fetch_of_a_minute_is_refused_and_told_to_the_operator", async {
        let world = World::new().await;
        // One more comes back every six seconds.
        let mut fetched = 0;
        loop {
            let id = format!("https://{fetched}.example.com/client.json");
            let (status, why) = world.refused(&id).await;
            if status == 429 {
                assert_eq!(why, "too many descriptions were fetched for your network.");
                break;
            }
            assert_eq!((status, why.as_str()), (502, "its host name cannot be resolved."));
            fetched += 1;
        }
        assert!((10..20).contains(&fetched), "{fetched}");
        let hit = world.process.line(|line| line["event"] == "limit_hit").await;
        assert_eq!(hit["reason"], "limits.document = 10/m");
        let line = world.process.line(|line| line["status"] == 429 && line["target"] == "access").await;
        // The id that was refused is made up as easily as the next: it is nobody's to remember.
        assert_eq!((&line["reason"], &line["client"]), (&json!("rate-limited"), &json!(null)));
        assert_eq!(world.internet.requests(), [""; 0]);
    });
}

#[test]
fn a_server_that_never_ends_is_cut_off_after_five_seconds() {
    // M5
    in_a_network_of_its_own("a_server_that_never_ends_is_cut_off_after_five_seconds", async {
        let world = World::new().await;
        let started = Instant::now();
        let (status, why) = world.refused("https://app.example.com/slow").await;
        assert_eq!((status, why.as_str()), (504, "its server took longer than 5 seconds."));
        assert!(started.elapsed() < Duration::from_millis(5900), "{:?}", started.elapsed());
    });
}
