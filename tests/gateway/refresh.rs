//! Refresh: T8–T13, T15.

use std::time::Duration;

use crate::support::rig::{Answer, Rig};

fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

fn refused(answer: &Answer, error: &str) {
    assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (400, Some(error)), "{answer:?}");
}

async fn signed_in(rig: &Rig) -> (String, String) {
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    (client, tokens["refresh_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_refresh_gives_another_token() {
    // T8
    let rig = Rig::dev().await;
    let (client, first) = signed_in(&rig).await;
    let second = token(&rig.refresh(&client, &first, &[]).await);
    let third = token(&rig.refresh(&client, &second, &[]).await);
    assert!(first != second && second != third);
}

#[tokio::test]
async fn a_retry_and_a_race_get_the_same_successor() {
    // T10
    let rig = Rig::dev().await;
    let (client, first) = signed_in(&rig).await;
    let (one, other) = tokio::join!(rig.refresh(&client, &first, &[]), rig.refresh(&client, &first, &[]));
    assert_eq!(token(&one), token(&other));
    rig.clock.advance(Duration::from_mins(1));
    assert_eq!(token(&rig.refresh(&client, &first, &[]).await), token(&one));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_for_a_day() {
    // T10
    let rig = Rig::dev().await;
    let (client, first) = signed_in(&rig).await;
    let second = token(&rig.refresh(&client, &first, &[]).await);
    rig.clock.advance(Duration::from_hours(23));
    assert_eq!(token(&rig.refresh(&client, &first, &[]).await), second);
}

#[tokio::test]
async fn a_token_that_comes_back_after_its_successor_was_used_revokes_the_grant() {
    // T9
    let rig = Rig::dev().await;
    let (client, first) = signed_in(&rig).await;
    let answer = rig.refresh(&client, &first, &[]).await;
    let second = token(&answer);
    let access = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(rig.call(&access).await.status, 502, "admitted, and nothing listens behind");
    confirmed(&rig, &second, &client).await;
    rig.clock.advance(Duration::from_secs(61));
    refused(&rig.refresh(&client, &first, &[]).await, "invalid_grant");
    refused(&rig.refresh(&client, &second, &[]).await, "invalid_grant");
    assert_eq!(rig.call(&access).await.status, 401);
}

/// Waits until the store says that the newest generation was seen in use.
async fn confirmed(rig: &Rig, refresh: &str, client: &str) {
    use portcullis::oauth::GrantState;
    use portcullis::token::RefreshToken;
    let grant = RefreshToken::parse(refresh).unwrap().grant();
    for _ in 0..100 {
        let now = portcullis::clock::Clock::now(&*rig.clock);
        let loaded = rig.shared.store.grant(grant, now).await.unwrap().unwrap();
        assert_eq!(loaded.value.client.as_str(), client);
        if matches!(loaded.value.state, GrantState::Active { confirmed: true, .. }) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the grant was never confirmed");
}

#[tokio::test]
async fn an_older_token_within_the_grace_is_refused_but_revokes_nothing() {
    // T9
    let rig = Rig::dev().await;
    let (client, first) = signed_in(&rig).await;
    let second = token(&rig.refresh(&client, &first, &[]).await);
    let third = token(&rig.refresh(&client, &second, &[]).await);
    refused(&rig.refresh(&client, &first, &[]).await, "invalid_grant");
    token(&rig.refresh(&client, &third, &[]).await);
}

#[tokio::test]
async fn a_refresh_narrows_and_never_widens() {
    // T11
    let yaml = crate::support::rig::dev_yaml(([127, 0, 0, 1], 9).into())
        .replace("upstream:", "scopes: [a, b], upstream:");
    let rig = Rig::with(&yaml).await;
    let (client, first) = signed_in(&rig).await;
    refused(&rig.refresh(&client, &first, &[("scope", "a b c")]).await, "invalid_scope");
    let narrow = rig.refresh(&client, &first, &[("scope", "a")]).await;
    assert_eq!(narrow.json()["scope"], "a");
    let again = rig.refresh(&client, &token(&narrow), &[]).await;
    assert_eq!(again.json()["scope"], "a b", "the grant keeps its scopes");
}

#[tokio::test]
async fn a_refresh_is_for_its_client_and_its_resource() {
    // T6, T13
    let rig = Rig::dev().await;
    let (client, first) = signed_in(&rig).await;
    let other = rig.register().await;
    refused(&rig.refresh(&other, &first, &[]).await, "invalid_grant");
    refused(
        &rig.refresh(&client, &first, &[("resource", "http://localhost:8080/other")]).await,
        "invalid_target",
    );
    token(&rig.refresh(&client, &first, &[("resource", "http://localhost:8080/mcp/")]).await);
}

#[tokio::test]
async fn a_service_that_is_not_configured_for_a_while_costs_nobody_their_grant() {
    let more = "  other: { url: \"http://localhost:8080/other\", upstream: \"http://127.0.0.1:9/mcp\" }\n";
    let yaml = crate::support::rig::dev_yaml(([127, 0, 0, 1], 9).into()) + more;
    let rig = Rig::with(&yaml).await;
    let (client, first) = signed_in(&rig).await;
    let echo = "  echo: { url: \"http://localhost:8080/mcp\", upstream: \"http://127.0.0.1:9/mcp\" }\n";
    let without = rig.reconfigured(|yaml| yaml.replace(echo, "")).await;
    refused(&without.refresh(&client, &first, &[]).await, "invalid_target");
    let back = without.reconfigured(|yaml| format!("{yaml}{echo}")).await;
    token(&back.refresh(&client, &first, &[]).await);
}

#[tokio::test]
async fn a_client_that_did_not_register_for_refresh_gets_no_refresh_token() {
    // T13
    let rig = Rig::dev().await;
    let body = serde_json::json!({
        "redirect_uris": [crate::support::rig::REDIRECT], "grant_types": ["authorization_code"],
    });
    let registered =
        rig.send(crate::support::rig::request("POST", "/register", &[], body.to_string())).await.json();
    let client = registered["client_id"].as_str().unwrap();
    let tokens = rig.tokens(client, "alice").await;
    assert_eq!(tokens.get("refresh_token"), None);
    refused(&rig.refresh(client, "x", &[]).await, "unauthorized_client");
}

#[tokio::test]
async fn an_idle_grant_ends_after_ninety_days_and_any_after_a_year() {
    let rig = Rig::dev().await;
    let (client, first) = signed_in(&rig).await;
    rig.clock.advance(Duration::from_hours(2184));
    let answer = rig.refresh(&client, &first, &[]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let (client, mut newest) = signed_in(&rig).await;
    for _ in 0..9 {
        rig.clock.advance(Duration::from_hours(960));
        newest = token(&rig.refresh(&client, &newest, &[]).await);
    }
    rig.clock.advance(Duration::from_hours(240));
    refused(&rig.refresh(&client, &newest, &[]).await, "invalid_grant");
}
