//! Another `secret_key`: nobody is signed out, nothing on its way breaks off (finding `secret-key-changed`).

use std::time::Duration;

use portcullis::store::Resealed;

use crate::support::rig::{Answer, Rig, authorize_query, dev_yaml, encode};

fn old() -> String {
    "5a".repeat(32)
}

fn new() -> String {
    "c3".repeat(32)
}

/// A configuration with these keys.
fn yaml(secret_key: &str, previous: Option<&str>) -> String {
    let previous = previous.map(|key| format!("\nsecret_key_previous: {key}")).unwrap_or_default();
    dev_yaml(([127, 0, 0, 1], 9).into()).replace(&old(), &format!("{secret_key}{previous}"))
}

fn text(answer: &serde_json::Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned()
}

/// What stands open in a browser and in a client while the key is changed.
struct Open {
    client: String,
    access: String,
    refresh: String,
    /// The consent page: its cookies and form token.
    page: (String, String),
    /// A sign-in that went to the identity provider: the way back, and the cookie.
    flow: (String, String),
}

async fn approve(rig: &Rig, client: &str, (cookies, token): &(String, String)) -> Answer {
    let mut form = authorize_query(client);
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    rig.post("/authorize", &[("cookie", cookies)], &form).await
}

async fn page(rig: &Rig, client: &str) -> (String, String) {
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(client))), &[]).await;
    (page.cookies(), page.input("form_token"))
}

async fn open(rig: &Rig) -> Open {
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let sent = approve(rig, &client, &page(rig, &client).await).await;
    let state = sent.location("state").unwrap();
    Open {
        access: text(&tokens, "access_token"),
        refresh: text(&tokens, "refresh_token"),
        page: page(rig, &client).await,
        flow: (format!("/callback?{}", encode(&[("code", "bob"), ("state", &state)])), sent.cookies()),
        client,
    }
}

/// All of it goes on; the tokens that the client has then.
async fn goes_on(rig: &Rig, open: Open) -> Open {
    assert_eq!(rig.call(&open.access).await.status, 502, "admitted, and nothing listens behind");
    let refreshed = rig.refresh(&open.client, &open.refresh, &[]).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let approved = approve(rig, &open.client, &open.page).await;
    assert_eq!(approved.status, 303, "the page that was open: {approved:?}");
    let back = rig.get(&open.flow.0, &[("cookie", &open.flow.1)]).await;
    let code = back.location("code").unwrap_or_else(|| panic!("the sign-in that was under way: {back:?}"));
    assert_eq!(rig.redeem(&open.client, &code, &[]).await.status, 200);
    Open {
        access: text(&refreshed.json(), "access_token"),
        refresh: text(&refreshed.json(), "refresh_token"),
        ..open
    }
}

/// Seals again until nothing is left.
async fn reseal(rig: &Rig) {
    for _ in 0..10 {
        if matches!(rig.shared.store.reseal().await.unwrap(), Resealed::NoneLeft) {
            return;
        }
    }
    panic!("something is always left");
}

// trouble: secret-key-changed
#[tokio::test]
async fn a_changed_secret_key_breaks_nothing_off() {
    let rig = Rig::with(&yaml(&old(), None)).await;
    let before = open(&rig).await;
    let changed = format!("{}\nsecret_key_previous: {}", new(), old());
    let rig = rig.reconfigured(|yaml| yaml.replace(&old(), &changed)).await;
    let open_still = goes_on(&rig, before).await;
    reseal(&rig).await;
    let rig = rig.reconfigured(|yaml| yaml.replace(&changed, &new())).await;
    let refreshed = rig.refresh(&open_still.client, &open_still.refresh, &[]).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_eq!(rig.call(&open_still.access).await.status, 502);
    let fresh = open(&rig).await;
    goes_on(&rig, fresh).await;
}

// T15: the first of two steps has given both processes both keys; one is restarted with the keys swapped.
#[tokio::test]
async fn in_two_steps_no_process_meets_anything_that_it_cannot_open() {
    let [behind, ahead] = Rig::several([&yaml(&old(), Some(&new())), &yaml(&new(), Some(&old()))]).await;
    for (begun, ended) in [(&behind, &ahead), (&ahead, &behind)] {
        let opened = open(begun).await;
        goes_on(ended, opened).await;
    }
    reseal(&ahead).await;
    let opened = open(&behind).await;
    behind.pass(Duration::from_mins(2));
    goes_on(&ahead, opened).await;
}

// T15: nobody gave it the other key before. What it has read stays in use; a sign-in must end where it began.
#[tokio::test]
async fn a_process_that_knows_the_old_key_only_serves_on_until_it_is_restarted() {
    let [behind, ahead] = Rig::several([&yaml(&old(), None), &yaml(&new(), Some(&old()))]).await;
    reseal(&ahead).await;
    for _ in 0..3 {
        behind.pass(Duration::from_mins(2));
        let opened = open(&behind).await;
        let opened = goes_on(&behind, opened).await;
        ahead.pass(Duration::ZERO);
        assert_eq!(ahead.call(&opened.access).await.status, 502);
        let refreshed = ahead.refresh(&opened.client, &opened.refresh, &[]).await;
        assert_eq!(behind.call(&text(&refreshed.json(), "access_token")).await.status, 502);
    }
}
