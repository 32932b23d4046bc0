//! An answer of the store that is lost after the deed: it is never taken for a replay, and nobody is signed out by it (T3,
//! T9, T15).

use portcullis::clock::Clock;
use portcullis::oauth::GrantState;
use portcullis::token::RefreshToken;

use crate::support::rig::{REDIRECT, Rig};

async fn generation(rig: &Rig, refresh: &str) -> u64 {
    let grant = RefreshToken::parse(refresh).unwrap().grant();
    let loaded = rig.shared.store.grant(grant, rig.clock.now()).await.unwrap().unwrap();
    let GrantState::Active { generation, .. } = loaded.value.state else { panic!("{loaded:?}") };
    generation
}

#[tokio::test]
async fn a_redemption_whose_answer_was_lost_still_gives_its_tokens_and_only_once() {
    let (rig, store) = Rig::forgetful().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    store.lose_the_next_answer();
    let answer = rig.redeem(&client, &code, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let tokens = answer.json();
    assert_eq!(generation(&rig, tokens["refresh_token"].as_str().unwrap()).await, 1);
    assert_eq!(rig.call(tokens["access_token"].as_str().unwrap()).await.status, 502, "admitted");
    assert_eq!(rig.redeem(&client, &code, &[]).await.status, 400);
}

#[tokio::test]
async fn a_refresh_whose_answer_was_lost_advances_by_one() {
    let (rig, store) = Rig::forgetful().await;
    let client = rig.register().await;
    let first = rig.tokens(&client, "alice").await["refresh_token"].as_str().unwrap().to_owned();
    store.lose_the_next_answer();
    let answer = rig.refresh(&client, &first, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let second = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(generation(&rig, &second).await, 2);
    assert_eq!(rig.refresh(&client, &second, &[]).await.status, 200);
}

#[tokio::test]
async fn a_revocation_whose_answer_was_lost_holds_here_at_once() {
    let (rig, store) = Rig::forgetful().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(rig.call(access).await.status, 502);
    store.lose_the_next_answer();
    let form = [("token", tokens["refresh_token"].as_str().unwrap()), ("client_id", &client)];
    assert_eq!(rig.post("/revoke", &[], &form).await.status, 200);
    assert_eq!(rig.call(access).await.status, 401);
}

#[tokio::test]
async fn an_approval_whose_answer_was_lost_still_brings_its_code() {
    let (rig, store) = Rig::forgetful().await;
    let client = rig.register().await;
    let session = rig.sign_in(&crate::support::rig::authorize_query(&client), "alice").await.cookies();
    let target =
        format!("/authorize?{}", crate::support::rig::encode(&crate::support::rig::authorize_query(&client)));
    let page = rig.get(&target, &[("cookie", &session)]).await;
    let (token, cookies) = (page.input("form_token"), format!("{session}; {}", page.cookies()));
    let mut form = crate::support::rig::authorize_query(&client);
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    store.lose_the_next_answer();
    let answer = rig.post("/authorize", &[("cookie", &cookies)], &form).await;
    assert!(answer.header("location").starts_with(REDIRECT), "{answer:?}");
    let code = answer.location("code").unwrap();
    assert_eq!(rig.redeem(&client, &code, &[]).await.status, 200);
}
