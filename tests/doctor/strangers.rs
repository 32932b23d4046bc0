//! Servers that nobody should trust: what they name is not opened, not asked, and given no secret; and what is begun there is ended.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::good::{METADATA, PRM};
use crate::support::network::ip;
use crate::world::{Reply, Seen, World};

/// Who was asked what, from now on; the answers are `twist`'s.
fn watched(
    world: &World,
    twist: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static,
) -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    world.twist(move |seen, reply| {
        kept.lock().unwrap().push(format!("{} {} {}", seen.host, seen.method, seen.path));
        twist(seen, reply)
    });
    asked
}

fn has(asked: &Mutex<Vec<String>>, line: &str) -> bool {
    asked.lock().unwrap().iter().any(|one| one.contains(line))
}

// trouble: login-hijacked
#[test]
fn nothing_but_a_page_of_the_web_is_brought_before_a_browser() {
    World::of("strangers::nothing_but_a_page_of_the_web_is_brought_before_a_browser", |world| async move {
        for named in
            ["file:///usr/share/applications/x.desktop", "http://auth.example.com/authorize", "vscode://x"]
        {
            let asked = watched(&world, move |seen, reply| {
                if seen.line() != METADATA {
                    return reply;
                }
                reply.but(|document| document["authorization_endpoint"] = named.into())
            });
            let report = world.doctor(&["--login", "--timeout", "1"]).await;
            report.says("bad", "login-hijacked", &[named, "could start a program"]);
            report.is_bad(&["login-hijacked"]).is_not_tried(&["redirect-dead", "exchange-failed"]);
            assert!(!has(&asked, "POST /register") && world.good.clients() == 0, "{named}");
        }
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

/// The same internet, at an address of the internet.
async fn in_public(world: &World) {
    ip("addr add 8.8.4.4/32 dev lo");
    world.listen("8.8.4.4:443", true).await;
    for host in ["mcp.example.com", "auth.example.com"] {
        world.zone.set(host, &["8.8.4.4"]);
    }
    world.zone.set("inner.example.com", &["127.0.0.1"]);
    world.show("inner.example.com", crate::world::Certificate::Good);
}

// trouble: login-hijacked
// trouble: prm-404
// trouble: issuer-mismatch
#[test]
fn a_server_of_the_internet_leads_nobody_into_a_private_network() {
    World::of(
        "strangers::a_server_of_the_internet_leads_nobody_into_a_private_network",
        |world| async move {
            in_public(&world).await;
            world.doctor(&["--register"]).await.is_green(&[]);
            for name in ["token_endpoint", "registration_endpoint", "revocation_endpoint"] {
                let asked = watched(&world, move |seen, reply| {
                    if seen.line() != METADATA {
                        return reply;
                    }
                    reply.but(|document| document[name] = "https://inner.example.com/x".into())
                });
                let report = world.doctor(&["--register", "--login", "--timeout", "1"]).await;
                report.is_bad(&["login-hijacked"]);
                report.says("bad", "login-hijacked", &[name, "inner.example.com", "private network"]);
                assert!(!has(&asked, "inner.example.com"), "{asked:?}");
            }
            let asked = watched(&world, |seen, reply| {
                if seen.line() != PRM {
                    return reply;
                }
                reply.but(|document| document["authorization_servers"] = json!(["https://inner.example.com"]))
            });
            let report = world.doctor(&["--as", "claude"]).await;
            report.is_bad(&["issuer-mismatch"]).says(
                "bad",
                "issuer-mismatch",
                &["private network", "not asked"],
            );
            assert!(!has(&asked, "inner.example.com"), "{asked:?}");
            let asked = watched(&world, |seen, reply| {
                if seen.path != "/mcp" {
                    return reply;
                }
                reply.without("www-authenticate").with(
                "www-authenticate",
                "Bearer resource_metadata=\"https://inner.example.com/.well-known/oauth-protected-resource\"",
            )
            });
            let report = world.doctor(&["--as", "claude"]).await;
            report.says("bad", "prm-404", &["inner.example.com", "not asked"]);
            assert!(!has(&asked, "inner.example.com"), "{asked:?}");
            world.mend();
            world.doctor(&["--register"]).await.is_green(&[]);
        },
    );
}

// trouble: login-hijacked
#[test]
fn the_token_of_a_registration_goes_to_the_authorization_server_only() {
    World::of(
        "strangers::the_token_of_a_registration_goes_to_the_authorization_server_only",
        |world| async move {
            let asked = watched(&world, |seen, reply| {
                if seen.line() != "POST /register" {
                    return reply;
                }
                let uri = "https://time.example.com/register/1";
                reply.but(|document| document["registration_client_uri"] = uri.into())
            });
            let report = world.doctor(&["--register"]).await;
            report.is_bad(&["login-hijacked"]);
            let told = "registration_client_uri is https://time.example.com/register/1";
            report.says("bad", "login-hijacked", &[told]);
            assert!(!has(&asked, "time.example.com DELETE"), "{asked:?}");
            world.mend();
            world.doctor(&["--register"]).await.is_green(&[]);
        },
    );
}

#[test]
fn a_session_that_an_open_server_begins_is_ended() {
    World::of("strangers::a_session_that_an_open_server_begins_is_ended", |world| async move {
        let open = Arc::new(Mutex::new((0, Vec::<String>::new())));
        let kept = Arc::clone(&open);
        world.twist(move |seen, reply| {
            if seen.path != "/mcp" {
                return reply;
            }
            let (begun, sessions) = &mut *kept.lock().unwrap();
            let session = seen.header("mcp-session-id");
            if seen.method == "DELETE" {
                sessions.retain(|one| one != session);
                return Reply::status(200);
            }
            if !seen.body.contains("\"initialize\"") {
                return Reply::status(405);
            }
            *begun += 1;
            sessions.push(format!("session-{begun}"));
            let result = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
            Reply::json(200, &json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
                .with("mcp-session-id", &format!("session-{begun}"))
        });
        world.doctor(&["--as", "claude"]).await.is_green(&["no-challenge"]);
        let (begun, sessions) = open.lock().unwrap().clone();
        assert!(begun > 2, "{begun}");
        assert_eq!(sessions, Vec::<String>::new());
        let report = world.doctor(&["--login"]).await;
        report.is_bad(&["no-challenge"]).says("bad", "no-challenge", &["asks nobody for one"]);
    });
}

#[test]
fn nobody_is_asked_for_tokens_who_was_not_meant_to_be() {
    World::of("strangers::nobody_is_asked_for_tokens_who_was_not_meant_to_be", |world| async move {
        let asked = watched(&world, |_, reply| reply);
        world.doctor(&[]).await.is_green(&[]).is_not_tried(&["client-unknown", "redirect-invalid"]);
        assert!(!has(&asked, "POST /token") && !has(&asked, "POST /register"), "{asked:?}");
        world.doctor(&["--register"]).await.is_green(&[]).told("good", "client-unknown");
    });
}
