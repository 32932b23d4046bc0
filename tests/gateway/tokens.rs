//! `POST /token` with a code: T1–T7, T14, T16, G10.

use std::time::Duration;

use serde_json::json;

use crate::support::rig::{Answer, REDIRECT, RESOURCE, Rig, VERIFIER, request};

fn refusal(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    (answer.status.as_u16(), answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_code_becomes_tokens() {
    // T1, T7
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    let answer = rig.redeem(&client, &code, &[("resource", RESOURCE)]).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    assert_eq!(answer.header("content-type"), "application/json");
    let tokens = answer.json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"], &tokens["scope"]),
        (&json!("Bearer"), &json!(3600), &json!("mcp"))
    );
    let access = tokens["access_token"].as_str().unwrap();
    assert!(access.len() < 1024 && tokens["refresh_token"].is_string());
    let keys = rig.shared.signing.load();
    let now = portcullis::time::Timestamp::from_seconds(1_800_000_000);
    let claims = portcullis::token::verify(access, &keys, "http://localhost:8080", now).unwrap();
    assert_eq!(claims.claims().subject.as_str(), "dev:alice");
    assert_eq!(claims.claims().resource.as_str(), RESOURCE);
    assert_eq!(claims.claims().email, None);
}

#[tokio::test]
async fn an_absent_or_ill_formed_verifier_leaves_the_code_untouched() {
    // T2
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    for verifier in ["", "short", &"x".repeat(129), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjX!"] {
        let answer = rig.redeem(&client, &code, &[("code_verifier", verifier)]).await;
        assert_eq!(refusal(&answer), (400, "invalid_request".into()), "{verifier:?}");
    }
    assert_eq!(rig.redeem(&client, &code, &[]).await.status, 200);
}

#[tokio::test]
async fn a_wrong_verifier_burns_the_code() {
    // T2
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    let wrong = "x".repeat(43);
    let answer = rig.redeem(&client, &code, &[("code_verifier", &wrong)]).await;
    assert_eq!(refusal(&answer), (400, "invalid_grant".into()));
    assert_eq!(refusal(&rig.redeem(&client, &code, &[]).await), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn a_code_works_once_and_its_second_use_revokes_the_grant() {
    // T3
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    let tokens = rig.redeem(&client, &code, &[]).await.json();
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(rig.call(access).await.status, 502, "admitted, and nothing listens behind");
    assert_eq!(refusal(&rig.redeem(&client, &code, &[]).await), (400, "invalid_grant".into()));
    assert_eq!(rig.call(access).await.status, 401);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(refusal(&rig.refresh(&client, refresh, &[]).await), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn of_two_that_redeem_at_once_one_gets_tokens() {
    // T3
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    let (one, other) = tokio::join!(rig.redeem(&client, &code, &[]), rig.redeem(&client, &code, &[]));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn an_unknown_client_is_401_so_that_it_registers_anew() {
    // T4, G10
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    let answer = rig.redeem("c_unknown", &code, &[]).await;
    assert_eq!(refusal(&answer), (401, "invalid_client".into()));
    assert_eq!(answer.header("www-authenticate"), "");
    let basic = [("authorization", "Basic Y191bmtub3duOg==")];
    let answer = rig.post("/token", &basic, &[("grant_type", "refresh_token"), ("refresh_token", "x")]).await;
    assert_eq!(refusal(&answer), (401, "invalid_client".into()));
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"portcullis\"");
    let nobody = rig.post("/token", &[], &[("grant_type", "authorization_code"), ("code", &code)]).await;
    assert_eq!(refusal(&nobody), (401, "invalid_client".into()));
}

#[tokio::test]
async fn a_registration_that_nobody_used_is_gone_after_a_day() {
    // G8, G10
    let rig = Rig::dev().await;
    let client = rig.register().await;
    rig.clock.advance(Duration::from_secs(86_401));
    let answer = rig.refresh(&client, "x", &[]).await;
    assert_eq!(refusal(&answer), (401, "invalid_client".into()));
    let used = rig.register().await;
    let tokens = rig.tokens(&used, "alice").await;
    rig.clock.advance(Duration::from_hours(720));
    let refreshed = rig.refresh(&used, tokens["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
}

#[tokio::test]
async fn basic_names_a_public_client_as_well() {
    // T5
    use base64::Engine as _;
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    for id in [client.clone(), client.replace('_', "%5F")] {
        let code = rig.code(&client, "alice").await;
        let basic = format!("Basic {}", encode(format!("{id}:")));
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("code_verifier", VERIFIER),
            ("redirect_uri", REDIRECT),
            ("client_id", client.as_str()),
        ];
        let answer = rig.post("/token", &[("authorization", &basic)], &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let with_secret = format!("Basic {}", encode(format!("{client}:secret")));
    let form = [("grant_type", "authorization_code"), ("code", "x")];
    let answer = rig.post("/token", &[("authorization", &with_secret)], &form).await;
    assert_eq!(refusal(&answer), (401, "invalid_client".into()));
    let other = rig.register().await;
    let disagree = [("grant_type", "authorization_code"), ("code", "x"), ("client_id", other.as_str())];
    let basic = format!("Basic {}", encode(format!("{client}:")));
    assert_eq!(
        refusal(&rig.post("/token", &[("authorization", &basic)], &disagree).await),
        (400, "invalid_request".into())
    );
}

#[tokio::test]
async fn a_code_is_for_its_client_its_redirect_uri_and_its_resource() {
    // A11, T6
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let other = rig.register().await;
    let code = rig.code(&client, "alice").await;
    assert_eq!(refusal(&rig.redeem(&other, &code, &[]).await), (400, "invalid_grant".into()));
    let foreign = [
        ("grant_type", "authorization_code"),
        ("client_id", client.as_str()),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", "http://localhost:1/other"),
    ];
    assert_eq!(refusal(&rig.post("/token", &[], &foreign).await), (400, "invalid_grant".into()));
    let target = rig.redeem(&client, &code, &[("resource", "http://localhost:8080/other")]).await;
    assert_eq!(refusal(&target), (400, "invalid_target".into()));
    assert_eq!(rig.redeem(&client, &code, &[]).await.status, 200, "none of these touched the code");
}

#[tokio::test]
async fn a_code_lives_for_a_minute() {
    // A11
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    rig.clock.advance(Duration::from_secs(61));
    assert_eq!(refusal(&rig.redeem(&client, &code, &[]).await), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn only_a_form_is_read() {
    // T14
    let rig = Rig::dev().await;
    let json =
        rig.send(request("POST", "/token", &[("content-type", "application/json")], "{}".into())).await;
    assert_eq!(refusal(&json), (400, "invalid_request".into()));
    let get = rig.get("/token", &[]).await;
    assert_eq!((get.status.as_u16(), get.header("allow")), (405, "POST, OPTIONS"));
    let charset = [("content-type", "application/x-www-form-urlencoded; charset=UTF-8")];
    let form = rig.send(request("POST", "/token", &charset, "grant_type=x&client_id=c".into())).await;
    assert_eq!(refusal(&form), (401, "invalid_client".into()));
}

#[tokio::test]
async fn a_bad_request_is_told_what_is_wrong() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let id = ("client_id", client.as_str());
    for (form, error) in [
        (vec![id], "invalid_request"),
        (vec![id, ("grant_type", "password")], "unsupported_grant_type"),
        (vec![id, ("grant_type", "authorization_code")], "invalid_request"),
        (vec![id, ("grant_type", "refresh_token")], "invalid_request"),
        (
            vec![id, ("grant_type", "authorization_code"), ("code", "nonsense"), ("code_verifier", VERIFIER)],
            "invalid_grant",
        ),
        (vec![id, ("grant_type", "refresh_token"), ("refresh_token", "nonsense")], "invalid_grant"),
        (vec![id, id, ("grant_type", "authorization_code")], "invalid_request"),
    ] {
        let answer = rig.post("/token", &[], &form).await;
        assert_eq!(refusal(&answer), (400, error.into()), "{form:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_token_can_be_read_from_the_store() {
    // T16
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    let tokens = rig.redeem(&client, &code, &[]).await.json();
    let file = crate::stored::stored(&rig).await;
    let planted = [
        &code,
        tokens["access_token"].as_str().unwrap(),
        tokens["refresh_token"].as_str().unwrap(),
        VERIFIER,
    ];
    for secret in planted {
        assert!(!file.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    assert!(
        file.windows(client.len()).any(|window| window == client.as_bytes()),
        "the file is the one that is written"
    );
}
