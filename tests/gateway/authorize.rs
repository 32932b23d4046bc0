//! `GET /authorize`: A1–A16.

use serde_json::json;

use crate::support::rig::{
    Answer, CHALLENGE, ISSUER, REDIRECT, RESOURCE, Rig, authorize_query, encode, request,
};

async fn ask(rig: &Rig, query: &[(&str, &str)]) -> Answer {
    rig.get(&format!("/authorize?{}", encode(query)), &[]).await
}

fn without<'a>(query: &[(&'a str, &'a str)], name: &str) -> Vec<(&'a str, &'a str)> {
    query.iter().copied().filter(|(key, _)| *key != name).collect()
}

fn replaced<'a>(query: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut query = without(query, name);
    query.push((name, value));
    query
}

/// The error that the client is told, with `state` and `iss` beside it (A8, A10).
fn told(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.header("location").starts_with(REDIRECT), "{answer:?}");
    assert_eq!(answer.location("iss").as_deref(), Some(ISSUER));
    assert_eq!(answer.location("state").as_deref(), Some("st/ate+1 ü"));
    answer.location("error").unwrap()
}

#[tokio::test]
async fn an_unknown_client_gets_a_page_and_no_redirect() {
    // A1
    let rig = Rig::dev().await;
    for query in [authorize_query("c_unknown"), without(&authorize_query("x"), "client_id")] {
        let answer = ask(&rig, &query).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""));
        assert!(answer.header("content-type").starts_with("text/html"));
        assert!(answer.body.contains("client-unknown"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_unknown_client_that_asks_for_json_gets_json() {
    // A14
    let rig = Rig::dev().await;
    let target = format!("/authorize?{}", encode(&authorize_query("c_unknown")));
    let answer = rig.get(&target, &[("accept", "application/json")]).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (400, &json!("invalid_client")));
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_the_client_s_gets_a_page_and_no_redirect() {
    // A1, A2
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let query = authorize_query(&client);
    for wrong in [
        "https://evil.example/callback",
        "http://localhost:4711/callback/",
        "http://localhost:4711/Callback",
        "http://localhost:4711/callback?x=1",
        "http://127.0.0.1:4711/callback",
        "http://localhost:4711@evil.example/callback",
    ] {
        let answer = ask(&rig, &replaced(&query, "redirect_uri", wrong)).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""), "{wrong}");
        assert!(answer.body.contains("redirect-mismatch"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_loopback_redirect_matches_on_every_port() {
    // A2, A3
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let query = authorize_query(&client);
    let answer = ask(&rig, &replaced(&query, "redirect_uri", "http://localhost:59999/callback")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn without_pkce_nothing_is_shown() {
    // A4
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let query = authorize_query(&client);
    let wrong = [
        without(&query, "code_challenge"),
        without(&query, "code_challenge_method"),
        replaced(&query, "code_challenge_method", "plain"),
        replaced(&query, "code_challenge", "tooshort"),
        replaced(&query, "code_challenge", ""),
    ];
    for query in wrong {
        assert_eq!(told(&ask(&rig, &query).await), "invalid_request", "{query:?}");
    }
}

#[tokio::test]
async fn a_repeated_parameter_is_refused_but_for_resource() {
    // A12
    let rig = Rig::dev().await;
    let client = rig.register().await;
    for name in ["response_type", "code_challenge", "code_challenge_method", "scope"] {
        let mut query = authorize_query(&client);
        let value = query.iter().find(|(key, _)| *key == name).unwrap().1;
        query.push((name, value));
        assert_eq!(told(&ask(&rig, &query).await), "invalid_request", "{name}");
    }
    let mut same = authorize_query(&client);
    same.push(("resource", "HTTP://LOCALHOST:8080/mcp/"));
    assert_eq!(ask(&rig, &same).await.status, 200);
    let mut other = authorize_query(&client);
    other.push(("resource", "http://localhost:8080/other"));
    assert_eq!(told(&ask(&rig, &other).await), "invalid_target");
    let mut unknown = authorize_query(&client);
    unknown.extend([("nonce", "n"), ("prompt", "consent"), ("foo", "1"), ("foo2", "")]);
    assert_eq!(ask(&rig, &unknown).await.status, 200);
}

#[tokio::test]
async fn a_resource_is_known_by_its_equivalent_spellings_and_others_are_refused() {
    // A5, A6
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let query = authorize_query(&client);
    for same in [
        RESOURCE,
        "http://LocalHost:8080/mcp",
        "http://localhost:8080/mcp/",
        "http://localhost:8080/mcp?utm=1",
        "http://localhost:8080",
        "http://localhost:8080/",
    ] {
        assert_eq!(ask(&rig, &replaced(&query, "resource", same)).await.status, 200, "{same}");
    }
    for other in [
        "http://localhost:8081/mcp",
        "http://localhost:8080/mcpx",
        "https://localhost:8080/mcp",
        "mcp",
        "http://localhost:8080/mcp#x",
    ] {
        assert_eq!(told(&ask(&rig, &replaced(&query, "resource", other)).await), "invalid_target", "{other}");
    }
    assert_eq!(ask(&rig, &without(&query, "resource")).await.status, 200, "the only service is meant");
}

#[tokio::test]
async fn another_response_type_is_unsupported() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let query = authorize_query(&client);
    assert_eq!(
        told(&ask(&rig, &replaced(&query, "response_type", "token")).await),
        "unsupported_response_type"
    );
    assert_eq!(told(&ask(&rig, &without(&query, "response_type")).await), "invalid_request");
}

#[tokio::test]
async fn asking_twice_without_cookies_changes_nothing() {
    // A13
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let target = format!("/authorize?{}", encode(&authorize_query(&client)));
    for _ in 0..2 {
        let answer = rig.get(&target, &[]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 1);
    }
    let head = rig.send(request("HEAD", &target, &[], String::new())).await;
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn the_answer_carries_code_state_and_issuer() {
    // A8, A9, A15, A16
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let answer = rig.sign_in(&authorize_query(&client), "alice").await;
    assert_eq!(answer.status, 303);
    assert!(answer.header("location").starts_with(&format!("{REDIRECT}?")), "{answer:?}");
    assert_eq!(answer.location("iss").as_deref(), Some(ISSUER));
    assert_eq!(answer.location("state").as_deref(), Some("st/ate+1 ü"));
    assert!(answer.location("code").is_some());
}

#[tokio::test]
async fn unknown_scopes_and_stray_spaces_do_not_stop_anybody() {
    // A7
    let rig = Rig::dev().await;
    let client = rig.register().await;
    for scope in [" offline_access", "openid email  profile", "", "mcp mcp"] {
        let query = replaced(&authorize_query(&client), "scope", scope);
        let code = rig.sign_in(&query, "alice").await.location("code").unwrap();
        let tokens = rig.redeem(&client, &code, &[]).await.json();
        let granted = if scope.contains("offline") { "mcp offline_access" } else { "mcp" };
        assert_eq!(tokens["scope"], granted, "{scope:?}");
    }
}

#[tokio::test]
async fn a_private_use_scheme_gets_a_page_that_stays() {
    // A16
    let rig = Rig::dev().await;
    let uri = "cursor://anysphere.cursor-mcp/oauth/callback";
    let body = json!({ "redirect_uris": [uri] }).to_string();
    let registered = rig.send(request("POST", "/register", &[], body)).await.json();
    let client = registered["client_id"].as_str().unwrap();
    let query = replaced(&authorize_query(client), "redirect_uri", uri);
    let answer = rig.sign_in(&query, "alice").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.header("refresh").starts_with("0; url=cursor://anysphere.cursor-mcp/oauth/callback?code="),
        "{answer:?}"
    );
    assert!(
        answer.body.contains("href=\"cursor://anysphere.cursor-mcp/oauth/callback?code="),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn nobody_is_sent_to_a_stranger_s_address_without_a_click() {
    // RFC 9700 §4.11.2
    let rig = Rig::dev().await;
    for uri in ["https://phish.example/login", "vscode://evil.ext/run"] {
        let body = json!({ "redirect_uris": [uri] }).to_string();
        let registered = rig.send(request("POST", "/register", &[], body)).await.json();
        let client = registered["client_id"].as_str().unwrap();
        let wrong = replaced(&replaced(&authorize_query(client), "redirect_uri", uri), "code_challenge", "x");
        let answer = ask(&rig, &wrong).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location"), answer.header("refresh")),
            (400, "", "")
        );
        assert!(answer.body.contains(&format!("href=\"{uri}?error=invalid_request")), "{}", answer.body);
        assert!(answer.body.contains("iss="), "{}", answer.body);
    }
}

#[tokio::test]
async fn what_is_not_part_of_a_request_is_not_posted_again() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let target = format!("/authorize?{}{}", encode(&authorize_query(&client)), "&a".repeat(1000));
    let page = rig.get(&target, &[]).await;
    assert!(page.status == 200 && page.body.len() < 4000, "{} bytes", page.body.len());
    let mut odd = authorize_query(&client);
    odd.extend([("decision", "approve"), ("form_token", "x")]);
    let page = ask(&rig, &odd).await;
    let (token, cookie) = (page.input("form_token"), page.cookies());
    let mut form = authorize_query(&client);
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    let sent = rig.post("/authorize", &[("cookie", &cookie)], &form).await;
    assert_eq!(sent.status, 303, "names of the form's own in the query are no obstacle");
}

#[tokio::test]
async fn other_methods_are_told_what_is_allowed() {
    let rig = Rig::dev().await;
    let answer = rig.send(request("PUT", "/authorize", &[], String::new())).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET, POST"));
    assert_eq!(CHALLENGE.len(), 43);
}
