//! `POST /register`: G1–G8.

use serde_json::{Value, json};

use crate::support::rig::{Answer, ISSUER, REDIRECT, Rig, request};

async fn register(rig: &Rig, body: &str) -> Answer {
    rig.send(request("POST", "/register", &[("content-type", "application/json")], body.to_owned())).await
}

#[tokio::test]
async fn a_registration_is_answered_with_all_that_is_applied() {
    // G1, G2
    let rig = Rig::dev().await;
    let body =
        json!({ "redirect_uris": [REDIRECT], "client_name": "Claude", "scope": "mcp", "software_id": "x" });
    let answer = register(&rig, &body.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (201, "no-store"));
    let mut registered = answer.json();
    let id = registered.as_object_mut().unwrap().remove("client_id").unwrap();
    assert!(id.as_str().unwrap().starts_with("c_"), "{id}");
    // G9: in crate::client_configuration
    let uri = registered.as_object_mut().unwrap().remove("registration_client_uri").unwrap();
    assert_eq!(uri, format!("{ISSUER}/register/{}", id.as_str().unwrap()));
    let token = registered.as_object_mut().unwrap().remove("registration_access_token").unwrap();
    assert_eq!(token.as_str().unwrap().len(), 43, "32 random bytes in base64url");
    assert_eq!(
        registered,
        json!({
            "client_id_issued_at": 1_800_000_000,
            "redirect_uris": [REDIRECT],
            "client_name": "Claude",
            "software_id": "x",
            "scope": "mcp",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        })
    );
}

#[tokio::test]
async fn a_redirect_uri_that_leads_astray_is_refused() {
    // G3
    let rig = Rig::dev().await;
    let refused = [
        json!({}),
        json!({ "redirect_uris": [] }),
        json!({ "redirect_uris": ["https://a.example/cb#fragment"] }),
        json!({ "redirect_uris": ["javascript:alert(1)"] }),
        json!({ "redirect_uris": ["JavaScript:alert(1)"] }),
        json!({ "redirect_uris": ["data:text/html,x"] }),
        json!({ "redirect_uris": ["https://user:pw@a.example/cb"] }),
        json!({ "redirect_uris": ["https://user@a.example/cb"] }),
        json!({ "redirect_uris": ["http://a.example/cb"] }),
        json!({ "redirect_uris": ["http://localhost.evil.example/cb"] }),
        json!({ "redirect_uris": ["/callback"] }),
        json!({ "redirect_uris": [REDIRECT, "ftp://a.example/cb"] }),
    ];
    for body in refused {
        let answer = register(&rig, &body.to_string()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"], "invalid_redirect_uri", "{body}");
        assert!(!answer.json()["error_description"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_clients_we_know_can_register() {
    // G4, G5, G7
    let rig = Rig::dev().await;
    let cursor = json!({
        "client_name": "Cursor", "application_type": "web", "token_endpoint_auth_method": "none",
        "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"],
    });
    let code = json!({
        "client_name": "Visual Studio Code", "client_uri": "https://code.visualstudio.com", "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"], "token_endpoint_auth_method": "none", "unheard_of": { "x": 1 },
        "redirect_uris": ["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"],
    });
    let typescript = json!({
        "client_name": "ts-v1", "redirect_uris": ["http://localhost:4741/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "scope": "mcp:read",
        "token_endpoint_auth_method": "client_secret_post",
    });
    for body in [cursor, code, typescript] {
        let answer = register(&rig, &body.to_string()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let registered = answer.json();
        assert_eq!(registered["redirect_uris"], body["redirect_uris"]);
        assert_eq!(registered["grant_types"], json!(["authorization_code", "refresh_token"]));
        assert_eq!(registered["token_endpoint_auth_method"], "none");
        assert_eq!(registered.get("client_secret"), None);
    }
}

#[tokio::test]
async fn nonsense_is_400_and_never_500() {
    // G6
    let rig = Rig::dev().await;
    let wrong = [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "{\"redirect_uris\": \"http://localhost/cb\"}",
        "{\"redirect_uris\": [1]}",
        "{\"redirect_uris\": [\"http://localhost/cb\"], \"client_name\": 7}",
        "{\"redirect_uris\": [\"http://localhost/cb\"], \"grant_types\": \"authorization_code\"}",
        "{\"redirect_uris\": [\"http://localhost/cb\"], \"response_types\": [\"token\"]}",
        "{\"redirect_uris\": [\"http://localhost/cb\"], \"grant_types\": [\"client_credentials\"]}",
    ];
    for body in wrong {
        let answer = register(&rig, body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert_eq!(answer.json()["error"], "invalid_client_metadata", "{body}");
    }
}

#[tokio::test]
async fn a_registration_has_bounds() {
    // G8
    let rig = Rig::dev().await;
    let many: Vec<_> = (0..100).map(|port| format!("http://localhost:{port}/cb")).collect();
    let long = "x".repeat(3000);
    for body in
        [json!({ "redirect_uris": many }), json!({ "redirect_uris": [REDIRECT], "client_name": long })]
    {
        let answer = register(&rig, &body.to_string()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (400, &json!("invalid_client_metadata"))
        );
    }
    let huge =
        register(&rig, &json!({ "redirect_uris": [REDIRECT], "x": "y".repeat(100_000) }).to_string()).await;
    assert_eq!((huge.status.as_u16(), &huge.json()["error"]), (413, &json!("invalid_client_metadata")));
}

#[tokio::test]
async fn an_address_that_registers_without_end_is_told_to_wait() {
    // G8
    let yaml = crate::support::rig::dev_yaml(([127, 0, 0, 1], 9).into()) + "registrations_per_hour: 2\n";
    let rig = Rig::with(&yaml).await;
    let body = json!({ "redirect_uris": [REDIRECT] }).to_string();
    for _ in 0..2 {
        assert_eq!(register(&rig, &body).await.status, 201);
    }
    let refused = register(&rig, &body).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "3600"));
    rig.clock.advance(std::time::Duration::from_hours(1));
    assert_eq!(register(&rig, &body).await.status, 201);
}

#[tokio::test]
async fn get_is_not_for_registering() {
    let rig = Rig::dev().await;
    let answer = rig.get("/register", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST, OPTIONS"));
    assert_eq!(answer.json()["error"], Value::from("method_not_allowed"));
}
