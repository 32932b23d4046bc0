//! Keys that rotate: V3, R12, T15.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis::clock::Clock;
use portcullis::gateway::{KeyStatus, keep_keys, list_keys, rotate_keys};
use portcullis::oauth::{GRACE, KeySchedule, KeyState, LEAD, Rotation, TokenLives, WAIT};
use portcullis::store::RingKind;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::rig::{Answer, Rig, dev_yaml, request};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const QUARTER: Duration = Duration::from_hours(90 * 24);

fn short_of(long: Duration, by: Duration) -> Duration {
    long.checked_sub(by).unwrap()
}

async fn keep(rig: &Rig) {
    let schedule = KeySchedule { rotate: Some(QUARTER), lives: TokenLives::default() };
    keep_keys(&rig.shared, &schedule).await.unwrap();
}

async fn rotate(rig: &Rig, kind: RingKind, rotation: Rotation) -> KeyStatus {
    rotate_keys(&rig.shared, kind, rotation, &TokenLives::default()).await.unwrap()
}

/// The keys of one kind, as an operator sees them: name, state.
async fn listed(rig: &Rig, kind: RingKind) -> Vec<(String, KeyState)> {
    let keys = list_keys(&rig.shared, &TokenLives::default()).await.unwrap();
    keys.into_iter().filter(|key| key.kind == kind).map(|key| (key.id.to_string(), key.state)).collect()
}

/// The names of the keys at `/jwks`.
async fn published(rig: &Rig) -> Vec<String> {
    let answer = rig.get("/jwks", &[]).await;
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn text(tokens: &Value, name: &str) -> String {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name}: {tokens}")).to_owned()
}

/// The key that an access token names.
fn kid(access: &str) -> String {
    use base64::Engine as _;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(access.split('.').next().unwrap());
    text(&serde_json::from_slice(&header.unwrap()).unwrap(), "kid")
}

fn mac_key(refresh: &str) -> &str {
    refresh.split('.').next().unwrap()
}

fn invalid_token(answer: &Answer, why: &str) {
    let challenge = answer.header("www-authenticate");
    let wanted = format!("error=\"invalid_token\", error_description=\"{why}\"");
    assert!(answer.status == 401 && challenge.ends_with(&wanted), "{answer:?}");
}

/// A client, its tokens.
async fn signed_in(rig: &Rig) -> (String, Value) {
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    (client, tokens)
}

async fn two() -> [Rig; 2] {
    let yaml = dev_yaml(([127, 0, 0, 1], 9).into());
    Rig::several([&yaml, &yaml]).await
}

// V3
#[tokio::test]
async fn a_key_is_published_before_it_signs_and_until_its_last_token_has_ended() {
    let rig = Rig::dev().await;
    let first = published(&rig).await.remove(0);
    rig.pass(short_of(QUARTER, LEAD + SECOND));
    keep(&rig).await;
    assert_eq!(published(&rig).await, [first.as_str()], "not due yet");
    rig.pass(SECOND);
    keep(&rig).await;
    let both = published(&rig).await;
    assert_eq!((both.len(), &both[0]), (2, &first), "next, a day before");
    let second = both[1].clone();

    rig.pass(short_of(LEAD, SECOND));
    keep(&rig).await;
    let (client, tokens) = signed_in(&rig).await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    assert_eq!(kid(&access), first, "it signs to the last second");
    rig.pass(SECOND);
    keep(&rig).await;
    assert_eq!(published(&rig).await, [second.clone(), first.clone()], "active, retiring");
    let newer = rig.refresh(&client, &refresh, &[]).await.json();
    assert_eq!(kid(&text(&newer, "access_token")), second);
    assert_ne!(mac_key(&text(&newer, "refresh_token")), mac_key(&refresh), "refresh keys rotate likewise");

    rig.pass(short_of(HOUR, 2 * SECOND));
    assert_eq!(rig.call(&access).await.status, 502, "admitted in its last second");
    rig.pass(SECOND);
    invalid_token(&rig.call(&access).await, "the token has expired");
    keep(&rig).await;
    assert_eq!(published(&rig).await.len(), 2, "other processes' clocks are a little behind");
    rig.pass(GRACE);
    keep(&rig).await;
    assert_eq!(published(&rig).await.len(), 2);
    rig.pass(SECOND);
    keep(&rig).await;
    assert_eq!(published(&rig).await, [second.as_str()], "gone");
    assert_eq!(listed(&rig, RingKind::Signing).await, [(second, KeyState::Active)]);
    assert_eq!(listed(&rig, RingKind::Refresh).await.len(), 2, "kept as long as a grant can live");
    assert_eq!(listed(&rig, RingKind::Session).await.len(), 2);
}

// T15
#[tokio::test]
async fn a_refresh_token_of_a_rotated_key_works_as_long_as_its_grant() {
    let rig = Rig::dev().await;
    let (client, tokens) = signed_in(&rig).await;
    let mut refresh = text(&tokens, "refresh_token");
    let first = mac_key(&refresh).to_owned();
    rotate(&rig, RingKind::Refresh, Rotation::AtOnce).await;
    rig.pass(short_of(QUARTER, HOUR));
    keep(&rig).await;
    let answer = rig.refresh(&client, &refresh, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(mac_key(&text(&answer.json(), "refresh_token")), first);
    for _ in 0..4 {
        refresh = text(&rig.refresh(&client, &refresh, &[]).await.json(), "refresh_token");
        rig.pass(short_of(QUARTER, HOUR));
        keep(&rig).await;
    }
    let keys = listed(&rig, RingKind::Refresh).await;
    assert!(keys.iter().all(|(id, _)| *id != first), "after a year and its grace it has left: {keys:?}");
}

// V3: outside verifiers keep the key set as long as it says, and a process reads the rings every 25 s at worst.
#[tokio::test]
async fn an_operators_key_is_published_at_once_and_signs_once_everybody_can_know_it() {
    let rig = Rig::dev().await;
    let (client, tokens) = signed_in(&rig).await;
    let max_age = Duration::from_mins(5);
    assert!(WAIT > max_age + Duration::from_secs(25) + Duration::from_secs(30));

    let next = rotate(&rig, RingKind::Signing, Rotation::AfterWait).await;
    assert_eq!((next.kind, next.state), (RingKind::Signing, KeyState::Next));
    assert_eq!(
        (next.created, next.signs_from, next.leaves),
        (rig.clock.now(), rig.clock.now().after(WAIT), None)
    );
    assert_eq!(rotate(&rig, RingKind::Signing, Rotation::AfterWait).await, next, "asked twice");
    let old = published(&rig).await.remove(0);
    assert_eq!(published(&rig).await, [old.clone(), next.id.to_string()]);
    let refreshed = rig.refresh(&client, &text(&tokens, "refresh_token"), &[]).await.json();
    assert_eq!(kid(&text(&refreshed, "access_token")), old);

    rig.pass(WAIT);
    let refreshed = rig.refresh(&client, &text(&refreshed, "refresh_token"), &[]).await.json();
    assert_eq!(kid(&text(&refreshed, "access_token")), next.id.as_str());
    let keys = list_keys(&rig.shared, &TokenLives::default()).await.unwrap();
    let retiring = keys.iter().find(|key| key.id.as_str() == old).unwrap();
    assert_eq!(retiring.state, KeyState::Retiring);
    assert_eq!(retiring.leaves, Some(next.signs_from.after(HOUR).after(GRACE)));
}

// V3, R12, T15
#[tokio::test]
async fn what_another_process_makes_with_a_new_key_works_here_at_once() {
    let [one, other] = two().await;
    let (client, tokens) = signed_in(&one).await;
    rotate(&one, RingKind::Signing, Rotation::AtOnce).await;
    rotate(&one, RingKind::Refresh, Rotation::AtOnce).await;
    let answer = one.refresh(&client, &text(&tokens, "refresh_token"), &[]).await.json();
    let (access, refresh) = (text(&answer, "access_token"), text(&answer, "refresh_token"));
    assert_ne!(kid(&access), kid(&text(&tokens, "access_token")));
    assert_ne!(mac_key(&refresh), mac_key(&text(&tokens, "refresh_token")));

    assert_eq!(other.call(&access).await.status, 502, "admitted, and nothing listens behind");
    assert_eq!(other.call(&text(&tokens, "access_token")).await.status, 502, "so is the older one");
    let answer = other.refresh(&client, &refresh, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(kid(&text(&answer.json(), "access_token")), kid(&access));

    rotate(&one, RingKind::Refresh, Rotation::AtOnce).await;
    let newest = one.refresh(&client, &text(&answer.json(), "refresh_token"), &[]).await.json();
    one.clock.advance(Duration::from_secs(5));
    let form = [("token", text(&newest, "refresh_token")), ("client_id", client.clone())];
    let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(other.post("/revoke", &[], &form).await.status, 200);
    let ended = other.refresh(&client, &text(&newest, "refresh_token"), &[]).await;
    assert_eq!(
        (ended.status.as_u16(), &ended.json()["error"]),
        (400, &"invalid_grant".into()),
        "it was revoked"
    );
}

// V3, T15
#[tokio::test]
async fn of_two_processes_that_rotate_at_once_one_wins_and_both_follow() {
    let [one, other] = two().await;
    one.clock.advance(QUARTER);
    tokio::join!(keep(&one), keep(&other));
    tokio::join!(keep(&one), keep(&other));
    assert_eq!(published(&one).await.len(), 2);
    assert_eq!(published(&one).await, published(&other).await);
    for kind in RingKind::ALL {
        assert_eq!(listed(&one, kind).await.len(), 2, "{kind:?}");
    }
}

#[tokio::test]
async fn a_rotation_whose_answer_was_lost_is_done_once() {
    let (rig, store) = Rig::forgetful().await;
    for kind in RingKind::ALL {
        store.lose_the_next_answer();
        let new = rotate(&rig, kind, Rotation::AtOnce).await;
        assert_eq!(new.state, KeyState::Active);
        let keys = listed(&rig, kind).await;
        assert_eq!((keys.len(), &keys[0].0), (2, &new.id.to_string()), "one new key, not two");
    }
}

// V3: it has what it knew a day ago in memory.
#[tokio::test]
async fn a_process_that_slept_brings_no_key_back_and_signs_with_none_that_the_others_forgot() {
    let [awake, asleep] = two().await;
    let (client, tokens) = signed_in(&asleep).await;
    let forgotten = published(&awake).await.remove(0);
    rotate(&awake, RingKind::Signing, Rotation::AtOnce).await;
    let current = published(&awake).await.remove(0);
    awake.clock.advance(Duration::from_hours(24));
    keep(&awake).await;
    assert_eq!(published(&awake).await, [current.as_str()]);
    assert_eq!(published(&asleep).await, [forgotten], "it knows nothing of this");

    let answer = asleep.refresh(&client, &text(&tokens, "refresh_token"), &[]).await.json();
    assert_eq!(kid(&text(&answer, "access_token")), current);
    keep(&asleep).await;
    assert_eq!(published(&asleep).await, [current.as_str()]);
    assert_eq!(published(&awake).await, [current], "nothing came back");
}

#[tokio::test]
async fn a_signing_key_that_was_given_away_is_refused_here_at_once_and_elsewhere_when_it_looks() {
    let [one, other] = two().await;
    let (client, tokens) = signed_in(&one).await;
    let access = text(&tokens, "access_token");
    for rig in [&one, &other] {
        assert_eq!(rig.call(&access).await.status, 502, "admitted, and remembered");
    }
    let new = rotate(&one, RingKind::Signing, Rotation::Compromised).await;
    assert_eq!(published(&one).await, [new.id.to_string()]);
    invalid_token(&one.call(&access).await, "the token's key is unknown");
    let answer = one.refresh(&client, &text(&tokens, "refresh_token"), &[]).await;
    assert_eq!(answer.status, 200, "the client refreshes, and nobody signs in again: {answer:?}");
    assert_eq!(kid(&text(&answer.json(), "access_token")), new.id.as_str());
    keep(&other).await;
    invalid_token(&other.call(&access).await, "the token's key is unknown");
    assert_eq!(other.call(&text(&answer.json(), "access_token")).await.status, 502);
}

#[tokio::test]
async fn a_refresh_key_that_was_given_away_ends_its_tokens_and_revokes_nothing() {
    let rig = Rig::dev().await;
    let (client, tokens) = signed_in(&rig).await;
    rotate(&rig, RingKind::Refresh, Rotation::Compromised).await;
    let answer = rig.refresh(&client, &text(&tokens, "refresh_token"), &[]).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (400, &"invalid_grant".into()));
    assert_eq!(rig.call(&text(&tokens, "access_token")).await.status, 502, "its access token ends by itself");
    let again = rig.tokens(&client, "alice").await;
    assert_eq!(rig.refresh(&client, &text(&again, "refresh_token"), &[]).await.status, 200);
}

/// A server that gives every request the session `upstream-1`, and says which one it was sent.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.windows(4).any(|window| window == b"\r\n\r\n") {
                    if socket.read_buf(&mut read).await.unwrap() == 0 {
                        return;
                    }
                }
                let head = String::from_utf8_lossy(&read).to_lowercase();
                let sent =
                    head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).unwrap_or("none");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nmcp-session-id: upstream-1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{sent}",
                    sent.len()
                );
                socket.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    address
}

/// Calls the service within a session.
async fn call_in(rig: &Rig, access: &str, session: &str) -> Answer {
    let bearer = format!("Bearer {access}");
    let mut headers = vec![("authorization", bearer.as_str()), ("mcp-protocol-version", "2025-06-18")];
    headers.extend((!session.is_empty()).then_some(("mcp-session-id", session)));
    rig.send(request("GET", "/mcp", &headers, String::new())).await
}

// P11
#[tokio::test]
async fn a_session_of_another_processs_new_key_goes_on_here_and_one_of_a_key_that_was_given_away_has_ended() {
    let yaml = dev_yaml(upstream().await);
    let [one, other] = Rig::several([&yaml, &yaml]).await;
    let (_, tokens) = signed_in(&one).await;
    let access = text(&tokens, "access_token");
    let before = call_in(&one, &access, "").await.header("mcp-session-id").to_owned();
    rotate(&one, RingKind::Session, Rotation::AtOnce).await;
    let after = call_in(&one, &access, "").await.header("mcp-session-id").to_owned();
    for (rig, session) in [(&other, &after), (&other, &before), (&one, &before), (&one, &after)] {
        let answer = call_in(rig, &access, session).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "upstream-1"));
    }
    rotate(&one, RingKind::Session, Rotation::Compromised).await;
    assert_eq!(call_in(&one, &access, &after).await.status, 404, "the client begins a new session");
    assert_eq!(call_in(&one, &access, "").await.status, 200);
}
