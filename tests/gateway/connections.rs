//! "Your connections" at the issuer's root, and what a browser finds at a service's URL.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis::fetch::{Bounds, Fetcher};
use portcullis::trouble::Trouble;

use crate::audit::Log;
use crate::support::rig::{Answer, ISSUER, RESOURCE, Rig, authorize_query, dev_yaml, encode, request};

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

/// The page in a browser with `cookies`: the page, all cookies then, and the token of its forms.
async fn open(rig: &Rig, cookies: &str) -> (Answer, String, String) {
    let page = rig.get("/", &[("cookie", cookies), BROWSER]).await;
    assert_eq!(page.status, 200, "{page:?}");
    let all = [cookies.to_owned(), page.cookies()].into_iter().filter(|part| !part.is_empty());
    let (all, token) = (all.collect::<Vec<_>>().join("; "), page.input("form_token"));
    (page, all, token)
}

async fn act(rig: &Rig, action: &str, cookies: &str, form: &[(&str, &str)]) -> Answer {
    rig.post(action, &[("cookie", cookies), ("origin", ISSUER)], form).await
}

/// Signs in to the connections page; the session's cookie.
async fn signed_in(rig: &Rig, name: &str) -> String {
    let (_, cookies, token) = open(rig, "").await;
    let sent = act(rig, "/sign-in", &cookies, &[("form_token", &token)]).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let state = sent.location("state").unwrap();
    let callback = format!("/callback?{}", encode(&[("code", name), ("state", &state)]));
    let back = rig.get(&callback, &[("cookie", &sent.cookies())]).await;
    assert_eq!((back.status.as_u16(), back.header("location")), (303, "http://localhost:8080/"), "{back:?}");
    back.cookies()
}

fn is_refused(answer: &Answer, status: u16, finding: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("location")), (status, ""), "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.body.contains(finding), "{finding}: {}", answer.body);
}

#[tokio::test]
async fn a_stranger_learns_names_and_urls_and_may_sign_in() {
    // C5, A13
    let rig = Rig::dev().await;
    let (page, _, _) = open(&rig, "").await;
    for part in ["echo", RESOURCE, "action=\"/sign-in\"", "Sign in with"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    assert!(!page.body.contains("/disconnect") && !page.body.contains("/sign-out"), "{}", page.body);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    assert!(page.header("set-cookie").starts_with("portcullis-8080-form="), "{page:?}");
    let head = rig.send(request("HEAD", "/", &[], String::new())).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    assert_eq!(rig.send(request("PUT", "/", &[], String::new())).await.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn who_is_signed_in_sees_what_is_connected_since_when_and_from_where() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    rig.clock.advance(Duration::from_secs(125));
    let refreshed = rig.refresh(&client, tokens["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!(refreshed.status, 200);
    rig.code(&client, "alice").await;
    let session = signed_in(&rig, "alice").await;
    let (page, _, _) = open(&rig, &session).await;
    for part in [
        "signed in as <strong>alice</strong>",
        "<h3",
        ">Rig</h3>",
        "unverified",
        "Use its tools, prompts and resources",
        "<time datetime=\"2027-01-15T08:00Z\">15 January 2027, 08:00 UTC</time></dd>",
        "<time datetime=\"2027-01-15T08:02Z\">15 January 2027, 08:02 UTC</time>, from <code>127.0.0.1</code>",
        "claude mcp add --transport http echo http://localhost:8080/mcp",
        "cursor://anysphere.cursor-deeplink/mcp/install?name=echo&#38;config=",
        "vscode:mcp/install?%7B%22name%22%3A%22echo%22",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let listed = page.body.matches("action=\"/disconnect\"").count();
    assert_eq!(listed, 1, "a code that nobody has redeemed is no connection");
    assert!(!page.body.contains("within the same minute"));
    let (other, _, _) = open(&rig, &signed_in(&rig, "bob").await).await;
    assert!(other.body.contains("None yet") && !other.body.contains("/disconnect"), "{}", other.body);
}

// trouble: two-clients
#[tokio::test]
async fn two_clients_within_a_minute_are_told() {
    let rig = Rig::dev().await;
    let (one, two) = (rig.register().await, rig.register().await);
    rig.tokens(&one, "alice").await;
    rig.clock.advance(Duration::from_secs(61));
    rig.tokens(&two, "alice").await;
    let (page, _, _) = open(&rig, &signed_in(&rig, "alice").await).await;
    assert!(!page.body.contains("within the same minute"), "{}", page.body);
    rig.clock.advance(Duration::from_mins(1));
    rig.tokens(&one, "alice").await;
    let (page, _, _) = open(&rig, &signed_in(&rig, "alice").await).await;
    assert_eq!(page.body.matches("within the same minute").count(), 2, "{}", page.body);
    for part in [
        "mcp-remote beside a connector of its own: disconnect one, and remove it there.",
        "<a href=\"/help/two-clients\">More about this</a>: finding <code>two-clients</code>",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let counts = rig.shared.lately.told().counts;
    let twins = counts.iter().find(|count| count.trouble == Trouble::TwoClients).unwrap();
    assert_eq!(twins.times, 1, "and doctor can tell");
}

#[tokio::test]
async fn one_client_that_connects_twice_is_not_two() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    rig.tokens(&client, "alice").await;
    rig.tokens(&client, "alice").await;
    let (page, _, _) = open(&rig, &signed_in(&rig, "alice").await).await;
    assert!(!page.body.contains("within the same minute"), "{}", page.body);
    assert_eq!(rig.shared.lately.told().counts, []);
}

/// What only administrators see.
const WRONG: &str = "What went wrong lately";

#[tokio::test]
async fn an_administrator_sees_what_went_wrong_lately_and_nobody_else_does() {
    let rig = Rig::with(&(dev_yaml(([127, 0, 0, 1], 9).into()) + "admins: [\"dev:root\"]\n")).await;
    let (root, alice) = (signed_in(&rig, "root").await, signed_in(&rig, "alice").await);
    let (page, _, _) = open(&rig, &root).await;
    assert!(page.body.contains(WRONG) && page.body.contains("<p>Nothing.</p>"), "{}", page.body);
    let client = rig.register().await;
    let token = rig.tokens(&client, "bob").await["access_token"].as_str().unwrap().to_owned();
    let down = rig.call(&token).await;
    for _ in 0..3 {
        rig.call("x").await;
    }
    let (page, _, _) = open(&rig, &root).await;
    for part in [
        "<li><a href=\"/help/token-401\">token-401</a>: 3, the last on <time datetime=\"2027-01-15T08:00Z\">",
        "<li><a href=\"/help/upstream-down\">upstream-down</a>: 1, the last on",
        "<h3>Tokens</h3>",
        "<h3>Servers behind</h3>",
        ", 3 times</li>",
        &format!(
            "<a href=\"/help/upstream-down\">upstream-down</a>, HTTP 502, service <code>echo</code>, user <code>dev:bob</code>, client \
             <code>{client}</code>, from <code>127.0.0.1</code>, request <code>{}</code></li>",
            down.header("x-request-id")
        ),
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    assert!(!page.body.contains(&token), "{}", page.body);
    for cookies in [alice.as_str(), ""] {
        let (page, _, _) = open(&rig, cookies).await;
        assert!(!page.body.contains(WRONG) && !page.body.contains("token-401"), "{}", page.body);
    }
    rig.reload(|yaml| yaml.replace("dev:root", "dev:alice"));
    assert!(open(&rig, &alice).await.0.body.contains(WRONG), "from the next request on");
    assert!(!open(&rig, &root).await.0.body.contains(WRONG));
}

/// Signs in to the connections page by GitHub; the session's cookie.
async fn signed_in_by_github(rig: &Rig) -> String {
    let (_, cookies, token) = open(rig, "").await;
    let sent = act(rig, "/sign-in", &cookies, &[("form_token", &token)]).await;
    let request = http::Request::get(sent.header("location")).body(bytes::Bytes::new()).unwrap();
    let bounds = Bounds { body: 65_536, time: Duration::from_secs(10) };
    let back = Fetcher::new().send(request, bounds).await.unwrap();
    let back = back.headers()["location"].to_str().unwrap().strip_prefix(ISSUER).unwrap().to_owned();
    rig.get(&back, &[("cookie", &sent.cookies())]).await.cookies()
}

#[tokio::test]
async fn an_administrator_is_an_account_and_not_whoever_has_the_login() {
    // F3
    let (fake, rig) = crate::github::world("{ users: [\"*\"] }").await;
    let rig = rig.reconfigured(|yaml| format!("{yaml}admins: [octocat]\n")).await;
    let first = signed_in_by_github(&rig).await;
    assert!(open(&rig, &first).await.0.body.contains(WRONG));
    fake.rename("octocat", "newcat");
    fake.approve_as("newcat");
    let renamed = signed_in_by_github(&rig).await;
    let (page, _, _) = open(&rig, &renamed).await;
    assert!(page.body.contains("newcat") && page.body.contains(WRONG), "the same account: {}", page.body);
    fake.user(99, "octocat");
    fake.approve_as("octocat");
    let recycled = signed_in_by_github(&rig).await;
    let (page, _, _) = open(&rig, &recycled).await;
    assert!(page.body.contains("octocat") && !page.body.contains(WRONG), "somebody else: {}", page.body);
    rig.shared.store.forget_login("octocat").await.unwrap();
    assert!(!open(&rig, &first).await.0.body.contains(WRONG), "the pin was taken back");
    let anew = signed_in_by_github(&rig).await;
    assert!(
        open(&rig, &anew).await.0.body.contains(WRONG),
        "the login is the next one's who signs in with it"
    );
}

#[tokio::test]
async fn an_administrator_whom_no_service_lets_in_sees_what_went_wrong_and_no_service() {
    let (_fake, rig) = crate::github::world("{ users: [somebody-else] }").await;
    let rig = rig.reconfigured(|yaml| format!("{yaml}admins: [\"github:583231\"]\n")).await;
    let (page, _, _) = open(&rig, &signed_in_by_github(&rig).await).await;
    assert!(page.body.contains(WRONG) && !page.body.contains(RESOURCE), "{}", page.body);
    let client = rig.register().await;
    assert_eq!(crate::github::sign_in(&rig, &client).await.status, 403);
}

#[tokio::test]
async fn disconnecting_holds_at_the_next_request() {
    // R14
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    assert_eq!(rig.call(access).await.status, 502, "let in, with nothing behind");
    let (page, cookies, token) = open(&rig, &signed_in(&rig, "alice").await).await;
    let grant = page.input("grant");
    let form = [("form_token", token.as_str()), ("grant", grant.as_str())];
    let done = act(&rig, "/disconnect", &cookies, &form).await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, "http://localhost:8080/"));
    assert_eq!(rig.call(access).await.status, 401);
    assert_eq!(rig.refresh(&client, refresh, &[]).await.json()["error"], "invalid_grant");
    let (page, _, _) = open(&rig, &cookies).await;
    assert!(page.body.contains("None yet"), "{}", page.body);
    let again = act(&rig, "/disconnect", &cookies, &form).await;
    assert_eq!(again.status, 303, "what has ended is what was wanted");
}

#[tokio::test]
async fn disconnecting_holds_in_another_process_within_two_seconds() {
    // R14
    let rig = Rig::dev().await;
    let other = rig.beside().await;
    let client = rig.register().await;
    let access = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(other.call(&access).await.status, 502, "let in there, with nothing behind");
    let (page, cookies, token) = open(&rig, &signed_in(&rig, "alice").await).await;
    let form = [("form_token", token.as_str()), ("grant", &*page.input("grant"))];
    assert_eq!(act(&rig, "/disconnect", &cookies, &form).await.status, 303);
    let since = std::time::Instant::now();
    while other.call(&access).await.status != 401 {
        assert!(since.elapsed() < Duration::from_secs(2), "it still holds there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_disconnection_whose_answer_was_lost_is_told_once() {
    let (rig, store) = Rig::forgetful().await;
    let client = rig.register().await;
    let access = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    let (page, cookies, token) = open(&rig, &signed_in(&rig, "alice").await).await;
    let form = [("form_token", token.as_str()), ("grant", &*page.input("grant"))];
    let log = Log::start();
    store.lose_the_next_answer();
    assert_eq!(act(&rig, "/disconnect", &cookies, &form).await.status, 303);
    assert_eq!(rig.call(&access).await.status, 401);
    assert_eq!(act(&rig, "/disconnect", &cookies, &form).await.status, 303);
    let told: Vec<_> = log.take().into_iter().map(|event| event["event"].clone()).collect();
    assert_eq!(told, ["grant_revoked"]);
}

#[tokio::test]
async fn what_a_person_does_is_audited_with_who_and_by_whom() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let log = Log::start();
    rig.tokens(&client, "alice").await;
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(&client))), &[]).await;
    let (token, cookies) = (page.input("form_token"), page.cookies());
    let mut form = authorize_query(&client);
    form.extend([("form_token", token.as_str()), ("decision", "deny")]);
    assert_eq!(act(&rig, "/authorize", &cookies, &form).await.status, 303);
    let (page, cookies, token) = open(&rig, &signed_in(&rig, "alice").await).await;
    let grant = page.input("grant");
    act(&rig, "/disconnect", &cookies, &[("form_token", &token), ("grant", &grant)]).await;
    act(&rig, "/sign-out", &cookies, &[("form_token", &token)]).await;
    let events = log.take();
    let told: Vec<[&str; 5]> = events
        .iter()
        .map(|event| {
            ["event", "sub", "client", "resource", "by"]
                .map(|field| event.get(field).map_or("", String::as_str))
        })
        .collect();
    let (alice, client) = ("dev:alice", client.as_str());
    assert_eq!(
        told,
        [
            ["login_started", "", client, RESOURCE, ""],
            ["login_succeeded", alice, client, "", ""],
            ["consent_given", alice, client, RESOURCE, ""],
            ["token_issued", alice, client, RESOURCE, ""],
            ["consent_denied", "", client, RESOURCE, "person"],
            ["login_started", "", "", "", ""],
            ["login_succeeded", alice, "", "", ""],
            ["grant_revoked", alice, client, RESOURCE, "person"],
            ["logout", alice, "", "", "person"],
        ]
    );
    assert!(events.iter().all(|event| event["address"] == "127.0.0.1" && event["request_id"].len() == 22));
    assert_eq!(events[7]["grant"], grant);
}

// trouble: connection-unknown
#[tokio::test]
async fn nobody_disconnects_what_is_not_theirs() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let access = tokens["access_token"].as_str().unwrap();
    let (page, _, _) = open(&rig, &signed_in(&rig, "alice").await).await;
    let grant = page.input("grant");
    let (_, cookies, token) = open(&rig, &signed_in(&rig, "mallory").await).await;
    for grant in [grant.as_str(), "AAAAAAAAAAAAAAAAAAAAAA", "no id", ""] {
        let form = [("form_token", token.as_str()), ("grant", grant)];
        is_refused(&act(&rig, "/disconnect", &cookies, &form).await, 404, "connection-unknown");
    }
    assert_eq!(rig.call(access).await.status, 502, "alice's client goes on");
}

#[tokio::test]
async fn nothing_is_done_without_the_page_s_own_form() {
    // C4
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let access = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    let (page, cookies, token) = open(&rig, &signed_in(&rig, "alice").await).await;
    let grant = page.input("grant");
    let (_, _, stranger) = open(&rig, "").await;
    let with = |token: &str| [("form_token", token.to_owned()), ("grant", grant.clone())];
    for wrong in [format!("{token}x"), stranger, String::new(), "1800000000.".to_owned(), "x".to_owned()] {
        let form = with(&wrong);
        let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        is_refused(&act(&rig, "/disconnect", &cookies, &form).await, 400, "state-expired");
        is_refused(&act(&rig, "/sign-out", &cookies, &form).await, 400, "state-expired");
        is_refused(&act(&rig, "/sign-in", &cookies, &form).await, 400, "state-expired");
    }
    let form = [("form_token", token.as_str()), ("grant", grant.as_str())];
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for action in ["/disconnect", "/sign-out", "/sign-in"] {
            let answer = rig.post(action, &[("cookie", &cookies), (name, value)], &form).await;
            is_refused(&answer, 403, "Another website");
        }
    }
    let json = [("cookie", cookies.as_str()), ("content-type", "application/json")];
    let answer = rig.send(request("POST", "/disconnect", &json, "{}".to_owned())).await;
    assert_eq!(answer.status, 400);
    for action in ["/disconnect", "/sign-out", "/sign-in"] {
        let looked = rig.get(action, &[("cookie", &cookies)]).await;
        assert_eq!((looked.status.as_u16(), looked.header("location")), (303, "http://localhost:8080/"));
        let put = rig.send(request("PUT", action, &[], String::new())).await;
        assert_eq!((put.status.as_u16(), put.header("allow")), (405, "GET, HEAD, POST"));
    }
    assert_eq!(rig.call(&access).await.status, 502, "nothing has happened");
    rig.clock.advance(Duration::from_secs(3601));
    is_refused(&act(&rig, "/disconnect", &cookies, &form).await, 400, "state-expired");
}

#[tokio::test]
async fn a_session_that_has_ended_disconnects_nothing() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let session = signed_in(&rig, "alice").await;
    rig.pass(Duration::from_mins(8 * 60 - 1));
    let (page, cookies, token) = open(&rig, &session).await;
    let grant = page.input("grant");
    rig.pass(Duration::from_secs(61));
    let form = [("form_token", token.as_str()), ("grant", grant.as_str())];
    is_refused(&act(&rig, "/disconnect", &cookies, &form).await, 400, "signed out meanwhile");
    let (page, _, _) = open(&rig, &cookies).await;
    assert!(page.body.contains("Sign in with"), "{}", page.body);
    let refresh = rig.refresh(&client, tokens["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!(refresh.status, 200, "the client goes on");
}

#[tokio::test]
async fn signing_out_ends_the_session_itself() {
    let rig = Rig::dev().await;
    let session = signed_in(&rig, "alice").await;
    let (_, cookies, token) = open(&rig, &session).await;
    let out = act(&rig, "/sign-out", &cookies, &[("form_token", &token)]).await;
    assert_eq!((out.status.as_u16(), out.header("location")), (303, "http://localhost:8080/"));
    assert_eq!(
        out.header("set-cookie"),
        "portcullis-8080-session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    );
    let (page, _, _) = open(&rig, &session).await;
    assert!(page.body.contains("Sign in with"), "a kept cookie is worth nothing: {}", page.body);
    let twice = act(&rig, "/sign-out", &cookies, &[("form_token", &token)]).await;
    assert_eq!(twice.status, 303);
}

#[tokio::test]
async fn another_account_takes_the_place_of_the_first() {
    let rig = Rig::dev().await;
    let (_, cookies, token) = open(&rig, &signed_in(&rig, "alice").await).await;
    let form = [("form_token", token.as_str()), ("account", "other")];
    let sent = act(&rig, "/sign-in", &cookies, &form).await;
    let state = sent.location("state").unwrap();
    let callback = format!("/callback?{}", encode(&[("code", "bob"), ("state", &state)]));
    let back = rig.get(&callback, &[("cookie", &format!("{cookies}; {}", sent.cookies()))]).await;
    let (page, _, _) = open(&rig, &back.cookies()).await;
    assert!(page.body.contains("<strong>bob</strong>"), "{}", page.body);
    let (page, _, _) = open(&rig, &cookies).await;
    assert!(page.body.contains("Sign in with"), "alice's session is over: {}", page.body);
}

#[tokio::test]
async fn only_the_services_that_let_the_person_in_are_shown() {
    let yaml = dev_yaml(SocketAddr::from(([127, 0, 0, 1], 9))).replace("[\"*\"]", "[alice]")
        + "  bobs: { url: \"http://localhost:8080/bobs/mcp\", upstream: \"http://127.0.0.1:9\", access: { users: [bob] } }
  open: { url: \"http://localhost:8080/open/mcp\", upstream: \"http://127.0.0.1:9\", public: true }
";
    let rig = Rig::with(&yaml).await;
    let (page, _, _) = open(&rig, &signed_in(&rig, "alice").await).await;
    for (name, shown) in [("s-echo", true), ("s-bobs", false), ("s-open", true)] {
        assert_eq!(page.body.contains(name), shown, "{name}: {}", page.body);
    }
    let passed = rig.get("/open/mcp", &[BROWSER]).await;
    assert_eq!(passed.status, 502, "a public service has no landing page: requests pass through");
    let (_, cookies, token) = open(&rig, "").await;
    let sent = act(&rig, "/sign-in", &cookies, &[("form_token", &token)]).await;
    let callback = [("code", "mallory"), ("state", &*sent.location("state").unwrap())];
    let kept_out = rig.get(&format!("/callback?{}", encode(&callback)), &[("cookie", &sent.cookies())]).await;
    is_refused(&kept_out, 403, "not-allowed");
    assert!(kept_out.body.contains("mallory") && kept_out.cookies().is_empty(), "{kept_out:?}");
}

#[tokio::test]
async fn a_scope_is_told_in_the_operator_s_words() {
    // C2
    let yaml = dev_yaml(SocketAddr::from(([127, 0, 0, 1], 9))).replace(
        "upstream:",
        "scopes: [\"todo:read\", \"todo:raw\"], describe: { \"todo:read\": \"Read <your> lists\" }, upstream:",
    );
    let rig = Rig::with(&yaml).await;
    let client = rig.register().await;
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(&client))), &[]).await;
    for part in ["<li>Read &#60;your&#62; lists</li>", "<li>Use <code>todo:raw</code></li>", "unverified"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
}

#[tokio::test]
async fn a_browser_at_a_service_s_url_is_shown_how_to_connect() {
    // R1, R3, wrong-url
    let rig = Rig::dev().await;
    let page = rig.get("/mcp", &[BROWSER]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (401, "text/html; charset=utf-8"));
    for part in [RESOURCE, "Your connections", "cursor://anysphere", "vscode:mcp/install?", "claude mcp add"]
    {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let policy = "default-src 'none'; style-src 'self' http://localhost:8080; img-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    assert_eq!(page.header("content-security-policy"), policy);
    assert!(page.body.contains("href=\"http://localhost:8080/assets/app.css?v="), "{}", page.body);
    let bare = rig.get("/mcp", &[]).await;
    assert_eq!(page.header("www-authenticate"), bare.header("www-authenticate"));
    assert!(bare.header("www-authenticate").starts_with("Bearer resource_metadata="));
    let json = |answer: &Answer| {
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (401, "application/json"));
        assert_eq!(answer.header("www-authenticate"), bare.header("www-authenticate"));
    };
    json(&bare);
    for accept in ["text/event-stream", "application/json, text/event-stream", "*/*", "application/json"] {
        json(&rig.get("/mcp", &[("accept", accept)]).await);
    }
    for method in ["POST", "HEAD", "DELETE"] {
        json(&rig.send(request(method, "/mcp", &[BROWSER], String::new())).await);
    }
    let wrong = rig.get("/mcp", &[BROWSER, ("authorization", "Bearer x")]).await;
    assert_eq!(wrong.header("content-type"), "application/json", "a program with a token is no browser");
}

#[tokio::test]
async fn the_stylesheet_may_be_kept_under_the_name_that_pages_use() {
    let rig = Rig::dev().await;
    let (page, _, _) = open(&rig, "").await;
    let url = page.body.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let kept = rig.get(url, &[]).await;
    assert_eq!((kept.status.as_u16(), kept.header("content-type")), (200, "text/css; charset=utf-8"));
    assert_eq!(kept.header("cache-control"), "public, max-age=31536000, immutable");
    let other = rig.get("/assets/app.css?v=0", &[]).await;
    assert_eq!((other.status.as_u16(), other.header("cache-control")), (200, "public, max-age=3600"));
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_the_client_s_is_told_with_how_to_mend_it() {
    // A1, redirect-mismatch, redirect-invalid
    let rig = Rig::dev().await;
    let client = rig.register().await;
    for (uri, finding, parts) in [
        (
            "http://localhost:4711/other",
            "redirect-mismatch",
            ["Rig asks", "~/.mcp-auth", "Remove Dynamic Authentication Providers", "Claude Desktop"],
        ),
        (
            "myapp://callback",
            "redirect-invalid",
            ["the scheme myapp is not allowed", "redirect_schemes", "cursor, vscode", "https"],
        ),
        (
            "http://example.com/callback",
            "redirect-invalid",
            ["http is for loopback", "redirect_schemes", "cursor, vscode", "https"],
        ),
    ] {
        let mut query = authorize_query(&client);
        query.retain(|(name, _)| *name != "redirect_uri");
        query.push(("redirect_uri", uri));
        let page = rig.get(&format!("/authorize?{}", encode(&query)), &[BROWSER]).await;
        is_refused(&page, 400, finding);
        for part in parts {
            assert!(page.body.contains(part), "{part}: {}", page.body);
        }
    }
}
