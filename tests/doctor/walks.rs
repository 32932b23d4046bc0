//! `--as`: a client's steps, and where it stops.

use serde_json::Value;

use crate::good::{METADATA, PRM};
use crate::world::{Reply, World};

fn steps(report: &Value) -> Vec<(String, bool)> {
    let steps = report["steps"].as_array().unwrap();
    let step = |step: &Value| {
        (
            format!("{} → {}", step["request"].as_str().unwrap(), step["answer"].as_str().unwrap()),
            step["ok"] == true,
        )
    };
    steps.iter().map(step).collect()
}

fn last(report: &Value) -> (String, bool) {
    steps(report).pop().unwrap()
}

/// Where the client stops.
fn stop(report: &Value) -> (String, bool) {
    steps(report).into_iter().find(|(_, ok)| !ok).unwrap()
}

#[test]
fn every_client_gets_as_far_as_the_browser_at_a_good_server() {
    World::of("walks::every_client_gets_as_far_as_the_browser_at_a_good_server", |world| async move {
        for client in ["claude", "chatgpt", "vscode", "cursor", "inspector"] {
            let report = world.doctor(&["--as", client]).await;
            report.is_green(&[]);
            let (step, ok) = last(&report.json);
            assert!(
                ok && step.starts_with("opens the browser at https://auth.example.com/authorize"),
                "{client}: {step}"
            );
        }
        let report = world.doctor(&["--as", "claude"]).await;
        let told: Vec<_> = steps(&report.json).into_iter().map(|(step, _)| step).collect();
        assert_eq!(
            told,
            [
                "connects to mcp.example.com from the internet → https on port 443",
                "POST https://mcp.example.com/mcp (initialize) → 401, application/json",
                "GET https://mcp.example.com/.well-known/oauth-protected-resource/mcp → 200, application/json",
                "compares `resource` with https://mcp.example.com/mcp → the same",
                "connects to auth.example.com from the internet → https on port 443",
                "GET https://auth.example.com/.well-known/oauth-authorization-server → 200, application/json",
                "compares `issuer` with https://auth.example.com → the same",
                "registers by POST https://auth.example.com/register → not done here; `--register` does it for all clients",
                "opens the browser at https://auth.example.com/authorize → as far as can be seen without a sign-in; `--login` goes on",
            ]
        );
    });
}

#[test]
fn clients_stop_where_they_are_stricter_than_others() {
    World::of("walks::clients_stop_where_they_are_stricter_than_others", |world| async move {
        world.twist(|seen, reply| {
            if seen.line() == PRM {
                reply.but(|document| document["resource"] = "https://mcp.example.com".into())
            } else {
                reply
            }
        });
        for (client, goes_on) in [("vscode", false), ("claude", false), ("cursor", true), ("chatgpt", true)] {
            let report = world.doctor(&["--as", client]).await;
            assert_eq!(
                report.json["steps"].as_array().unwrap().iter().all(|step| step["ok"] == true),
                goes_on
            );
            if !goes_on {
                let (step, _) = stop(&report.json);
                assert_eq!(
                    step,
                    "compares `resource` with https://mcp.example.com/mcp → https://mcp.example.com"
                );
                let shown =
                    report.json["steps"].as_array().unwrap().iter().filter(|step| !step["shows"].is_null());
                assert_eq!(shown.count(), 1, "{client}");
            }
        }
        world.twist(|seen, reply| {
            if seen.line() == METADATA {
                reply.but(|document| {
                    drop(document.as_object_mut().unwrap().remove("code_challenge_methods_supported"));
                })
            } else {
                reply
            }
        });
        assert_eq!(
            stop(&world.doctor(&["--as", "claude"]).await.json).0,
            "looks for PKCE with S256 → code_challenge_methods_supported does not list it"
        );
        assert!(last(&world.doctor(&["--as", "vscode"]).await.json).1);
        world.twist(|seen, reply| if seen.method == "OPTIONS" { Reply::status(405) } else { reply });
        let (step, _) = stop(&world.doctor(&["--as", "inspector"]).await.json);
        assert!(step.starts_with("OPTIONS https://mcp.example.com/mcp → 405"), "{step}");
    });
}
