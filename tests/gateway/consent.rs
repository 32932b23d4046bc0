//! The consent page and the way back from the identity provider: C1–C11.

use std::time::Duration;

use crate::support::rig::{Answer, ISSUER, RESOURCE, Rig, authorize_query, encode, request};

/// A page with its cookie, and the form a browser would post from it.
struct Opened {
    cookie: String,
    token: String,
}

async fn open(rig: &Rig, client: &str, cookies: &str) -> (Answer, Opened) {
    let target = format!("/authorize?{}", encode(&authorize_query(client)));
    let page = rig.get(&target, &[("cookie", cookies)]).await;
    assert_eq!(page.status, 200, "{page:?}");
    let cookie =
        [cookies.to_owned(), page.cookies()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let opened = Opened { cookie: cookie.join("; "), token: page.input("form_token") };
    (page, opened)
}

async fn decide(
    rig: &Rig,
    client: &str,
    opened: &Opened,
    decision: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut form = authorize_query(client);
    form.extend([("form_token", opened.token.as_str()), ("decision", decision)]);
    let mut all = vec![("cookie", opened.cookie.as_str())];
    all.extend_from_slice(headers);
    rig.post("/authorize", &all, &form).await
}

#[tokio::test]
async fn the_page_says_what_is_asked_and_cannot_be_framed_or_scripted() {
    // C2, C3, C5, C6
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (page, _) = open(&rig, &client, "").await;
    for part in ["Rig", "localhost", RESOURCE, "this computer", "dev"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let policy =
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    assert_eq!(page.header("content-security-policy"), policy);
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("referrer-policy"), "same-origin");
    assert_eq!(page.header("cache-control"), "no-store");
    let cookie = page.header("set-cookie");
    assert!(
        cookie.starts_with("portcullis-8080-form=") && cookie.ends_with("HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
}

#[tokio::test]
async fn nothing_is_decided_without_the_page_s_own_form() {
    // C4
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (_, opened) = open(&rig, &client, "").await;
    let (_, other) = open(&rig, &client, "").await;
    let mixed = Opened { cookie: other.cookie, token: opened.token.clone() };
    let bare = Opened { cookie: String::new(), token: opened.token.clone() };
    let forged = Opened { cookie: opened.cookie.clone(), token: format!("{}x", opened.token) };
    let none = Opened { cookie: opened.cookie.clone(), token: String::new() };
    for wrong in [mixed, bare, forged, none] {
        let answer = decide(&rig, &client, &wrong, "approve", &[("origin", ISSUER)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""));
        assert!(
            answer.body.contains("Start again") && answer.body.contains("/authorize?"),
            "{}",
            answer.body
        );
    }
    let elsewhere = rig.register().await;
    let answer = decide(&rig, &elsewhere, &opened, "approve", &[("origin", ISSUER)]).await;
    assert_eq!(answer.status, 400, "a form of one client is none of another");
    rig.clock.advance(Duration::from_secs(3601));
    assert_eq!(decide(&rig, &client, &opened, "approve", &[("origin", ISSUER)]).await.status, 400);
}

#[tokio::test]
async fn a_consent_is_for_exactly_what_the_page_showed() {
    // C10, A5, A11: whoever changes what is asked for asks again, a session or not.
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let session = rig.sign_in(&authorize_query(&client), "alice").await.cookies();
    for cookies in ["", session.as_str()] {
        let (_, opened) = open(&rig, &client, cookies).await;
        for (name, changed) in [
            ("redirect_uri", "http://localhost:9999/callback"),
            ("scope", "mcp offline_access"),
            ("state", "another"),
            ("resource", "http://localhost:8080/"),
            ("code_challenge", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ] {
            let mut form = authorize_query(&client);
            form.retain(|(parameter, _)| *parameter != name);
            form.extend([(name, changed), ("form_token", opened.token.as_str()), ("decision", "approve")]);
            let answer =
                rig.post("/authorize", &[("cookie", &opened.cookie), ("origin", ISSUER)], &form).await;
            assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""), "{name}");
            assert!(answer.body.contains("Start again"), "{name}: {}", answer.body);
        }
        let answer = decide(&rig, &client, &opened, "approve", &[("origin", ISSUER)]).await;
        assert_eq!(answer.status, 303, "as it was shown");
    }
}

#[tokio::test]
async fn a_form_posted_by_another_site_is_refused() {
    // C4
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (_, opened) = open(&rig, &client, "").await;
    for headers in
        [[("origin", "https://evil.example")], [("origin", "null")], [("sec-fetch-site", "cross-site")]]
    {
        let answer = decide(&rig, &client, &opened, "approve", &headers).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (403, ""), "{headers:?}");
    }
}

#[tokio::test]
async fn no_is_told_to_the_client() {
    // C11, A10
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (_, opened) = open(&rig, &client, "").await;
    let answer = decide(&rig, &client, &opened, "deny", &[("origin", ISSUER)]).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.location("error").as_deref(), Some("access_denied"));
    assert_eq!(answer.location("state").as_deref(), Some("st/ate+1 ü"));
    assert_eq!(answer.location("iss").as_deref(), Some(ISSUER));
}

// trouble: login-hijacked
#[tokio::test]
async fn the_state_towards_the_provider_is_bound_to_the_browser_and_used_once() {
    // C7, C8
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (_, opened) = open(&rig, &client, "").await;
    let sent = decide(&rig, &client, &opened, "approve", &[("origin", ISSUER)]).await;
    let state = sent.location("state").unwrap();
    let cookie = sent.cookies();
    assert!(cookie.starts_with("portcullis-8080-flow-"), "{cookie}");
    let callback = format!("/callback?{}", encode(&[("code", "alice"), ("state", &state)]));
    for (headers, wanted) in [("", 400), ("portcullis-8080-flow-x=y", 400)] {
        let answer = rig.get(&callback, &[("cookie", headers)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (wanted, ""));
        assert!(answer.body.contains("state-reused"), "{}", answer.body);
        assert!(answer.body.contains("earlier sign-in is not undone"), "{}", answer.body);
    }
    let answer = rig.get(&callback, &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let replayed = rig.get(&callback, &[("cookie", &cookie)]).await;
    assert_eq!((replayed.status.as_u16(), replayed.header("location")), (400, ""));
    let second = decide(&rig, &client, &opened, "approve", &[("origin", ISSUER)]).await;
    let state = second.location("state").unwrap();
    let own = second.cookies();
    let foreign = format!("{}={}A", own.split('=').next().unwrap(), "B".repeat(42));
    let target = format!("/callback?{}", encode(&[("code", "alice"), ("state", &state)]));
    let answer = rig.get(&target, &[("cookie", &foreign)]).await;
    assert!(answer.status == 400 && answer.body.contains("state-expired"), "{answer:?}");
    let answer = rig.get(&target, &[("cookie", &own)]).await;
    assert_eq!(answer.status, 303, "a foreign cookie takes nothing away: {answer:?}");
}

#[tokio::test]
async fn a_sign_in_that_takes_over_ten_minutes_is_told_so() {
    // C8
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (_, opened) = open(&rig, &client, "").await;
    let sent = decide(&rig, &client, &opened, "approve", &[("origin", ISSUER)]).await;
    rig.clock.advance(Duration::from_secs(601));
    let callback =
        format!("/callback?{}", encode(&[("code", "alice"), ("state", &sent.location("state").unwrap())]));
    let answer = rig.get(&callback, &[("cookie", &sent.cookies())]).await;
    assert!(answer.status == 400 && answer.body.contains("state-expired"), "{answer:?}");
    assert!(answer.body.contains("start again, go back to the application"), "{}", answer.body);
    assert!(answer.body.contains(&format!("href=\"{ISSUER}/\"")), "{}", answer.body);
}

#[tokio::test]
async fn whoever_comes_back_to_a_finished_sign_in_is_told_who_they_are() {
    // C8, state-reused: the back button.
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (_, opened) = open(&rig, &client, "").await;
    let sent = decide(&rig, &client, &opened, "approve", &[("origin", ISSUER)]).await;
    let state = sent.location("state").unwrap();
    let callback = format!("/callback?{}", encode(&[("code", "alice"), ("state", &state)]));
    let session = rig.get(&callback, &[("cookie", &sent.cookies())]).await.cookies();
    let back = rig.get(&callback, &[("cookie", &session)]).await;
    assert_eq!((back.status.as_u16(), back.header("location")), (400, ""));
    for part in ["state-reused", "signed in here as alice", "Your connections"] {
        assert!(back.body.contains(part), "{part}: {}", back.body);
    }
}

#[tokio::test]
async fn the_form_carries_what_browsers_would_change() {
    // A8: browsers send every line break of a field as CR LF.
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let mut query = authorize_query(&client);
    query.retain(|(name, _)| *name != "state");
    let odd = "a\nb\rc\r\n\u{e9} \"<>&";
    query.push(("state", odd));
    let page = rig.get(&format!("/authorize?{}", encode(&query)), &[]).await;
    let form = [
        ("carried", page.input("carried")),
        ("form_token", page.input("form_token")),
        ("decision", "deny".to_owned()),
    ];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = rig.post("/authorize", &[("cookie", &page.cookies()), ("origin", ISSUER)], &form).await;
    assert_eq!((answer.status.as_u16(), answer.location("state").as_deref()), (303, Some(odd)));
    let mut forged = form;
    forged[0].1 = "Zm9yZ2Vk";
    let answer = rig.post("/authorize", &[("cookie", &page.cookies()), ("origin", ISSUER)], &forged).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""));
}

#[tokio::test]
async fn a_session_makes_it_one_click_but_never_none() {
    // C1, C3
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let session = rig.sign_in(&authorize_query(&client), "alice").await.cookies();
    assert!(session.starts_with("portcullis-8080-session="), "{session}");
    let (page, opened) = open(&rig, &client, &session).await;
    assert!(page.body.contains("Allow as alice") && page.body.contains("other-account"), "{}", page.body);
    let answer = decide(&rig, &client, &opened, "approve", &[("origin", ISSUER)]).await;
    assert!(answer.location("code").is_some(), "{answer:?}");
    let other = decide(&rig, &client, &opened, "other-account", &[("origin", ISSUER)]).await;
    assert!(other.header("location").starts_with(&format!("{ISSUER}/dev/login?")), "{other:?}");
}

#[tokio::test]
async fn a_page_that_named_one_user_is_no_consent_of_another() {
    // C1
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (_, opened) = open(&rig, &client, "").await;
    let session = rig.sign_in(&authorize_query(&client), "mallory").await.cookies();
    let switched = Opened { cookie: format!("{}; {session}", opened.cookie), token: opened.token };
    assert_eq!(decide(&rig, &client, &switched, "approve", &[("origin", ISSUER)]).await.status, 400);
}

#[tokio::test]
async fn a_user_whom_no_rule_lets_in_is_told_who_they_are_and_what_to_ask() {
    let yaml = crate::support::rig::dev_yaml(([127, 0, 0, 1], 9).into()).replace("[\"*\"]", "[alice]");
    let rig = Rig::with(&yaml).await;
    let client = rig.register().await;
    let answer = rig.sign_in(&authorize_query(&client), "bob").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (403, ""));
    for part in ["bob", "echo", "access.users", "not-allowed", "error=access_denied"] {
        assert!(answer.body.contains(part), "{part}: {}", answer.body);
    }
    let allowed = rig.sign_in(&authorize_query(&client), "alice").await;
    assert!(allowed.location("code").is_some());
}

#[tokio::test]
async fn the_dev_identity_is_not_let_out_by_a_tunnel() {
    let rig = Rig::dev().await;
    for header in ["x-forwarded-for", "x-forwarded-proto", "forwarded", "cf-connecting-ip"] {
        let answer = rig.get("/", &[(header, "203.0.113.7")]).await;
        assert_eq!(answer.status, 403, "{header}");
    }
    let page = rig.get("/dev/login?state=abc", &[]).await;
    assert!(page.status == 200 && page.input("state") == "abc");
    let put = rig.send(request("PUT", "/dev/login", &[], String::new())).await;
    assert_eq!(put.status, 405);
}
