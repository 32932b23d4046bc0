//! `POST /introspect` (RFC 7662): V2.

use std::time::Duration;

use serde_json::json;

use crate::clients::{SECRET, basic, credentials, refusal, rig, yaml};
use crate::support::rig::{Answer, ISSUER, RESOURCE, Rig, request};

async fn introspect(rig: &Rig, more: &[(&str, &str)]) -> Answer {
    rig.post("/introspect", &[("authorization", &basic("server", SECRET))], more).await
}

async fn is_inactive(rig: &Rig, token: &str, what: &str) {
    let answer = introspect(rig, &[("token", token)]).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"), "{what}");
    assert_eq!(answer.body, "{\"active\":false}", "{what}");
}

async fn is_active(rig: &Rig, token: &str) -> bool {
    introspect(rig, &[("token", token)]).await.json()["active"] == true
}

#[tokio::test]
async fn an_active_access_token_is_told_with_what_it_says() {
    // V2
    let rig = rig().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let access = tokens["access_token"].as_str().unwrap();
    for hint in ["access_token", "refresh_token", "unheard-of", ""] {
        let answer = introspect(&rig, &[("token", access), ("token_type_hint", hint)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
        assert_eq!(answer.headers.get("access-control-allow-origin"), None, "not for scripts");
        let mut told = answer.json();
        for random in ["jti", "sid"] {
            assert!(told.as_object_mut().unwrap().remove(random).is_some(), "{random}");
        }
        assert_eq!(
            told,
            json!({
                "active": true, "scope": "mcp", "client_id": client, "username": "alice",
                "token_type": "Bearer", "exp": 1_800_003_600, "iat": 1_800_000_000, "sub": "dev:alice",
                "aud": RESOURCE, "iss": ISSUER,
            })
        );
    }
}

#[tokio::test]
async fn an_active_refresh_token_is_told_too() {
    // V2
    let rig = rig().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let mut told = introspect(&rig, &[("token", refresh)]).await.json();
    assert!(told.as_object_mut().unwrap().remove("sid").is_some());
    assert_eq!(
        told,
        json!({
            "active": true, "scope": "mcp", "client_id": client, "username": "alice",
            "exp": 1_800_000_000 + 90 * 86_400, "sub": "dev:alice", "aud": RESOURCE, "iss": ISSUER,
        })
    );
    let next = rig.refresh(&client, refresh, &[]).await;
    assert_eq!(next.status, 200, "asking has not used it up: {next:?}");
}

#[tokio::test]
async fn a_client_s_own_token_is_told_as_such() {
    // V2
    let rig = rig().await;
    let answer = credentials(&rig, "ci", &[]).await.json();
    let told = introspect(&rig, &[("token", answer["access_token"].as_str().unwrap())]).await.json();
    assert_eq!((&told["sub"], &told["username"]), (&json!("client:ci"), &json!("Nightly CI")));
}

#[tokio::test]
async fn of_what_is_not_active_nothing_else_is_told() {
    // V2
    let rig = rig().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let [access, refresh] = ["access_token", "refresh_token"].map(|kind| tokens[kind].as_str().unwrap());
    for (token, what) in [
        ("x", "nonsense"),
        ("a.b.c", "three parts"),
        ("a.b.c.d", "four parts"),
        (&access[..access.len() - 4], "a cut signature"),
        (&refresh[..refresh.len() - 4], "a cut MAC"),
    ] {
        is_inactive(&rig, token, what).await;
    }
    assert!(is_active(&rig, access).await && is_active(&rig, refresh).await);
    let form = [("token", access), ("client_id", client.as_str())];
    assert_eq!(rig.post("/revoke", &[], &form).await.status, 200);
    is_inactive(&rig, access, "revoked").await;
    is_inactive(&rig, refresh, "revoked").await;
}

#[tokio::test]
async fn a_token_is_active_until_its_end_and_a_refresh_token_until_it_is_spent() {
    // V2
    let rig = Rig::with(&(yaml() + "revocation_staleness: 2h\n")).await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let [access, first] = ["access_token", "refresh_token"].map(|kind| tokens[kind].as_str().unwrap());
    let second = rig.refresh(&client, first, &[]).await.json();
    let second = second["refresh_token"].as_str().unwrap();
    assert!(is_active(&rig, first).await, "within its grace it would yield the same successor");
    let third = rig.refresh(&client, second, &[]).await.json();
    is_inactive(&rig, first, "two generations old").await;
    assert!(is_active(&rig, third["refresh_token"].as_str().unwrap()).await, "asking was no theft");
    rig.clock.advance(Duration::from_secs(3599));
    assert!(is_active(&rig, access).await);
    rig.clock.advance(Duration::from_secs(1));
    is_inactive(&rig, access, "expired").await;
}

#[tokio::test]
async fn a_refresh_token_of_a_client_that_is_gone_is_not_active() {
    // V2, G10
    let rig = rig().await;
    let registration = json!({ "redirect_uris": [crate::support::rig::REDIRECT] }).to_string();
    let client = rig.send(request("POST", "/register", &[], registration)).await.json();
    let id = client["client_id"].as_str().unwrap();
    let tokens = rig.tokens(id, "alice").await;
    let bearer = format!("Bearer {}", client["registration_access_token"].as_str().unwrap());
    let gone = request("DELETE", &format!("/register/{id}"), &[("authorization", &bearer)], String::new());
    assert_eq!(rig.send(gone).await.status, 204);
    is_inactive(&rig, tokens["refresh_token"].as_str().unwrap(), "deleted").await;
    is_inactive(&rig, tokens["access_token"].as_str().unwrap(), "deleted").await;
}

#[tokio::test]
async fn what_the_guard_would_refuse_is_not_active() {
    // V2
    let rig = rig().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let [access, refresh] = ["access_token", "refresh_token"].map(|kind| tokens[kind].as_str().unwrap());
    let rig = rig.reconfigured(|yaml| yaml.replace("users: [\"*\"]", "users: [\"dev:bob\"]")).await;
    is_inactive(&rig, access, "other access rules").await;
    is_inactive(&rig, refresh, "nobody who is let in").await;
    let rig = rig.reconfigured(|yaml| yaml.replace("users: [\"dev:bob\"]", "users: [\"*\", carol]")).await;
    assert!(is_active(&rig, refresh).await, "let in again");
    let away = rig
        .reconfigured(|yaml| {
            yaml.replace("services: { echo: [mcp], todo", "services: { todo")
                .replace("  echo: {", "  other: {")
                .replace("8080/mcp\"", "8080/other/mcp\"")
        })
        .await;
    is_inactive(&away, access, "a service that is not there").await;
    is_inactive(&away, refresh, "a service that is not there").await;
}

#[tokio::test]
async fn only_an_authenticated_client_that_may_is_told_anything() {
    // V2
    let rig = rig().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let token = [("token", tokens["access_token"].as_str().unwrap())];
    let wrong = basic("server", &"x".repeat(32));
    let unknown = basic("nobody", SECRET);
    for (header, challenge) in [
        (None, "Basic realm=\"portcullis\""),
        (Some(&wrong), "Basic realm=\"portcullis\""),
        (Some(&unknown), "Basic realm=\"portcullis\""),
    ] {
        let headers: Vec<_> = header.map(|header| ("authorization", header.as_str())).into_iter().collect();
        let answer = rig.post("/introspect", &headers, &token).await;
        assert_eq!(refusal(&answer), (401, "invalid_client".into()), "{header:?}");
        assert_eq!(answer.header("www-authenticate"), challenge);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let named = rig.post("/introspect", &[], &[token[0], ("client_id", "server")]).await;
    assert_eq!(refusal(&named), (401, "invalid_client".into()), "its name alone is no proof");
    let ci = rig.post("/introspect", &[("authorization", &basic("ci", SECRET))], &token).await;
    assert_eq!(refusal(&ci), (403, "unauthorized_client".into()));
    let public = rig.post("/introspect", &[], &[token[0], ("client_id", &client)]).await;
    assert_eq!(refusal(&public), (403, "unauthorized_client".into()), "not even the token's own client");
    assert_eq!(refusal(&introspect(&rig, &[]).await), (400, "invalid_request".into()));
    let json = [("content-type", "application/json"), ("authorization", &basic("server", SECRET)[..])];
    let json = rig.send(request("POST", "/introspect", &json, "{}".into())).await;
    assert_eq!(refusal(&json), (400, "invalid_request".into()));
    let get = rig.get("/introspect", &[]).await;
    assert_eq!((get.status.as_u16(), get.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn what_is_advertised_is_there_and_the_rest_is_not_advertised() {
    // D12, D15, D16
    let document = "/.well-known/oauth-authorization-server";
    let rig = rig().await;
    let told = rig.get(document, &[]).await.json();
    let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    let with_none = json!(["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]);
    assert_eq!(told["token_endpoint_auth_methods_supported"], with_none);
    assert_eq!(told["revocation_endpoint_auth_methods_supported"], with_none);
    assert_eq!(told["introspection_endpoint_auth_methods_supported"], methods);
    assert_eq!(told["introspection_endpoint"], format!("{ISSUER}/introspect"));
    assert_eq!(
        told["grant_types_supported"],
        json!(["authorization_code", "refresh_token", "client_credentials"])
    );
    assert_eq!(told["token_endpoint_auth_signing_alg_values_supported"], json!(["ES256", "RS256", "EdDSA"]));
    let plain = Rig::dev().await;
    let told = plain.get(document, &[]).await.json();
    assert_eq!(told["token_endpoint_auth_methods_supported"], json!(["none"]));
    assert_eq!(told.get("introspection_endpoint"), None);
    let registered = plain.register().await;
    let answer = plain.post("/introspect", &[], &[("token", "x"), ("client_id", &registered)]).await;
    assert_eq!(refusal(&answer), (403, "unauthorized_client".into()), "there all the same, and for nobody");
    let hosts = Rig::with(crate::discovery::TWO_HOSTS).await;
    let proxied = [("host", "fetch.example.com"), ("x-forwarded-proto", "https")];
    assert_eq!(hosts.post("/introspect", &proxied, &[]).await.status, 404, "at the issuer only");
}
