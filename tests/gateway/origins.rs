//! Browsers at the gateway: which pages may call which service, and what they may send and read (P3; requirements §2 item 17).

use crate::support::rig::{Answer, Rig, dev_yaml, request};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS"];

/// Two services, each with an origin of its own, beside one for all.
async fn rig() -> Rig {
    let yaml = dev_yaml(([127, 0, 0, 1], 9).into())
        .replace("/mcp\" }", "/mcp\", origins: [https://echo.example] }")
        .replace("services:", "origins: [https://portal.example]\nservices:")
        + "  other: { url: \"http://localhost:8080/other\", upstream: \"http://127.0.0.1:9/mcp\", origins: [https://other.example] }\n";
    Rig::with(&yaml).await
}

async fn ask(rig: &Rig, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    rig.send(request(method, path, headers, String::new())).await
}

// trouble: cors
#[tokio::test]
async fn a_foreign_page_is_refused_by_every_method_with_a_json_rpc_error() {
    // P3 (S26-http:58-61)
    let rig = rig().await;
    let client = rig.register().await;
    let bearer = format!("Bearer {}", rig.tokens(&client, "alice").await["access_token"].as_str().unwrap());
    for method in METHODS {
        for origin in
            ["https://evil.example", "null", "", "http://localhost.evil.example", "https://other.example"]
        {
            for token in [&[][..], &[("authorization", bearer.as_str())]] {
                let answer = ask(&rig, method, "/mcp", &[&[("origin", origin)], token].concat()).await;
                assert_eq!(answer.status, 403, "{method} {origin}");
                assert_eq!(answer.header("content-type"), "application/json");
                assert_eq!(answer.header("access-control-allow-origin"), "", "{method} {origin}");
                assert_eq!(answer.header("www-authenticate"), "", "a token would not help");
                if method == "HEAD" {
                    continue;
                }
                let told = answer.json();
                assert_eq!((&told["jsonrpc"], &told["id"]), (&"2.0".into(), &serde_json::Value::Null));
                assert!(told["error"]["code"].is_i64(), "{told}");
                assert_eq!(
                    told["error"]["message"],
                    "this Origin may not call the server; list it under origins if it is yours"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_origin_of_one_service_is_none_of_another() {
    // P3
    let rig = rig().await;
    for (origin, at_echo, at_other) in [
        ("https://echo.example", 401, 403),
        ("https://other.example", 403, 401),
        ("https://portal.example", 401, 401),
        ("http://localhost:8080", 401, 401),
        ("http://127.0.0.1:6274", 401, 401),
    ] {
        for (path, expected) in [("/mcp", at_echo), ("/other", at_other), ("/mcp/deeper", at_echo)] {
            let answer = ask(&rig, "POST", path, &[("origin", origin)]).await;
            assert_eq!(answer.status.as_u16(), expected, "{origin} at {path}");
            let allowed = if expected == 401 { origin } else { "" };
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin} at {path}");
            let preflight = ask(&rig, "OPTIONS", path, &[("origin", origin)]).await;
            let expected = if expected == 401 { 204 } else { 403 };
            assert_eq!(preflight.status.as_u16(), expected, "{origin} at {path}");
            assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{origin} at {path}");
        }
    }
}

// trouble: cors
#[tokio::test]
async fn a_preflight_names_all_that_an_mcp_client_sends() {
    // requirements §2 item 17
    let rig = rig().await;
    let wanted = "authorization, content-type, mcp-protocol-version, mcp-session-id, last-event-id, mcp-method, mcp-name, \
                  mcp-param-region, Mcp-Param-Tenant-Id, x-evil";
    for method in ["GET", "POST", "DELETE"] {
        let headers = [
            ("origin", "https://echo.example"),
            ("access-control-request-method", method),
            ("access-control-request-headers", wanted),
        ];
        let answer = ask(&rig, "OPTIONS", "/mcp", &headers).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "https://echo.example");
        assert_eq!(answer.header("vary"), "Origin");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "no cookies");
        let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
        let allowed: Vec<_> = allowed.split(", ").collect();
        for name in wanted.to_ascii_lowercase().split(", ").filter(|name| *name != "x-evil") {
            assert!(allowed.contains(&name), "{name}: {allowed:?}");
        }
        assert!(!allowed.contains(&"x-evil") && !allowed.contains(&"*"), "{allowed:?}");
        assert!(
            answer.header("access-control-allow-methods").split(", ").any(|one| one == method),
            "{answer:?}"
        );
    }
}

// trouble: cors
#[tokio::test]
async fn a_page_may_read_the_challenge_the_session_and_the_errors() {
    // requirements §2 item 17
    let rig = rig().await;
    let client = rig.register().await;
    let bearer = format!("Bearer {}", rig.tokens(&client, "alice").await["access_token"].as_str().unwrap());
    let page = ("origin", "https://echo.example");
    for (headers, status) in [(&[page][..], 401), (&[page, ("authorization", &bearer)], 502)] {
        let answer = ask(&rig, "POST", "/mcp", headers).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "https://echo.example");
        assert_eq!(answer.header("vary"), "Origin");
        for name in ["WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version"] {
            let exposed = answer.header("access-control-expose-headers");
            assert!(exposed.split(", ").any(|one| one == name), "{name}: {exposed}");
        }
    }
    let answer = ask(&rig, "POST", "/mcp", &[]).await;
    assert_eq!(answer.header("access-control-allow-origin"), "", "no page asked");
}
