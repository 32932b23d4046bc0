//! `grant_type=client_credentials` (RFC 6749 §4.4), and what the guard makes of its tokens: V1, R14.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::clients::{SECRET, Signer, basic, credentials, refusal, rig, yaml};
use crate::support::rig::{Answer, ISSUER, Rig, request};

const TODO: &str = "http://localhost:8080/todo/mcp";

/// What a token says, whoever signed it.
fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn token(rig: &Rig, more: &[(&str, &str)]) -> String {
    let answer = credentials(rig, "ci", more).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn call(rig: &Rig, path: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    rig.send(request("POST", path, &[("authorization", &bearer)], "{}".into())).await
}

async fn by_keys(rig: &Rig, token_id: &str, more: &[(&str, &str)]) -> Answer {
    let assertion = Signer::new().assertion(token_id, |_| {});
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion", assertion.as_str()),
        ("client_assertion_type", crate::clients::JWT_BEARER),
    ];
    form.extend_from_slice(more);
    rig.post("/token", &[], &form).await
}

#[tokio::test]
async fn a_configured_client_gets_a_token_of_its_own() {
    // T1, T7
    let rig = rig().await;
    let answer = credentials(&rig, "ci", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    let mut body = answer.json();
    let token = body.as_object_mut().unwrap().remove("access_token").unwrap();
    assert_eq!(
        body,
        json!({ "token_type": "Bearer", "expires_in": 3600, "scope": "todo:read" }),
        "no refresh token"
    );
    let mut said = claims(token.as_str().unwrap());
    for random in ["jti", "sid", "acc"] {
        assert!(said.as_object_mut().unwrap().remove(random).is_some(), "{random}");
    }
    assert_eq!(
        said,
        json!({
            "iss": ISSUER, "sub": "client:ci", "aud": TODO, "client_id": "ci", "scope": "todo:read",
            "iat": 1_800_000_000, "exp": 1_800_003_600, "gen": 0, "preferred_username": "Nightly CI",
        })
    );
    assert_eq!(call(&rig, "/todo/mcp", token.as_str().unwrap()).await.status, 502, "admitted");
    assert_eq!(call(&rig, "/mcp", token.as_str().unwrap()).await.status, 401, "but not elsewhere");
}

#[tokio::test]
async fn no_more_is_given_than_the_configuration_lists() {
    // T6
    let rig = rig().await;
    let unknown = "http://localhost:8080/unknown";
    for (form, error) in [
        (vec![("resource", "http://localhost:8080/mcp")], "invalid_target"),
        (vec![("resource", unknown)], "invalid_target"),
        (vec![("resource", TODO), ("resource", "http://localhost:8080/mcp")], "invalid_target"),
        (vec![("scope", "todo:write")], "invalid_scope"),
        (vec![("scope", "todo:read unheard-of")], "invalid_scope"),
        (vec![("scope", "todo:read \"")], "invalid_scope"),
    ] {
        let answer = credentials(&rig, "ci", &form).await;
        assert_eq!(refusal(&answer), (400, error.into()), "{form:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for more in [vec![("resource", TODO)], vec![("scope", "todo:read offline_access")], vec![("scope", "")]] {
        assert_eq!(credentials(&rig, "ci", &more).await.json()["scope"], "todo:read", "{more:?}");
    }
}

#[tokio::test]
async fn a_client_of_several_services_names_one() {
    let rig = rig().await;
    let none = by_keys(&rig, "one", &[]).await;
    assert_eq!(refusal(&none), (400, "invalid_target".into()));
    for (token_id, resource, scope) in
        [("two", TODO, "todo:write"), ("three", "http://LOCALHOST:8080/mcp/", "mcp")]
    {
        let answer = by_keys(&rig, token_id, &[("resource", resource)]).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["scope"]), (200, &json!(scope)), "{answer:?}");
    }
    let narrow = by_keys(&rig, "four", &[("resource", TODO), ("scope", "todo:read")]).await;
    assert_eq!(narrow.json()["scope"], "todo:read", "which todo:write implies");
}

#[tokio::test]
async fn only_clients_that_may_act_alone_do() {
    // T4
    let rig = rig().await;
    let registered = rig.register().await;
    for id in [registered.as_str(), "app"] {
        let form = [("grant_type", "client_credentials"), ("client_id", id)];
        assert_eq!(
            refusal(&rig.post("/token", &[], &form).await),
            (400, "unauthorized_client".into()),
            "{id}"
        );
    }
    let web = credentials(&rig, "web", &[]).await;
    assert_eq!(refusal(&web), (400, "unauthorized_client".into()), "a secret alone is not enough");
    let header = basic("ci", SECRET);
    for (form, error) in [
        ([("grant_type", "refresh_token"), ("refresh_token", "x")], "unauthorized_client"),
        ([("grant_type", "password"), ("username", "x")], "unsupported_grant_type"),
    ] {
        let answer = rig.post("/token", &[("authorization", &header)], &form).await;
        assert_eq!(refusal(&answer), (400, error.into()));
    }
    let query = [("response_type", "code"), ("client_id", "ci"), ("redirect_uri", "http://localhost:1/")];
    let page = rig.get(&format!("/authorize?{}", crate::support::rig::encode(&query)), &[]).await;
    assert_eq!((page.status.as_u16(), page.header("location")), (400, ""), "nobody signs in with it");
}

#[tokio::test]
async fn its_token_is_revoked_as_any_other() {
    // V1, R14
    let rig = rig().await;
    let token = token(&rig, &[]).await;
    let form = [("token", token.as_str())];
    let other = rig.post("/revoke", &[("authorization", &basic("server", SECRET))], &form).await;
    assert_eq!(refusal(&other), (400, "invalid_grant".into()), "not by another client");
    assert_eq!(call(&rig, "/todo/mcp", &token).await.status, 502);
    assert_eq!(rig.post("/revoke", &[("authorization", &basic("ci", SECRET))], &form).await.status, 200);
    let refused = call(&rig, "/todo/mcp", &token).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""), "{refused:?}");
}

#[tokio::test]
async fn its_grant_is_listed_and_ends_with_its_token() {
    let rig = rig().await;
    let token = token(&rig, &[]).await;
    let subject = portcullis::oauth::Subject::from_text("client:ci".into());
    let listed = async || {
        let now = portcullis::clock::Clock::now(&*rig.clock);
        rig.shared.store.grants_of_user(&subject, now).await.unwrap().len()
    };
    assert_eq!(listed().await, 1);
    rig.clock.advance(Duration::from_hours(1));
    assert_eq!((listed().await, call(&rig, "/todo/mcp", &token).await.status.as_u16()), (0, 401));
}

#[tokio::test]
async fn its_token_ends_when_the_configuration_takes_the_client_or_the_service_away() {
    let changes: [(&str, &str, u16); 5] = [
        ("    ci:\n", "    other:\n", 401),
        ("services: { todo: [todo:read] }\n    deploy", "services: { echo: [mcp] }\n    deploy", 401),
        (
            "      grant_types: [client_credentials]\n      secret",
            "      redirect_uris: [https://a.example/]\n      secret",
            401,
        ),
        ("name: Nightly CI", "name: Daily CI", 502),
        ("services: { todo: [todo:read] }\n    deploy", "services: { todo: [todo:write] }\n    deploy", 502),
    ];
    for (before, after, status) in changes {
        let rig = rig().await;
        let token = token(&rig, &[]).await;
        assert_eq!(call(&rig, "/todo/mcp", &token).await.status, 502, "admitted");
        let change = |yaml: &str| {
            let yaml = yaml.replacen(before, after, 1);
            // Without the grant type, without what only it may have.
            if after.contains("redirect_uris") {
                yaml.replacen("      services: { todo: [todo:read] }\n", "", 1)
            } else {
                yaml
            }
        };
        let rig = rig.reconfigured(change).await;
        let answer = call(&rig, "/todo/mcp", &token).await;
        assert_eq!(answer.status, status, "{after}: {answer:?}");
        let told = answer.header("www-authenticate").contains("error=\"invalid_token\"");
        assert_eq!(told, status == 401, "{after}: {answer:?}");
    }
}

#[tokio::test]
async fn its_token_ends_when_the_configuration_takes_a_scope_away() {
    let yaml = yaml().replacen("services: { todo: [todo:read] }", "services: { todo: [todo:write] }", 1);
    let rig = Rig::with(&yaml).await;
    let (wide, narrow) = (token(&rig, &[]).await, token(&rig, &[("scope", "todo:read")]).await);
    let rig = rig
        .reconfigured(|yaml| {
            yaml.replacen("todo: [todo:write] }\n    deploy", "todo: [todo:read] }\n    deploy", 1)
        })
        .await;
    assert_eq!(call(&rig, "/todo/mcp", &wide).await.status, 401);
    assert_eq!(call(&rig, "/todo/mcp", &narrow).await.status, 502, "what it says is still allowed");
}

#[tokio::test]
async fn an_answer_of_the_store_that_is_lost_still_gives_the_token() {
    let (rig, store) = Rig::forgetful_of(&yaml()).await;
    store.lose_the_next_answer();
    let token = token(&rig, &[]).await;
    assert_eq!(call(&rig, "/todo/mcp", &token).await.status, 502, "admitted");
    store.lose_the_next_answer();
    let answer = by_keys(&rig, "one", &[("resource", TODO)]).await;
    assert_eq!(answer.status, 200, "the first use is not taken for a second: {answer:?}");
    assert_eq!(refusal(&by_keys(&rig, "one", &[("resource", TODO)]).await).0, 401);
}
