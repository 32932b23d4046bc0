//! What people are told on the spot when something goes wrong (the rows of troubles.md marked *told*): the trouble is really made, and
//! the answer names it by its id, says the cause, what to do, and where more is said; and the gateway remembers it.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis::oauth::Resource;
use portcullis::telemetry::Remembered;
use portcullis::token::Claims;
use portcullis::trouble::Trouble;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::github::{TOKEN, sign_in, world};
use crate::support::github::Failure;
use crate::support::redis::Redis;
use crate::support::rig::{
    Answer, ISSUER, REDIRECT, RESOURCE, Rig, VERIFIER, authorize_query, dev_yaml, encode, request,
};

/// A page tells of the trouble by its id, of the request by its own, says each of `parts`, and leads to the page that explains it.
async fn on_a_page(rig: &Rig, answer: &Answer, status: u16, trouble: Trouble, parts: &[&str]) {
    assert_eq!((answer.status.as_u16(), answer.header("location")), (status, ""), "{answer:?}");
    let id = answer.header("x-request-id");
    let note = format!(
        "<a href=\"/help/{trouble}\">More about this</a>: finding <code>{trouble}</code> · request <code>{id}</code>"
    );
    for part in parts.iter().copied().chain([note.as_str()]) {
        assert!(answer.body.contains(part), "{part}: {}", answer.body);
    }
    is_explained(rig, trouble).await;
}

/// The page behind the link has cause and fix.
async fn is_explained(rig: &Rig, trouble: Trouble) {
    let help = rig.get(&format!("/help/{trouble}"), &[("accept", "application/json")]).await;
    let told = help.json();
    let explanation = trouble.explanation();
    assert_eq!((help.status.as_u16(), &told["cause"]), (200, &json!(explanation.cause)), "{help:?}");
    assert_eq!(told["fix"], json!(explanation.fix));
}

/// OAuth's JSON, exactly.
fn in_json(answer: &Answer, status: u16, error: &str, trouble: Trouble, description: &str) {
    let told = json!({
        "error": error,
        "error_description": description,
        "error_uri": format!("{ISSUER}/help/{trouble}"),
    });
    assert_eq!((answer.status.as_u16(), answer.json()), (status, told), "{answer:?}");
}

/// A JSON-RPC error, exactly.
fn in_json_rpc(answer: &Answer, status: u16, code: i32, message: &str, (finding, trouble): (&str, Trouble)) {
    let told = json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": { "code": code, "message": message, "data": {
            "finding": finding,
            "trouble": trouble.id(),
            "help": format!("{ISSUER}/help/{trouble}"),
            "request_id": answer.header("x-request-id"),
        } },
    });
    assert_eq!((answer.status.as_u16(), answer.json()), (status, told), "{answer:?}");
}

/// What is remembered of a trouble, the newest first.
fn remembered(rig: &Rig, trouble: Trouble) -> Vec<Remembered> {
    let told = rig.shared.lately.told();
    let all = [told.logins, told.tokens, told.upstreams, told.others].into_iter().flatten();
    all.filter(|one| one.failure.trouble == trouble).collect()
}

/// How often a trouble was met.
fn times(rig: &Rig, trouble: Trouble) -> u64 {
    let counts = rig.shared.lately.told().counts;
    counts.iter().find(|count| count.trouble == trouble).map_or(0, |count| count.times)
}

/// What the last failure of that kind was.
fn last(rig: &Rig, trouble: Trouble) -> (String, String, String, u16) {
    let failure = remembered(rig, trouble).remove(0).failure;
    assert_eq!(failure.network, "127.0.0.1");
    let known = |what: Option<String>| what.unwrap_or_default();
    (known(failure.service), known(failure.client), known(failure.subject), failure.status)
}

/// What the last failure was to be: service, client, user, and the status.
fn is_last(rig: &Rig, trouble: Trouble, (service, client, subject, status): (&str, &str, &str, u16)) {
    let expected = (service.to_owned(), client.to_owned(), subject.to_owned(), status);
    assert_eq!(last(rig, trouble), expected, "{trouble}");
}

/// A browser that is on its way to the provider: where it comes back to, and its cookies.
async fn on_the_way(rig: &Rig, client: &str, name: &str) -> (String, String) {
    let query = authorize_query(client);
    let page = rig.get(&format!("/authorize?{}", encode(&query)), &[]).await;
    let token = page.input("form_token");
    let form = [query, vec![("form_token", token.as_str()), ("decision", "approve")]].concat();
    let sent = rig.post("/authorize", &[("cookie", &page.cookies()), ("origin", ISSUER)], &form).await;
    let state = sent.location("state").unwrap();
    (format!("/callback?{}", encode(&[("code", name), ("state", &state)])), sent.cookies())
}

fn text(tokens: &Value, name: &str) -> String {
    tokens[name].as_str().unwrap().to_owned()
}

/// A configuration whose service has a server at `upstream`, and further keys.
fn yaml(upstream: SocketAddr, keys: &str) -> String {
    dev_yaml(upstream).replace("/mcp\" }", &format!("/mcp\"{keys} }}"))
}

/// A server that answers every connection with `answer`, or never if that is empty.
async fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes).await;
                if answer.is_empty() {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

// trouble: not-allowed
#[tokio::test]
async fn who_is_not_let_in_is_told_who_they_are_which_rule_was_tried_and_whom_to_ask() {
    let (_fake, rig) = world("{ users: [somebody-else], orgs: [acme] }").await;
    let client = rig.register().await;
    let page = sign_in(&rig, &client).await;
    let parts = [
        "You are signed in as octocat (GitHub), and echo does not let you in.",
        "The access rules of echo let in: certain users; members of acme.",
        "Ask the operator to add octocat to access.users of this service.",
        "grant this application access to the organisation",
    ];
    on_a_page(&rig, &page, 403, Trouble::NotAllowed, &parts).await;
    is_last(&rig, Trouble::NotAllowed, ("echo", &client, "github:583231", 403));
}

// trouble: state-expired
#[tokio::test]
async fn a_sign_in_that_took_too_long_is_told_how_to_start_again() {
    let rig = Rig::dev().await;
    let (callback, cookies) = on_the_way(&rig, &rig.register().await, "alice").await;
    rig.clock.advance(Duration::from_secs(601));
    let page = rig.get(&callback, &[("cookie", &cookies)]).await;
    let parts =
        ["took longer than ten minutes", "To start again, go back to the application and connect once more"];
    on_a_page(&rig, &page, 400, Trouble::StateExpired, &parts).await;
    assert_eq!(times(&rig, Trouble::StateExpired), 1);
}

// trouble: state-reused
#[tokio::test]
async fn a_sign_in_that_is_finished_already_is_told_so_and_its_success_stays() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let (callback, cookies) = on_the_way(&rig, &client, "alice").await;
    let code = rig.get(&callback, &[("cookie", &cookies)]).await.location("code").unwrap();
    let page = rig.get(&callback, &[]).await;
    let parts = [
        "This sign-in was finished already",
        "An earlier sign-in is not undone",
        "finish in the browser that it opens",
    ];
    on_a_page(&rig, &page, 400, Trouble::StateReused, &parts).await;
    assert_eq!(rig.redeem(&client, &code, &[]).await.status, 200, "the earlier success is not undone");
    assert_eq!(times(&rig, Trouble::StateReused), 1);
}

// trouble: redirect-dead
#[tokio::test]
async fn a_page_stays_where_the_browser_may_not_find_the_application() {
    let rig = Rig::dev().await;
    let uri = "cursor://anysphere.cursor-mcp/oauth/callback";
    let body = json!({ "redirect_uris": [uri], "client_name": "Cursor" }).to_string();
    let registered = rig.send(request("POST", "/register", &[], body)).await.json();
    let id = text(&registered, "client_id");
    let query: Vec<_> = authorize_query(&id)
        .into_iter()
        .map(|(name, value)| (name, if name == "redirect_uri" { uri } else { value }))
        .collect();
    let page = rig.sign_in(&query, "alice").await;
    assert_eq!(page.status, 200);
    for part in [
        "href=\"cursor://anysphere.cursor-mcp/oauth/callback?code=",
        "Nothing happens?",
        "Windows: in Settings",
        "xdg-mime query default x-scheme-handler/cursor",
        "The answer holds for a minute. After that, connect again from the application.",
        "<a href=\"/help/redirect-dead\">More about this</a>: finding <code>redirect-dead</code>",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    is_explained(&rig, Trouble::RedirectDead).await;
    assert_eq!(rig.shared.lately.told().counts, [], "nothing has gone wrong yet");
}

// trouble: redirect-mismatch
// trouble: redirect-invalid
#[tokio::test]
async fn a_redirect_uri_that_is_not_the_client_s_is_told_with_how_to_clear_its_memory() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let ask = |uri: &'static str| {
        let query: Vec<_> = authorize_query(&client)
            .into_iter()
            .map(|(name, value)| (name, if name == "redirect_uri" { uri } else { value }))
            .collect();
        format!("/authorize?{}", encode(&query))
    };
    let page = rig.get(&ask("http://localhost:1/other"), &[]).await;
    let parts = [
        "Rig asks for the answer at http://localhost:1/other, an address that it did not register here.",
        "Nothing was sent there.",
        "mcp-remote: delete the folder ~/.mcp-auth, then start it again.",
        "run the command <code>Authentication: Remove Dynamic Authentication Providers</code>",
        "by another host name of this server",
    ];
    on_a_page(&rig, &page, 400, Trouble::RedirectMismatch, &parts).await;
    let page = rig.get(&ask("ftp://app.example/back"), &[]).await;
    let parts = [
        "which is not allowed here: the scheme ftp is not allowed",
        "Allowed are https, http on this computer",
        "ask the operator to add its scheme to redirect_schemes",
    ];
    on_a_page(&rig, &page, 400, Trouble::RedirectInvalid, &parts).await;
    let json = rig.get(&ask("http://localhost:1/other"), &[("accept", "application/json")]).await;
    let told =
        "Rig asks for the answer at http://localhost:1/other, an address that it did not register here.";
    in_json(&json, 400, "invalid_request", Trouble::RedirectMismatch, told);
    let body = json!({ "redirect_uris": ["ftp://app.example/back"] }).to_string();
    let registered = rig.send(request("POST", "/register", &[], body)).await;
    let told =
        "redirect_uris[0]: the scheme ftp is not allowed; redirect_schemes in the configuration allows more";
    in_json(&registered, 400, "invalid_redirect_uri", Trouble::RedirectInvalid, told);
    assert_eq!((times(&rig, Trouble::RedirectMismatch), times(&rig, Trouble::RedirectInvalid)), (2, 2));
}

// trouble: request-invalid
#[tokio::test]
async fn a_request_without_pkce_is_told_to_whoever_may_be_told() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let query: Vec<_> =
        authorize_query(&client).into_iter().filter(|(name, _)| *name != "code_challenge").collect();
    let target = format!("/authorize?{}", encode(&query));
    let sent = rig.get(&target, &[]).await;
    assert_eq!(
        sent.location("error").as_deref(),
        Some("invalid_request"),
        "a loopback client is told itself"
    );
    is_last(&rig, Trouble::RequestInvalid, ("", &client, "", 303));
    let body = json!({ "redirect_uris": ["https://phish.example/"] }).to_string();
    let stranger = text(&rig.send(request("POST", "/register", &[], body)).await.json(), "client_id");
    let query = [
        ("client_id", stranger.as_str()),
        ("redirect_uri", "https://phish.example/"),
        ("response_type", "code"),
    ];
    let page = rig.get(&format!("/authorize?{}", encode(&query)), &[]).await;
    let parts = [
        "The application asked in a way that cannot be answered",
        "Go back only if you know the application",
    ];
    on_a_page(&rig, &page, 400, Trouble::RequestInvalid, &parts).await;
}

// trouble: wrong-url
#[tokio::test]
async fn a_wrong_url_is_answered_with_the_right_one() {
    let rig = Rig::dev().await;
    let page = rig.get("/mcpx", &[("accept", "text/html")]).await;
    assert_eq!(page.status, 404);
    let note = format!(
        "<a href=\"{ISSUER}/help/wrong-url\">More about this</a>: finding <code>wrong-url</code> · request <code>{}</code>",
        page.header("x-request-id")
    );
    let right = format!("The MCP server here is {RESOURCE}: paste exactly this into your client.");
    for part in ["There is nothing at this address.", right.as_str(), note.as_str()] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    for method in ["GET", "POST"] {
        let json = rig.send(request(method, "/mcpx", &[("accept", "*/*")], String::new())).await;
        let told = format!("nothing is at this address; the MCP server's URL is {RESOURCE}");
        in_json(&json, 404, "not_found", Trouble::WrongUrl, &told);
    }
    is_explained(&rig, Trouble::WrongUrl).await;
    assert_eq!(times(&rig, Trouble::WrongUrl), 3);
}

// trouble: exchange-failed
#[tokio::test]
async fn a_code_that_is_not_taken_says_why() {
    let rig = Rig::dev().await;
    let (client, other) = (rig.register().await, rig.register().await);
    let refused = |answer: Answer, told: &str| {
        in_json(&answer, 400, "invalid_grant", Trouble::ExchangeFailed, told);
    };
    let code = rig.code(&client, "alice").await;
    rig.redeem(&client, &code, &[]).await;
    let twice = rig.redeem(&client, &code, &[]).await;
    refused(twice, "the code was used before; everything it gave is revoked");
    let code = rig.code(&client, "alice").await;
    refused(rig.redeem(&other, &code, &[]).await, "the code was issued to another client");
    let wrong = "x".repeat(43);
    let unproven = rig.redeem(&client, &code, &[("code_verifier", &wrong)]).await;
    refused(unproven, "code_verifier does not fit; the code cannot be used any more");
    let code = rig.code(&client, "alice").await;
    rig.clock.advance(Duration::from_secs(61));
    refused(rig.redeem(&client, &code, &[]).await, "the code has expired");
    refused(rig.redeem(&client, "nonsense", &[]).await, "this is no code of ours");
    rig.clock.advance(Duration::from_hours(2));
    refused(rig.redeem(&client, &code, &[]).await, "this code is unknown or has expired");
    let short = rig.redeem(&client, &code, &[("code_verifier", "short")]).await;
    assert_eq!(short.json()["error_uri"], format!("{ISSUER}/help/exchange-failed"), "{short:?}");
    is_explained(&rig, Trouble::ExchangeFailed).await;
    assert_eq!(times(&rig, Trouble::ExchangeFailed), 7);
    let syntax = rig.post("/token", &[], &[("client_id", &client), ("grant_type", "password")]).await;
    assert_eq!(
        syntax.json(),
        json!({
            "error": "unsupported_grant_type",
            "error_description": "grant_type must be authorization_code, refresh_token or client_credentials",
        }),
        "a developer's mistake is no trouble of people"
    );
}

// trouble: refresh-failed
#[tokio::test]
async fn a_refresh_token_that_is_not_taken_says_why() {
    let rig = Rig::dev().await;
    let (client, other) = (rig.register().await, rig.register().await);
    let refused = |answer: Answer, told: &str| {
        in_json(&answer, 400, "invalid_grant", Trouble::RefreshFailed, told);
    };
    refused(rig.refresh(&client, "nonsense", &[]).await, "this is no refresh token of ours");
    let first = text(&rig.tokens(&client, "alice").await, "refresh_token");
    refused(rig.refresh(&other, &first, &[]).await, "this refresh token is not one of this client");
    let second = text(&rig.refresh(&client, &first, &[]).await.json(), "refresh_token");
    let third = text(&rig.refresh(&client, &second, &[]).await.json(), "refresh_token");
    rig.clock.advance(Duration::from_mins(5));
    let theft = "the refresh token was used before; the grant is revoked, sign in again";
    refused(rig.refresh(&client, &first, &[]).await, theft);
    let after = "an old refresh token of this grant was used again, so it is revoked; sign in again";
    refused(rig.refresh(&client, &third, &[]).await, after);
    let ended = "this grant has ended; sign in again";
    refused(rig.refresh(&other, &third, &[]).await, ended);
    let revoked = text(&rig.tokens(&client, "alice").await, "refresh_token");
    assert_eq!(rig.post("/revoke", &[], &[("client_id", &client), ("token", &revoked)]).await.status, 200);
    let by_client = "the application has revoked this grant; sign in again";
    refused(rig.refresh(&client, &revoked, &[]).await, by_client);
    let idle = text(&rig.tokens(&client, "alice").await, "refresh_token");
    rig.clock.advance(Duration::from_hours(91 * 24));
    let expired = "this grant has expired, was revoked a while ago, or is not known here; sign in again";
    refused(rig.refresh(&client, &idle, &[]).await, expired);
    is_explained(&rig, Trouble::RefreshFailed).await;
    assert_eq!(times(&rig, Trouble::RefreshFailed), 7);
}

// trouble: client-unknown
#[tokio::test]
async fn a_client_that_is_not_known_is_told_to_register_anew_and_counted() {
    let rig = Rig::dev().await;
    for _ in 0..3 {
        let answer = rig.refresh("c_gone", "x", &[]).await;
        let told = "this client is not known here; register again";
        in_json(&answer, 401, "invalid_client", Trouble::ClientUnknown, told);
    }
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query("c_gone"))), &[]).await;
    let parts = [
        "The application that sent you here is not registered with this server.",
        "Registrations that are not used for a day expire",
        "In the application, remove this MCP server and add it again",
    ];
    on_a_page(&rig, &page, 400, Trouble::ClientUnknown, &parts).await;
    assert_eq!(times(&rig, Trouble::ClientUnknown), 4);
    assert_eq!(
        remembered(&rig, Trouble::ClientUnknown).iter().map(|one| one.times).collect::<Vec<_>>(),
        [1, 3]
    );
}

// trouble: client-unproven
#[tokio::test]
async fn a_proof_that_is_not_taken_is_another_trouble_than_a_client_that_is_not_known() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let answer = rig.refresh(&client, "x", &[("client_secret", "wrong")]).await;
    let told = "this client has no secret and no keys (token_endpoint_auth_method is none)";
    in_json(&answer, 401, "invalid_client", Trouble::ClientUnproven, told);
    is_explained(&rig, Trouble::ClientUnproven).await;
}

// trouble: token-401
// trouble: environments
#[tokio::test]
async fn a_token_that_is_not_believed_says_which_claim() {
    let more = "  other: { url: \"http://localhost:8080/other\", upstream: \"http://127.0.0.1:9/mcp\" }\n";
    let rig = Rig::with(&(dev_yaml(([127, 0, 0, 1], 9).into()) + more)).await;
    let client = rig.register().await;
    let token = text(&rig.tokens(&client, "alice").await, "access_token");
    let keys = rig.shared.signing.load();
    let now = portcullis::clock::Clock::now(&*rig.clock);
    let good = portcullis::token::verify(&token, &keys, ISSUER, now).unwrap().claims().clone();
    let other = Resource::from_canonical("http://localhost:8080/other".into());
    let minted = |claims: Claims| keys.mint(&claims).unwrap().expose().to_owned();
    let signature = token.rsplit_once('.').unwrap().0.to_owned() + "." + &"A".repeat(86);
    for (token, told) in [
        (
            minted(Claims { issuer: "https://auth.dev.example.com".into(), ..good.clone() }),
            "the token is from another issuer",
        ),
        (minted(Claims { resource: other, ..good.clone() }), "the token is for another service"),
        (minted(Claims { expires: now, ..good.clone() }), "the token has expired"),
        (
            minted(Claims { issued_at: now.after(Duration::from_mins(1)), ..good.clone() }),
            "the token is not valid yet",
        ),
        (minted(Claims { access: "AAAAAAAA".into(), ..good.clone() }), "the access rules have changed"),
        (signature, "the token's signature is wrong"),
        ("x".to_owned(), "the token is malformed"),
    ] {
        let answer = rig.call(&token).await;
        let challenge = answer.header("www-authenticate").to_owned();
        assert!(
            challenge.ends_with(&format!("error=\"invalid_token\", error_description=\"{told}\"")),
            "{challenge}"
        );
        assert!(
            !challenge.contains("error_uri"),
            "clients read challenges by patterns of their own: {challenge}"
        );
        in_json_rpc(&answer, 401, -32000, told, ("invalid_token", Trouble::TokenUnaccepted));
    }
    assert_eq!(rig.post("/revoke", &[], &[("client_id", &client), ("token", &token)]).await.status, 200);
    let revoked = rig.call(&token).await;
    in_json_rpc(&revoked, 401, -32000, "the grant was revoked", ("invalid_token", Trouble::TokenUnaccepted));
    is_explained(&rig, Trouble::TokenUnaccepted).await;
    assert_eq!(times(&rig, Trouble::TokenUnaccepted), 8);
    is_last(&rig, Trouble::TokenUnaccepted, ("echo", "", "", 401));
}

// trouble: no-challenge
#[tokio::test]
async fn a_request_without_a_token_is_how_every_client_begins_and_no_failure() {
    let rig = Rig::dev().await;
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        let answer = rig.send(request(method, "/mcp", &[], String::new())).await;
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").starts_with("Bearer resource_metadata="), "{answer:?}");
    }
    assert_eq!(rig.shared.lately.told(), portcullis::telemetry::Told::default());
}

// trouble: scope-403
#[tokio::test]
async fn a_missing_scope_is_told_with_all_that_are_needed() {
    let rig = Rig::with(&yaml(([127, 0, 0, 1], 9).into(), ", scopes: [a, b]")).await;
    let client = rig.register().await;
    let first = rig.tokens(&client, "alice").await;
    let narrow = rig.refresh(&client, &text(&first, "refresh_token"), &[("scope", "a")]).await.json();
    let answer = rig.call(&text(&narrow, "access_token")).await;
    let challenge = answer.header("www-authenticate").to_owned();
    assert!(challenge.contains("scope=\"a b\", error=\"insufficient_scope\""), "{challenge}");
    in_json_rpc(
        &answer,
        403,
        -32000,
        "the token lacks a scope",
        ("insufficient_scope", Trouble::ScopeMissing),
    );
    let wide = rig.refresh(&client, &text(&narrow, "refresh_token"), &[("scope", "a b c")]).await;
    let told = "scope is wider than what was granted";
    in_json(&wide, 400, "invalid_scope", Trouble::ScopeMissing, told);
    is_explained(&rig, Trouble::ScopeMissing).await;
}

// trouble: rate-limited
#[tokio::test]
async fn a_limit_is_told_by_its_key_and_the_gateway_knows_who_reached_it() {
    let rig =
        Rig::with(&(dev_yaml(([127, 0, 0, 1], 9).into()) + "limits: { token: 1/m, pages: 1/m }\n")).await;
    assert_eq!(rig.refresh("c_x", "x", &[]).await.status, 401);
    for _ in 0..5 {
        let answer = rig.refresh("c_x", "x", &[]).await;
        let told = "too many requests from this address: limits.token is 1/m; try again in 60 s";
        in_json(&answer, 429, "temporarily_unavailable", Trouble::RateLimited, told);
        assert_eq!(answer.header("retry-after"), "60");
    }
    rig.get("/", &[]).await;
    let page = rig.get("/", &[("accept", "text/html")]).await;
    let parts =
        ["Too many requests came from your network.", "Wait 60 seconds", "limits.pages, which is 1/m"];
    on_a_page(&rig, &page, 429, Trouble::RateLimited, &parts).await;
    assert_eq!(times(&rig, Trouble::RateLimited), 6);
    assert_eq!(rig.shared.lately.told().limited, [("127.0.0.1".to_owned(), 6)]);
}

// trouble: github-unreachable
// trouble: github-credentials
// trouble: github-callback
// trouble: sign-in-refused
#[tokio::test]
async fn what_goes_wrong_at_github_is_told_with_the_exact_line_to_mend() {
    let (fake, rig) = world("{ users: [octocat] }").await;
    let client = rig.register().await;
    let callback = format!("{ISSUER}/callback");
    let cases: [(Failure, u16, Trouble, &[&str]); 3] = [
        (
            Failure::Status(503),
            503,
            Trouble::GithubUnreachable,
            &["GitHub cannot be reached just now", "Wait a moment, then try again.", ">Try again</a>"],
        ),
        (
            Failure::Error("incorrect_client_credentials"),
            502,
            Trouble::GithubCredentials,
            &[
                "GitHub does not accept this server&#39;s client id and secret.",
                "generate a new client secret",
            ],
        ),
        (
            Failure::Error("redirect_uri_mismatch"),
            502,
            Trouble::GithubCallback,
            &[
                "The OAuth app at GitHub has another callback URL.",
                "must set this as the Authorization callback URL",
                &callback,
            ],
        ),
    ];
    for (failure, status, trouble, parts) in cases {
        fake.heal();
        fake.fail(TOKEN, failure);
        let page = sign_in(&rig, &client).await;
        on_a_page(&rig, &page, status, trouble, parts).await;
        is_last(&rig, trouble, ("echo", &client, "", status));
    }
    fake.heal();
    fake.deny();
    assert_eq!(sign_in(&rig, &client).await.location("error").as_deref(), Some("access_denied"));
    is_last(&rig, Trouble::SignInRefused, ("echo", &client, "", 303));
}

// trouble: upstream-down
// trouble: upstream-slow
// trouble: upstream-auth
// trouble: upstream-transport
#[tokio::test]
async fn a_server_behind_that_fails_is_told_by_the_name_of_its_service_and_never_its_address() {
    const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n";
    let cases = [
        (SocketAddr::from(([127, 0, 0, 1], 9)), 502, "the upstream cannot be reached", Trouble::UpstreamDown),
        (server("").await, 504, "the upstream did not answer in time", Trouble::UpstreamSlow),
        (server("garbage\r\n\r\n").await, 502, "the upstream broke off", Trouble::UpstreamDown),
        (
            server(UNAUTHORIZED).await,
            502,
            "the upstream answered 401 Unauthorized: it wants a login of its own",
            Trouble::UpstreamAuth,
        ),
        (server(SWITCHES).await, 502, "the upstream switches protocols", Trouble::UpstreamTransport),
    ];
    for (upstream, status, told, trouble) in cases {
        let rig = Rig::with(&yaml(upstream, ", first_byte_timeout: 1s")).await;
        let client = rig.register().await;
        let token = text(&rig.tokens(&client, "alice").await, "access_token");
        let answer = rig.call(&token).await;
        let message = format!("echo: {told} (finding {trouble})");
        in_json_rpc(&answer, status, -32603, &message, (trouble.id(), trouble));
        assert!(!answer.body.contains(&upstream.to_string()), "{answer:?}");
        is_explained(&rig, trouble).await;
        is_last(&rig, trouble, ("echo", &client, "dev:alice", status));
    }
}

// trouble: upstream-host
#[tokio::test]
async fn a_server_behind_is_asked_by_its_own_host_and_of_no_origin() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            stream.read_buf(&mut head).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&head).to_lowercase()
    });
    let rig = Rig::with(&yaml(upstream, "")).await;
    let bearer =
        format!("Bearer {}", text(&rig.tokens(&rig.register().await, "alice").await, "access_token"));
    let headers = [("authorization", bearer.as_str()), ("origin", "http://localhost:6274")];
    let answer = rig.send(request("POST", "/mcp", &headers, "{}".into())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let asked = asked.await.unwrap();
    assert!(
        asked.contains(&format!("\r\nhost: {upstream}\r\n")) && !asked.contains("\r\norigin:"),
        "{asked}"
    );
}

// trouble: session-lost
#[tokio::test]
async fn a_session_of_somebody_else_is_404_as_mcp_wants_it() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let bearer = format!("Bearer {}", text(&rig.tokens(&client, "alice").await, "access_token"));
    let headers = [("authorization", bearer.as_str()), ("mcp-session-id", "invented")];
    let answer = rig.send(request("POST", "/mcp", &headers, "{}".into())).await;
    let told = json!({
        "jsonrpc": "2.0", "id": null,
        "error": { "code": -32001, "message": "Session not found", "data": {
            "trouble": "session-lost",
            "help": format!("{ISSUER}/help/session-lost"),
            "request_id": answer.header("x-request-id"),
        } },
    });
    assert_eq!((answer.status.as_u16(), answer.json()), (404, told));
}

// trouble: request-body
#[tokio::test]
async fn a_body_that_is_too_large_is_told_with_its_limit() {
    let rig = Rig::with(&yaml(([127, 0, 0, 1], 9).into(), ", max_body_bytes: 10")).await;
    let token = text(&rig.tokens(&rig.register().await, "alice").await, "access_token");
    let answer = rig.call(&token).await;
    let message = "echo: the request body is larger than 10 bytes (finding body-too-large)";
    in_json_rpc(&answer, 413, -32000, message, ("body-too-large", Trouble::RequestBody));
    is_explained(&rig, Trouble::RequestBody).await;
}

// trouble: redis-down
#[tokio::test]
async fn while_redis_is_away_sign_ins_are_put_off_and_tokens_work_on() {
    let mut redis = Redis::start();
    let store = "store: file:{folder}/portcullis.db";
    let rig =
        Rig::with(&dev_yaml(([127, 0, 0, 1], 9).into()).replace(store, &format!("store: {}", redis.url())))
            .await;
    let client = rig.register().await;
    let token = text(&rig.tokens(&client, "alice").await, "access_token");
    redis.stop();
    let body = json!({ "redirect_uris": [REDIRECT] }).to_string();
    let answer = rig.send(request("POST", "/register", &[], body)).await;
    in_json(&answer, 503, "temporarily_unavailable", Trouble::RedisDown, "the store is away");
    assert_eq!(answer.header("retry-after"), "2");
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(&client))), &[]).await;
    let parts = ["The server cannot reach its store just now.", "Try again in a moment: reload this page."];
    on_a_page(&rig, &page, 503, Trouble::RedisDown, &parts).await;
    assert_eq!(rig.call(&token).await.status, 502, "admitted, and nothing listens behind");
    rig.clock.advance(Duration::from_mins(6));
    let stale = rig.call(&token).await;
    assert_eq!((stale.status.as_u16(), stale.header("retry-after")), (503, "2"));
    assert_eq!(stale.json()["error"]["data"]["trouble"], "redis-down");
    assert_eq!(times(&rig, Trouble::RedisDown), 3);
}

// trouble: tunnel
#[tokio::test]
async fn a_host_that_is_none_of_ours_is_told_where_the_gateway_is() {
    let rig = Rig::dev().await;
    let answer = rig.get("/mcp", &[("host", "abc.ngrok-free.app")]).await;
    let told =
        "this gateway does not serve the host abc.ngrok-free.app; it is reached at http://localhost:8080";
    in_json(&answer, 421, "unknown_host", Trouble::Tunnel, told);
    let metadata = rig
        .get("/.well-known/oauth-authorization-server", &[("x-original-host", "abc.ngrok-free.app")])
        .await;
    assert_eq!(metadata.status, 200);
    assert!(!metadata.body.contains("ngrok") && metadata.json()["issuer"] == ISSUER, "{metadata:?}");
}

// trouble: login-hijacked
#[tokio::test]
async fn neither_another_site_nor_the_provider_decides_where_a_sign_in_ends() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let query = authorize_query(&client);
    let page = rig.get(&format!("/authorize?{}", encode(&query)), &[]).await;
    let token = page.input("form_token");
    let form = [query, vec![("form_token", token.as_str()), ("decision", "approve")]].concat();
    let foreign = rig
        .post("/authorize", &[("cookie", &page.cookies()), ("origin", "https://evil.example")], &form)
        .await;
    let parts = ["Another website tried to answer for you. Nothing was granted."];
    on_a_page(&rig, &foreign, 403, Trouble::LoginHijacked, &parts).await;
    let (callback, cookies) = on_the_way(&rig, &client, "alice").await;
    let rewritten =
        format!("{callback}&redirect_uri=https%3A%2F%2Fevil.example%2F&iss=https%3A%2F%2Fevil.example");
    let back = rig.get(&rewritten, &[("cookie", &cookies)]).await;
    assert!(back.header("location").starts_with(&format!("{REDIRECT}?code=")), "{back:?}");
    assert_eq!(back.location("iss").as_deref(), Some(ISSUER));
}

#[tokio::test]
async fn help_is_there_for_people_and_programs_and_for_anybody_to_keep() {
    // C5
    let rig = Rig::dev().await;
    let all = rig.get("/help", &[("accept", "text/html")]).await;
    assert_eq!((all.status.as_u16(), all.header("content-type")), (200, "text/html; charset=utf-8"));
    for trouble in Trouble::ALL {
        assert!(all.body.contains(&format!("<a href=\"/help/{trouble}\">")), "{trouble}");
        let target = format!("/help/{trouble}");
        let page = rig.get(&target, &[("accept", "text/html"), ("cookie", "a=b")]).await;
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "public, max-age=3600"),
            ("vary", "accept"),
            (
                "content-security-policy",
                "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("set-cookie", ""),
        ] {
            assert_eq!(page.header(name), value, "{trouble}: {name}");
        }
        assert_eq!(page.status, 200);
    }
    let head = rig.send(request("HEAD", "/help/dns", &[], String::new())).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    assert_eq!(rig.send(request("POST", "/help/dns", &[], String::new())).await.header("allow"), "GET, HEAD");
    let unknown = rig.get("/help/%3Cscript%3E", &[("accept", "text/html")]).await;
    assert_eq!((unknown.status.as_u16(), unknown.header("cache-control")), (404, "no-store"));
    assert!(
        unknown.body.contains("There is no page about a trouble of that name.")
            && !unknown.body.contains("script"),
        "{unknown:?}"
    );
    let unknown = rig.get("/help/none", &[("accept", "application/json")]).await;
    let told = format!("there is no trouble of that name; all of them are at {ISSUER}/help");
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()),
        (404, json!({ "error": "not_found", "error_description": told }))
    );
    let elsewhere = dev_yaml(([127, 0, 0, 1], 9).into())
        + "  other: { url: \"http://127.0.0.1:8080/mcp\", upstream: \"http://127.0.0.1:9/mcp\" }\n";
    let rig = Rig::with(&elsewhere).await;
    let other = rig.get("/help/dns", &[("host", "127.0.0.1:8080")]).await;
    assert_eq!(other.status, 404, "a service's host is the service's");
}

#[tokio::test]
async fn programs_read_help_as_json() {
    let rig = Rig::dev().await;
    let json = rig.get("/help/redis-down", &[("accept", "application/json")]).await;
    let explanation = Trouble::RedisDown.explanation();
    assert_eq!(
        json.json(),
        json!({
            "id": "redis-down",
            "group": "Starting",
            "symptom": explanation.symptom,
            "cause": explanation.cause,
            "fix": explanation.fix,
            "portcullis": explanation.portcullis,
            "clients": [{ "client": "Claude, Cursor, VS Code", "shows": explanation.clients[0].1 }],
            "url": format!("{ISSUER}/help/redis-down"),
        })
    );
    assert_eq!(json.header("access-control-allow-origin"), "*");
    let list = rig.get("/help", &[("accept", "application/json")]).await.json();
    assert_eq!(list["groups"][0]["group"], "Starting");
    assert_eq!(
        list["groups"][0]["troubles"][0],
        json!({
            "id": "env-missing",
            "symptom": Trouble::EnvMissing.explanation().symptom,
            "url": format!("{ISSUER}/help/env-missing"),
        })
    );
}

#[tokio::test]
async fn what_is_remembered_is_no_secret_and_no_way_in() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let code = rig.code(&client, "alice").await;
    let tokens = rig.redeem(&client, &code, &[]).await.json();
    rig.redeem(&client, &code, &[]).await;
    rig.call(&text(&tokens, "access_token")).await;
    rig.refresh(&client, &text(&tokens, "refresh_token"), &[]).await;
    let told = format!("{:?}", rig.shared.lately.told());
    for secret in [code, text(&tokens, "access_token"), text(&tokens, "refresh_token"), VERIFIER.to_owned()] {
        assert!(!told.contains(&secret), "{told}");
    }
    let tokens = rig.shared.lately.told().tokens;
    assert_eq!(tokens.iter().map(|one| one.times).sum::<u64>(), 3, "{told}");
    let reuse = &remembered(&rig, Trouble::ExchangeFailed)[1].failure;
    assert_eq!(
        [&reuse.service, &reuse.client, &reuse.subject].map(Option::as_deref),
        [Some("echo"), Some(client.as_str()), Some("dev:alice")],
        "whose it was"
    );
}
