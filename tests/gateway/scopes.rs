//! Scopes at the edge, through the whole gateway: R7, R8, R9. What a token allows is decided by its own claims, not by what a client
//! says of its request in headers (P10).

use portcullis::oauth::Scopes;
use portcullis::time::Timestamp;
use portcullis::token;

use crate::clients::{SECRET, credentials};
use crate::support::rig::{Answer, ISSUER, Rig, dev_yaml, request};

const METADATA: &str = "http://localhost:8080/.well-known/oauth-protected-resource/mcp";

/// A service that needs these scopes, with this hierarchy, and a client of its own that may have `allowed`.
fn yaml(scopes: &str, implies: &str, allowed: &str) -> String {
    dev_yaml(([127, 0, 0, 1], 9).into())
        .replace("/mcp\" }", &format!("/mcp\", scopes: {scopes}, implies: {implies} }}"))
        + &format!(
            "clients:
  registered:
    ci: {{ grant_types: [client_credentials], secret: \"{SECRET}\", services: {{ echo: {allowed} }} }}
"
        )
}

const TODO: &str = "{ admin: [todo:write], todo:write: [todo:read, todo:list], todo:list: [todo:count] }";

/// A token of alice that says it allows these.
async fn token(rig: &Rig, scopes: &str) -> String {
    let client = rig.register().await;
    let token = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    allowing(rig, &token, scopes)
}

/// The same token, signed anew, with other scopes.
fn allowing(rig: &Rig, token: &str, scopes: &str) -> String {
    let keys = rig.shared.signing.load();
    let now = Timestamp::from_seconds(1_800_000_000);
    let mut claims = token::verify(token, &keys, ISSUER, now).unwrap().claims().clone();
    claims.scopes = Scopes::parse(scopes);
    keys.mint(&claims).unwrap().expose().to_owned()
}

async fn call(rig: &Rig, token: &str, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut all = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    all.extend_from_slice(headers);
    rig.send(request("POST", "/mcp", &all, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.into())).await
}

/// 403 with a challenge for exactly these scopes.
fn lacks(answer: &Answer, scopes: &str) {
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(
        answer.header("www-authenticate"),
        format!(
            "Bearer resource_metadata=\"{METADATA}\", scope=\"{scopes}\", error=\"insufficient_scope\", \
             error_description=\"the token lacks a scope\""
        )
    );
    let expected = serde_json::json!({
        "jsonrpc": "2.0", "id": null,
        "error": { "code": -32000, "message": "the token lacks a scope", "data": {
            "finding": "insufficient_scope",
            "trouble": "scope-403",
            "help": "http://localhost:8080/help/scope-403",
            "request_id": answer.header("x-request-id"),
        } },
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_token_that_lacks_a_scope_is_told_all_that_it_needs_beside_what_it_has() {
    // R7, R8, D5
    let rig = Rig::with(&yaml("[todo:read, todo:share]", TODO, "[admin, todo:share]")).await;
    for (granted, asked) in [
        ("todo:read", "todo:read todo:share"),
        ("todo:share", "todo:read todo:share"),
        ("todo:count offline_access", "todo:count todo:read todo:share"),
        ("", "todo:read todo:share"),
        ("todo:write", "todo:read todo:share todo:write"),
        ("todo:READ", "todo:READ todo:read todo:share"),
    ] {
        let token = token(&rig, granted).await;
        lacks(&call(&rig, &token, &[]).await, asked);
    }
    for granted in ["todo:read todo:share", "todo:share todo:read x", "todo:share todo:write offline_access"]
    {
        let token = token(&rig, granted).await;
        assert_eq!(
            call(&rig, &token, &[]).await.status,
            502,
            "{granted}: admitted, and nothing listens behind"
        );
    }
}

#[tokio::test]
async fn a_scope_that_contains_the_needed_one_is_enough_however_far_down_it_lies() {
    // R9
    let rig = Rig::with(&yaml("[todo:count]", TODO, "[admin]")).await;
    for granted in ["todo:count", "todo:list", "todo:write", "admin"] {
        let token = token(&rig, granted).await;
        assert_eq!(call(&rig, &token, &[]).await.status, 502, "{granted}");
    }
    for (granted, asked) in [("todo:read", "todo:count todo:read"), ("mcp", "mcp todo:count")] {
        let token = token(&rig, granted).await;
        lacks(&call(&rig, &token, &[]).await, asked);
    }
}

#[tokio::test]
async fn a_hierarchy_that_goes_in_a_circle_gives_no_more_than_it_says() {
    // R9
    let rig = Rig::with(&yaml("[a]", "{ a: [b], b: [c], c: [a], d: [e] }", "[c]")).await;
    for granted in ["a", "b", "c"] {
        let token = token(&rig, granted).await;
        assert_eq!(call(&rig, &token, &[]).await.status, 502, "{granted}");
    }
    let token = token(&rig, "d").await;
    lacks(&call(&rig, &token, &[]).await, "a d");
}

#[tokio::test]
async fn a_client_s_own_token_is_held_against_the_same_scopes() {
    // R7, R8, R9
    let rig = Rig::with(&yaml("[todo:count]", TODO, "[admin, todo:read]")).await;
    let answer = credentials(&rig, "ci", &[("scope", "admin")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let own = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(call(&rig, &own, &[]).await.status, 502, "admin contains todo:count");
    lacks(&call(&rig, &allowing(&rig, &own, "todo:read"), &[]).await, "todo:count todo:read");
    let beyond = call(&rig, &allowing(&rig, &own, "admin todo:share"), &[]).await;
    assert_eq!(beyond.status, 401, "enough, but more than the configuration gives it: {beyond:?}");
}

#[tokio::test]
async fn what_a_client_says_of_its_request_in_headers_gives_it_nothing() {
    // P10: the body is not read, so nothing that a header says of it is believed.
    let rig = Rig::with(&yaml("[todo:read]", TODO, "[admin]")).await;
    let narrow = token(&rig, "todo:count").await;
    let wide = token(&rig, "todo:read").await;
    for lie in [
        &[("mcp-method", "ping")][..],
        &[("mcp-method", "initialize")],
        &[("mcp-method", "server/discover")],
        &[("mcp-method", "tools/call"), ("mcp-name", "public_tool")],
        &[("mcp-name", "=?base64?cHVibGlj?=")],
        &[("mcp-method", "subscriptions/listen"), ("mcp-protocol-version", "2026-07-28")],
        &[("mcp-param-scope", "todo:read")],
        &[("mcp-protocol-version", "1999-01-01")],
        &[("mcp-session-id", "stolen")],
    ] {
        lacks(&call(&rig, &narrow, lie).await, "todo:count todo:read");
        let anonymous = rig.send(request("POST", "/mcp", lie, String::new())).await;
        assert_eq!(anonymous.status, 401, "{lie:?}");
        let admitted = call(&rig, &wide, lie).await.status.as_u16();
        let is_session = lie[0].0 == "mcp-session-id";
        assert_eq!(admitted, if is_session { 404 } else { 502 }, "{lie:?}: nor does it take anything away");
    }
}
