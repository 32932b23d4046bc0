//! Rate limits (G8): each endpoint's own, exact, in the form its callers read, and by all processes together for what makes the
//! store grow.

use std::time::Duration;

use serde_json::json;

use crate::support::rig::{Answer, ISSUER, REDIRECT, Rig, authorize_query, dev_yaml, encode, request};

/// The demo's configuration with limits.
async fn limited(limits: &str) -> Rig {
    Rig::with(&format!("{}limits: {{ {limits} }}\n", dev_yaml(([127, 0, 0, 1], 9).into()))).await
}

async fn register(rig: &Rig) -> Answer {
    let body = json!({ "redirect_uris": [REDIRECT] }).to_string();
    rig.send(request("POST", "/register", &[("content-type", "application/json")], body)).await
}

#[tokio::test]
async fn a_client_is_told_which_limit_it_has_reached_and_how_long_to_wait() {
    // G8
    let rig = limited("register: 1/m, token: 1/m, revoke: 1/m").await;
    for (path, key) in [("/register", "register"), ("/token", "token"), ("/revoke", "revoke")] {
        let first = rig.post(path, &[], &[("client_id", "c_x")]).await;
        assert!([400, 401].contains(&first.status.as_u16()), "{first:?}");
        let refused = rig.post(path, &[], &[("client_id", "c_x")]).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "60"));
        assert_eq!(refused.header("cache-control"), "no-store");
        assert_eq!(refused.header("access-control-allow-origin"), "*");
        assert!(refused.header("access-control-expose-headers").contains("Retry-After"));
        let description =
            format!("too many requests from this address: limits.{key} is 1/m; try again in 60 s");
        assert_eq!(
            refused.json(),
            json!({
                "error": "temporarily_unavailable",
                "error_description": description,
                "error_uri": format!("{ISSUER}/help/rate-limited"),
            })
        );
        let preflight = rig.send(request("OPTIONS", path, &[], String::new())).await;
        assert_eq!(preflight.status, 204, "preflights and the requests after them are not counted");
    }
    assert_eq!(rig.get("/.well-known/oauth-authorization-server", &[]).await.status, 200);
    assert_eq!(rig.call("x").await.status, 401, "nor are calls of a service");
}

#[tokio::test]
async fn a_person_is_told_on_a_page_and_sent_nowhere() {
    // G8, A14
    let rig = limited("authorize: 1/m, callback: 1/m, pages: 1/m").await;
    let query = encode(&authorize_query(&rig.register().await));
    for (target, key) in [
        (format!("/authorize?{query}"), "authorize"),
        ("/callback?state=x&code=y".to_owned(), "callback"),
        ("/dev/login?state=x".to_owned(), "pages"),
    ] {
        assert_ne!(rig.get(&target, &[]).await.status, 429);
        let page = rig.get(&target, &[("accept", "text/html,*/*")]).await;
        assert_eq!((page.status.as_u16(), page.header("retry-after")), (429, "60"));
        assert_eq!((page.header("location"), page.header("access-control-allow-origin")), ("", ""));
        let setting = format!("limits.{key}, which is 1/m");
        for part in ["rate-limited", "Wait 60 seconds", setting.as_str()] {
            assert!(page.body.contains(part), "{part}: {}", page.body);
        }
        let json = rig.get(&target, &[("accept", "application/json")]).await;
        assert_eq!((json.status.as_u16(), &json.json()["error"]), (429, &json!("temporarily_unavailable")));
    }
}

#[tokio::test]
async fn whoever_waits_as_long_as_told_is_let_through_and_not_a_second_earlier() {
    // G8
    let rig = limited("token: 3/m").await;
    let ask = || rig.refresh("c_x", "x", &[]);
    for _ in 0..3 {
        assert_eq!(ask().await.status, 401);
    }
    assert_eq!(ask().await.header("retry-after"), "20");
    rig.clock.advance(Duration::from_secs(19));
    assert_eq!(ask().await.header("retry-after"), "1");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(ask().await.status, 401);
    assert_eq!(ask().await.header("retry-after"), "20");
}

#[tokio::test]
async fn a_limit_that_is_off_stops_nobody() {
    let rig = limited("token: off, register: off, sign_in: off").await;
    for _ in 0..50 {
        assert_eq!(rig.refresh("c_x", "x", &[]).await.status, 401);
    }
    assert_eq!(register(&rig).await.status, 201);
}

#[tokio::test]
async fn all_processes_together_count_what_makes_the_store_grow() {
    // G8
    let one = limited("register: 2/h").await;
    let (two, three) = (one.beside().await, one.beside().await);
    for rig in [&one, &one, &two, &two] {
        assert_eq!(register(rig).await.status, 201);
    }
    let refused = register(&three).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "3600"), "{refused:?}");
    assert!(refused.body.contains("limits.register is 2/h; try again in 3600 s"), "{}", refused.body);
    assert_eq!(refused.header("access-control-allow-origin"), "*");
    one.clock.advance(Duration::from_secs(3599));
    assert_eq!(register(&three).await.header("retry-after"), "1");
    one.clock.advance(Duration::from_secs(1));
    for rig in [&one, &two] {
        assert_eq!(register(rig).await.status, 201);
    }
    let token = two.refresh("c_x", "x", &[]).await;
    assert_eq!(token.status, 401, "another limit");
}

#[tokio::test]
async fn sign_ins_are_counted_where_they_begin() {
    // G8
    let rig = limited("sign_in: 1/10m").await;
    let client = rig.register().await;
    let query = authorize_query(&client);
    let begin = async |rig: &Rig, decision: &str| {
        let page = rig.get(&format!("/authorize?{}", encode(&query)), &[]).await;
        let (token, cookie) = (page.input("form_token"), page.cookies());
        let mut form = query.clone();
        form.extend([("form_token", token.as_str()), ("decision", decision)]);
        rig.post("/authorize", &[("cookie", &cookie), ("origin", ISSUER)], &form).await
    };
    assert_eq!(begin(&rig, "approve").await.status, 303);
    let refused = begin(&rig, "approve").await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "600"));
    assert!(refused.headers.get("location").is_none() && refused.headers.get("set-cookie").is_none());
    for part in ["rate-limited", "Wait 10 minutes", "limits.sign_in, which is 1/10m"] {
        assert!(refused.body.contains(part), "{part}: {}", refused.body);
    }
    assert_eq!(begin(&rig, "deny").await.status, 303, "saying no begins nothing");
    let (two, three) = (rig.beside().await, rig.beside().await);
    assert_eq!(begin(&two, "approve").await.status, 303);
    assert_eq!(begin(&three, "approve").await.status, 429);
}

#[tokio::test]
async fn whoever_has_reached_a_limit_costs_the_store_nothing() {
    // G8
    let (rig, store) = Rig::forgetful_with(
        "limits: { register: 1/h, token: 1/h, authorize: 1/h, callback: 1/h, revoke: 1/h }\n",
    )
    .await;
    let client = register(&rig).await.json()["client_id"].as_str().unwrap().to_owned();
    let target = format!("/authorize?{}", encode(&authorize_query(&client)));
    let all = async || {
        let callback = rig.get("/callback?state=x&code=y", &[("cookie", "portcullis-8080-flow-x=y")]).await;
        let asked = [register(&rig).await, rig.refresh(&client, "x", &[]).await, rig.get(&target, &[]).await];
        let revoked = rig.post("/revoke", &[], &[("client_id", &client), ("token", "x")]).await;
        asked.into_iter().chain([callback, revoked]).map(|answer| answer.status.as_u16()).collect::<Vec<_>>()
    };
    all().await;
    let before = store.operations();
    assert_eq!(all().await, [429; 5]);
    assert_eq!(store.operations(), before);
}

#[tokio::test]
async fn a_changed_rate_holds_after_a_restart() {
    let rig = limited("register: 1/h").await;
    assert_eq!(register(&rig).await.status, 201);
    assert_eq!(register(&rig).await.status, 429);
    let raised = rig.reconfigured(|yaml| yaml.replace("register: 1/h", "register: 2/h")).await;
    for status in [201, 201, 429] {
        assert_eq!(register(&raised).await.status, status);
    }
}
