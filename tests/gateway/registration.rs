//! `POST /register`: G1–G8.

use std::time::Duration;

use portcullis::clock::Clock;
use portcullis::oauth::{Client, ClientId, Subject};
use serde_json::{Value, json};

use crate::support::rig::{Answer, ISSUER, REDIRECT, Rig, authorize_query, dev_yaml, encode, request};

/// The demo's configuration and more.
async fn with(more: &str) -> Rig {
    Rig::with(&format!("{}{more}\n", dev_yaml(([127, 0, 0, 1], 9).into()))).await
}

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

/// Whether the authorization endpoint and the token endpoint still know a client.
async fn is_known(rig: &Rig, client: &str) -> bool {
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(client))), &[]).await;
    let token = rig.refresh(client, "x", &[]).await;
    match (page.status.as_u16(), token.status.as_u16()) {
        (200, 400) => true,
        (400, 401) => {
            assert!(page.body.contains("client-unknown") && page.header("location").is_empty(), "{page:?}");
            assert_eq!(token.json()["error"], "invalid_client");
            false
        }
        _ => panic!("{page:?} {token:?}"),
    }
}

#[tokio::test]
async fn at_the_limit_the_oldest_unused_registration_makes_room_and_no_other() {
    // G8, G10
    let rig = with("limits: { unused_clients: 3 }").await;
    let (used, oldest, signing_in) = (rig.register().await, rig.register().await, rig.register().await);
    rig.tokens(&used, "alice").await;
    let opened = approve(&rig, &signing_in).await;
    let newest = [rig.register().await, rig.register().await, rig.register().await];
    assert!(is_known(&rig, &used).await, "somebody uses it");
    assert!(!is_known(&rig, &oldest).await, "it made room");
    assert!(is_known(&rig, &signing_in).await, "somebody is on the way back to it");
    for client in &newest {
        assert!(is_known(&rig, client).await);
    }
    let back = rig.get(&opened.0, &[("cookie", &opened.1)]).await;
    let code = back.location("code").unwrap_or_else(|| panic!("{back:?}"));
    assert_eq!(rig.redeem(&signing_in, &code, &[]).await.status, 200);
}

/// Consents, up to the identity provider: where it will send the browser, and with which cookies.
async fn approve(rig: &Rig, client: &str) -> (String, String) {
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(client))), &[]).await;
    let token = page.input("form_token");
    let mut form = authorize_query(client);
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    let sent = rig.post("/authorize", &[("cookie", &page.cookies()), ("origin", ISSUER)], &form).await;
    let state = sent.location("state").unwrap();
    (format!("/callback?{}", encode(&[("code", "alice"), ("state", &state)])), sent.cookies())
}

#[tokio::test]
async fn a_registration_is_used_from_the_consent_on_though_its_code_is_not_redeemed_yet() {
    // G8
    let rig = with("limits: { unused_clients: 1 }").await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    rig.register().await;
    rig.register().await;
    assert_eq!(rig.redeem(&client, &code, &[]).await.status, 200);
}

#[tokio::test]
async fn a_consent_to_a_registration_that_has_just_made_room_grants_nothing() {
    // G8, G10: no code goes to a client that could not redeem it.
    let (rig, store) = Rig::forgetful_with("limits: { unused_clients: 1 }\n").await;
    let used = rig.register().await;
    let session = rig.sign_in(&authorize_query(&used), "alice").await.cookies();
    let client = rig.register().await;
    let page =
        rig.get(&format!("/authorize?{}", encode(&authorize_query(&client))), &[("cookie", &session)]).await;
    let (token, cookies) = (page.input("form_token"), format!("{session}; {}", page.cookies()));
    let mut form = authorize_query(&client);
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    let (records, now) = (rig.shared.store.clone(), rig.clock.now());
    let known = records.client(&ClientId::parse(&client).unwrap(), now).await.unwrap().unwrap();
    let newcomer = Client { id: ClientId::issue([7; 16]), ..known };
    store.before_the_next_swap(async move {
        assert_eq!(records.add_client(&newcomer, 1, now).await.unwrap().len(), 1);
    });
    let answer = rig.post("/authorize", &[("cookie", &cookies), ("origin", ISSUER)], &form).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""));
    assert!(answer.body.contains("client-unknown"), "{}", answer.body);
    let alice = Subject::new("dev", "alice");
    let grants = rig.shared.store.grants_of_user(&alice, now).await.unwrap();
    assert_eq!(grants.iter().map(|grant| grant.client.as_str()).collect::<Vec<_>>(), [used]);
}

#[tokio::test]
async fn a_used_registration_outlives_every_one_of_its_grants() {
    // G8
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let mut newest = tokens["refresh_token"].as_str().unwrap().to_owned();
    // A grant that is refreshed now and then ends after 365 days. Its client is known to the end, and longer.
    for days in [89, 60, 1, 89, 80, 45] {
        rig.clock.advance(Duration::from_hours(24 * days));
        let refreshed = rig.refresh(&client, &newest, &[]).await;
        assert_eq!(refreshed.status, 200, "{refreshed:?}");
        newest = refreshed.json()["refresh_token"].as_str().unwrap().to_owned();
    }
    rig.clock.advance(Duration::from_hours(24));
    let ended = rig.refresh(&client, &newest, &[]).await;
    assert_eq!((ended.status.as_u16(), &ended.json()["error"]), (400, &json!("invalid_grant")));
    assert!(is_known(&rig, &client).await);
    rig.clock.advance(Duration::from_hours(24 * 181));
    assert!(!is_known(&rig, &client).await, "one without grants ends too");
}

#[tokio::test]
async fn get_is_not_for_registering() {
    let rig = Rig::dev().await;
    let answer = rig.get("/register", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST, OPTIONS"));
    assert_eq!(answer.json()["error"], Value::from("method_not_allowed"));
}
