//! Clients that name themselves by a metadata document: M1–M10, D14, C10.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{Response, StatusCode};
use portcullis::fetch::{Bounds, PublicError};
use portcullis::gateway::DocumentSource;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use url::Url;

use crate::discovery::TWO_HOSTS;
use crate::support::rig::{Answer, REDIRECT, Rig, authorize_query, dev_yaml, encode};

const APP: &str = "https://app.example.com/client.json";

type Maker = dyn Fn(Bounds) -> Result<Response<Bytes>, PublicError> + Send + Sync;

/// The internet, as far as it has documents.
struct Internet {
    pages: Mutex<HashMap<String, Arc<Maker>>>,
    asked: Mutex<Vec<String>>,
    /// One permit an answer, where a test wants to hold them back.
    open: Semaphore,
}

impl Internet {
    fn new() -> Arc<Self> {
        let open = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { pages: Mutex::default(), asked: Mutex::default(), open })
    }

    fn put(
        &self,
        url: &str,
        page: impl Fn(Bounds) -> Result<Response<Bytes>, PublicError> + Send + Sync + 'static,
    ) {
        self.pages.lock().unwrap().insert(url.to_owned(), Arc::new(page));
    }

    /// A document that may be kept as `cache` says.
    fn publish(&self, url: &str, document: &Value, cache: &'static str) {
        let body = document.to_string();
        self.put(url, move |_| {
            Ok(Response::builder().header(CACHE_CONTROL, cache).body(Bytes::from(body.clone())).unwrap())
        });
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl DocumentSource for Internet {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        bounds: Bounds,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, PublicError>> + Send + 'a>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(url.to_string());
            self.open.acquire().await.unwrap().forget();
            let page = self.pages.lock().unwrap().get(url.as_str()).cloned();
            page.unwrap_or_else(|| panic!("nobody was to ask for {url}"))(bounds)
        })
    }
}

fn document(url: &str) -> Value {
    json!({ "client_id": url, "client_name": "App", "redirect_uris": ["http://localhost/callback"] })
}

fn yaml(more: &str) -> String {
    dev_yaml(([127, 0, 0, 1], 9).into()) + more
}

/// A gateway and an internet in which [`APP`] has a good document.
async fn rig() -> (Rig, Arc<Internet>) {
    let internet = Internet::new();
    internet.publish(APP, &document(APP), "max-age=0");
    (Rig::with_documents(&yaml(""), internet.clone()).await, internet)
}

async fn open(rig: &Rig, client: &str) -> Answer {
    rig.get(&format!("/authorize?{}", encode(&authorize_query(client))), &[]).await
}

async fn open_as_json(rig: &Rig, client: &str) -> Answer {
    let target = format!("/authorize?{}", encode(&authorize_query(client)));
    rig.get(&target, &[("accept", "application/json")]).await
}

async fn refresh(rig: &Rig, tokens: &Value) -> Answer {
    rig.refresh(APP, tokens["refresh_token"].as_str().unwrap(), &[]).await
}

#[tokio::test]
async fn a_client_comes_by_its_document_and_is_never_fetched_again_for_its_tokens() {
    // M2, M3, M10: the document's redirect URI has no port.
    let (rig, internet) = rig().await;
    let tokens = rig.tokens(APP, "alice").await;
    assert_eq!(rig.call(tokens["access_token"].as_str().unwrap()).await.status, 502, "admitted");
    assert_eq!(internet.asked(), 1);
    internet.put(APP, |_| panic!("only /authorize fetches"));
    let mut tokens = tokens;
    for _ in 0..3 {
        rig.clock.advance(Duration::from_hours(60 * 24));
        let answer = refresh(&rig, &tokens).await;
        assert_eq!(answer.status, 200, "the record outlives its grants: {answer:?}");
        tokens = answer.json();
    }
    let form = [("token", tokens["refresh_token"].as_str().unwrap()), ("client_id", APP)];
    assert_eq!(rig.post("/revoke", &[], &form).await.status, 200);
    assert_eq!(refresh(&rig, &tokens).await.status, 400);
}

#[tokio::test]
async fn a_browser_that_is_signed_in_already_needs_one_click() {
    // M2: approved without the way through the identity provider, and the client is known at /token all the same.
    let (rig, _internet) = rig().await;
    let registered = rig.register().await;
    let session = rig.sign_in(&authorize_query(&registered), "alice").await.cookies();
    let target = format!("/authorize?{}", encode(&authorize_query(APP)));
    let page = rig.get(&target, &[("cookie", &session)]).await;
    let mut form = authorize_query(APP);
    let token = page.input("form_token");
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    let cookies = format!("{session}; {}", page.cookies());
    let approved = rig.post("/authorize", &[("cookie", &cookies)], &form).await;
    let code = approved.location("code").unwrap_or_else(|| panic!("{approved:?}"));
    assert_eq!(rig.redeem(APP, &code, &[]).await.status, 200);
}

#[tokio::test]
async fn the_page_shows_whose_the_document_is() {
    // C2, M9: clear display of the domain
    let (rig, _internet) = rig().await;
    let page = open(&rig, APP).await;
    let verified = "<span class=\"badge good\">verified</span> This application is published by <strong>app.example.com</strong>";
    assert!(page.body.contains(verified), "{}", page.body);
    let registered = rig.register().await;
    let page = open(&rig, &registered).await;
    assert!(page.body.contains("<span class=\"badge\">unverified</span>"), "{}", page.body);
    assert!(!page.body.contains("badge good"), "{}", page.body);
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_in_the_document_is_told_on_a_page() {
    // M3
    let (rig, _internet) = rig().await;
    for redirect in
        ["http://localhost:4711/other", "https://app.example.com/callback", "http://127.0.0.1/callback"]
    {
        let mut query = authorize_query(APP);
        query.retain(|(name, _)| *name != "redirect_uri");
        query.push(("redirect_uri", redirect));
        let answer = rig.get(&format!("/authorize?{}", encode(&query)), &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""), "{redirect}");
        assert!(answer.body.contains("redirect-mismatch"), "{}", answer.body);
    }
}

/// Asks for a page and for JSON; both tell the same, and neither leads anywhere.
async fn refused(rig: &Rig, client: &str) -> (u16, Value, String, String) {
    let told = open_as_json(rig, client).await;
    assert_eq!((told.header("location"), told.header("content-type")), ("", "application/json"), "{told:?}");
    let sentence = told.json()["error_description"].as_str().unwrap().to_owned();
    (told.status.as_u16(), told.json()["error"].clone(), sentence, told.header("retry-after").to_owned())
}

type Fault = fn() -> PublicError;

/// Each fault on a host of its own: the status, OAuth's code, when to try again, and the sentence.
async fn faults_are_told(status: u16, code: &str, retry: &str, faults: &[(Fault, &str)]) {
    let (rig, internet) = rig().await;
    for (number, (fault, why)) in faults.iter().copied().enumerate() {
        let url = format!("https://{number}.example/client.json");
        internet.put(&url, move |_| Err(fault()));
        let (got, error, sentence, again) = refused(&rig, &url).await;
        assert_eq!((got, error.as_str(), again.as_str()), (status, Some(code), retry), "{why}");
        let wanted =
            format!("The application's description of itself at {number}.example cannot be used: {why}.");
        assert_eq!(sentence, wanted);
    }
}

#[tokio::test]
async fn what_the_owner_of_a_document_has_to_mend_is_a_bad_request() {
    // M4, M5
    let faults: [(Fault, &str); 5] = [
        (
            || PublicError::NotPublic([10, 0, 0, 1].into()),
            "its host name leads to 10.0.0.1, which is no address of the public internet",
        ),
        (
            || PublicError::Redirect(StatusCode::FOUND),
            "its server answered 302 Found and a redirect is not followed; it must be at this very URL",
        ),
        (
            || PublicError::Status(StatusCode::NOT_FOUND),
            "its server answered 404 Not Found; it must be 200 OK",
        ),
        (
            || PublicError::ContentType("text/html".into()),
            "its Content-Type is text/html; it must be application/json",
        ),
        (|| PublicError::TooLarge(5120), "it is larger than 5120 bytes"),
    ];
    faults_are_told(400, "invalid_client", "", &faults).await;
}

#[tokio::test]
async fn what_may_mend_itself_is_to_be_tried_again() {
    // M5, M6
    fn broken() -> io::Error {
        io::Error::other("gone")
    }
    let faults: [(Fault, &str); 5] = [
        (
            || PublicError::Status(StatusCode::SERVICE_UNAVAILABLE),
            "its server answered 503 Service Unavailable; it must be 200 OK",
        ),
        (|| PublicError::Unresolved(broken()), "its host name cannot be resolved"),
        (|| PublicError::Unreachable(broken()), "its server cannot be connected to"),
        (|| PublicError::Tls(broken()), "there is no secure connection to it (gone)"),
        (|| PublicError::BrokeOff(Box::new(broken())), "its server broke off"),
    ];
    faults_are_told(502, "temporarily_unavailable", "5", &faults).await;
    let slow = "its server took longer than 5 seconds";
    let timeout: Fault = || PublicError::Timeout(Duration::from_secs(5));
    faults_are_told(504, "temporarily_unavailable", "5", &[(timeout, slow)]).await;
    let roots: Fault = || PublicError::Roots(rustls::Error::DecryptError);
    let why = "this server has no root certificates to verify it by";
    faults_are_told(500, "server_error", "", &[(roots, why)]).await;
}

// trouble: client-document
#[tokio::test]
async fn each_fault_of_a_document_is_a_page_for_a_person() {
    // M2, M8
    let (rig, internet) = rig().await;
    let with = |url: &str, member: &str, value: Value| {
        let mut body = document(url);
        body[member] = value;
        body
    };
    for (host, member, value, why) in [
        (
            "a",
            "client_id",
            json!(APP),
            "client_id is https://app.example.com/client.json; it must be the document&#39;s own URL",
        ),
        ("b", "client_name", json!(null), "client_name is missing"),
        ("c", "redirect_uris", json!([]), "redirect_uris must name at least one URI"),
        ("d", "redirect_uris", json!(["javascript:alert(1)"]), "the scheme javascript is not allowed"),
        (
            "e",
            "token_endpoint_auth_method",
            json!("client_secret_basic"),
            "client_secret_basic needs a secret",
        ),
        ("f", "client_secret", json!("hunter2"), "there is a client_secret in it"),
        ("g", "token_endpoint_auth_method", json!("private_key_jwt"), "private_key_jwt is not verified here"),
        ("h", "grant_types", json!(["implicit"]), "grant_types has none of authorization_code"),
    ] {
        let url = format!("https://{host}.example/client.json");
        internet.publish(&url, &with(&url, member, value), "max-age=3600");
        rig.clock.advance(Duration::from_mins(1));
        let page = open(&rig, &url).await;
        assert_eq!((page.status.as_u16(), page.header("location")), (400, ""), "{page:?}");
        assert!(page.header("content-type").starts_with("text/html"));
        for part in [why, "client-document", &format!("{host}.example")] {
            assert!(page.body.contains(part), "{part}: {}", page.body);
        }
        assert!(!page.body.contains("hunter2"));
    }
    internet.put("https://j.example/c", |_| Ok(Response::new(Bytes::from_static(b"<!doctype html>"))));
    let (status, error, sentence, _) = refused(&rig, "https://j.example/c").await;
    assert_eq!((status, error), (400, json!("invalid_client")));
    assert!(sentence.ends_with("body: must be a JSON object."), "{sentence}");
}

#[tokio::test]
async fn an_id_that_cannot_be_a_documents_url_is_not_fetched() {
    // M1
    let (rig, internet) = rig().await;
    for (id, why) in [
        ("http://app.example.com/c", "a client_id that is a URL must begin with https://"),
        ("https://app.example.com", "the URL must have a path, such as /client.json"),
        ("https://app.example.com/c#f", "the URL must not have a fragment"),
        ("https://u@app.example.com/c", "the URL must not have a user name or password in it"),
        ("https://app.example.com/../c", "the URL must not have . or .. for a part of its path"),
        ("https://app.example.com:8443/c", "the URL must be on the standard port"),
        ("https://169.254.169.254/latest", "the URL must have a host name, not an address"),
        ("https://localhost/c", "the URL must have a full host name, such as app.example.com"),
        ("https://App.example.com/c", "the URL must be written as https://app.example.com/c"),
    ] {
        let (status, error, sentence, _) = refused(&rig, id).await;
        assert_eq!((status, error.as_str()), (400, Some("invalid_client")), "{id}");
        assert_eq!(sentence, format!("The application does not say properly who it is: {why}."), "{id}");
    }
    assert_eq!(internet.asked(), 0);
}

#[tokio::test]
async fn a_document_is_kept_for_five_minutes_at_least_and_then_read_again() {
    // M6, C10: the changed document is asked for anew, and what the store remembers of it does not shadow it.
    let (rig, internet) = rig().await;
    rig.tokens(APP, "alice").await;
    let mut changed = document(APP);
    changed["redirect_uris"] = json!(["https://app.example.com/callback"]);
    changed["client_name"] = json!("Renamed");
    internet.publish(APP, &changed, "no-store");
    rig.clock.advance(Duration::from_secs(299));
    assert_eq!(open(&rig, APP).await.status, 200);
    assert_eq!(internet.asked(), 1);
    rig.clock.advance(Duration::from_secs(1));
    let withdrawn = open(&rig, APP).await;
    assert_eq!(withdrawn.status, 400);
    assert!(withdrawn.body.contains("Renamed asks for the answer at"), "{}", withdrawn.body);
    let query: Vec<_> = authorize_query(APP)
        .into_iter()
        .map(|(name, value)| {
            (name, if value == REDIRECT { "https://app.example.com/callback" } else { value })
        })
        .collect();
    let page = rig.get(&format!("/authorize?{}", encode(&query)), &[]).await;
    assert!(
        page.body.contains("Renamed") && page.body.contains("<code>app.example.com</code>"),
        "{}",
        page.body
    );
    let approved = rig.sign_in(&query, "alice").await;
    assert!(
        approved.header("location").starts_with("https://app.example.com/callback?code="),
        "{approved:?}"
    );
    assert_eq!(internet.asked(), 2);
}

#[tokio::test]
async fn a_document_is_kept_as_its_server_says_for_a_day_at_most() {
    // M6
    let (rig, internet) = rig().await;
    for (host, cache, hours) in [("a", "max-age=7200", 2), ("b", "max-age=31536000", 24)] {
        let url = format!("https://{host}.example/c");
        internet.publish(&url, &document(&url), cache);
        assert_eq!(open(&rig, &url).await.status, 200);
        let before = internet.asked();
        rig.clock.advance(Duration::from_secs(hours * 3600 - 1));
        assert_eq!((open(&rig, &url).await.status.as_u16(), internet.asked()), (200, before));
        rig.clock.advance(Duration::from_secs(1));
        assert_eq!((open(&rig, &url).await.status.as_u16(), internet.asked()), (200, before + 1));
    }
}

#[tokio::test]
async fn while_nothing_is_heard_of_a_document_the_last_one_is_used_for_a_day() {
    // M6
    let (rig, internet) = rig().await;
    assert_eq!(open(&rig, APP).await.status, 200);
    internet.put(APP, |_| Err(PublicError::Status(StatusCode::NOT_FOUND)));
    rig.clock.advance(Duration::from_mins(5));
    assert_eq!((open(&rig, APP).await.status.as_u16(), internet.asked()), (200, 2));
    rig.clock.advance(Duration::from_secs(59));
    assert_eq!((open(&rig, APP).await.status.as_u16(), internet.asked()), (200, 2), "asked once a minute");
    rig.clock.advance(Duration::from_hours(24));
    assert_eq!((open(&rig, APP).await.status.as_u16(), internet.asked()), (400, 3));
}

#[tokio::test]
async fn an_answer_against_a_document_holds_at_once() {
    // M4, M6, M8
    let (rig, internet) = rig().await;
    let mut secret = document("https://c.example/c");
    secret["client_secret"] = json!("x");
    let body = Bytes::from(secret.to_string());
    let answers: [(&str, Box<Maker>); 3] = [
        ("a", Box::new(|_| Err(PublicError::Status(StatusCode::GONE)))),
        ("b", Box::new(|_| Err(PublicError::NotPublic([127, 0, 0, 1].into())))),
        ("c", Box::new(move |_| Ok(Response::new(body.clone())))),
    ];
    for (host, answer) in answers {
        let url = format!("https://{host}.example/c");
        internet.publish(&url, &document(&url), "max-age=0");
        assert_eq!(open(&rig, &url).await.status, 200);
        internet.put(&url, answer);
        rig.clock.advance(Duration::from_mins(5));
        assert_eq!(open(&rig, &url).await.status, 400, "{host}");
    }
}

#[tokio::test]
async fn an_error_is_not_kept() {
    // M6
    let (rig, internet) = rig().await;
    internet.put(APP, |_| Err(PublicError::Status(StatusCode::BAD_GATEWAY)));
    assert_eq!(open(&rig, APP).await.status, 502);
    internet.publish(APP, &document(APP), "max-age=0");
    assert_eq!(open(&rig, APP).await.status, 200);
}

#[tokio::test]
async fn many_who_want_one_document_fetch_it_once() {
    // M6
    let (rig, internet) = rig().await;
    for (document_is_good, status) in [(true, 200), (false, 502)] {
        let url = format!("https://{document_is_good}.example/c");
        if document_is_good {
            internet.publish(&url, &document(&url), "max-age=0");
        } else {
            internet.put(&url, |_| Err(PublicError::Status(StatusCode::BAD_GATEWAY)));
        }
        rig.clock.advance(Duration::from_mins(1));
        let before = internet.asked();
        internet.open.forget_permits(Semaphore::MAX_PERMITS);
        let eight =
            async { tokio::join!(open(&rig, &url), open(&rig, &url), open(&rig, &url), open(&rig, &url)) };
        let (answers, ()) = tokio::join!(eight, async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            internet.open.add_permits(1000);
        });
        let (a, b, c, d) = answers;
        assert_eq!([a, b, c, d].map(|answer| answer.status.as_u16()), [status; 4]);
        assert_eq!(internet.asked(), before + 1, "{url}");
    }
}

#[tokio::test]
async fn a_network_causes_ten_fetches_a_minute() {
    let (rig, internet) = rig().await;
    for number in 0..11 {
        let url = format!("https://{number}.example/c");
        internet.publish(&url, &document(&url), "max-age=0");
    }
    for number in 0..10 {
        assert_eq!(open(&rig, &format!("https://{number}.example/c")).await.status, 200);
    }
    let (status, error, sentence, retry) = refused(&rig, "https://10.example/c").await;
    assert_eq!((status, error.as_str(), retry.as_str()), (429, Some("temporarily_unavailable"), "6"));
    assert!(sentence.ends_with("too many descriptions were fetched for your network."), "{sentence}");
    assert_eq!(open(&rig, "https://10.example/c").await.header("retry-after"), "6");
    assert_eq!(open(&rig, "https://3.example/c").await.status, 200, "it is there already");
    assert_eq!(internet.asked(), 10);
    rig.clock.advance(Duration::from_mins(1));
    assert_eq!(open(&rig, "https://10.example/c").await.status, 200);
}

#[tokio::test]
async fn the_operator_says_whose_documents_are_accepted() {
    // M9
    let internet = Internet::new();
    let rules =
        "clients: { documents: { allow: [\"*.example.com\"], deny: [bad.example.com], max_bytes: 600 } }\n";
    let rig = Rig::with_documents(&yaml(rules), internet.clone()).await;
    internet.put(APP, |bounds| {
        assert_eq!((bounds.body, bounds.time), (600, Duration::from_secs(5)));
        Ok(Response::new(Bytes::from(document(APP).to_string())))
    });
    assert_eq!(open(&rig, APP).await.status, 200);
    for foreign in ["https://claude.ai/oauth/x", "https://bad.example.com/c", "https://example.com/c"] {
        let (status, error, sentence, _) = refused(&rig, foreign).await;
        assert_eq!((status, error), (403, json!("invalid_client")), "{foreign}");
        assert!(sentence.ends_with("this server does not accept applications from there."), "{sentence}");
    }
    assert_eq!(internet.asked(), 1);
    let tokens = rig.tokens(APP, "alice").await;
    let rig = rig.reconfigured(|yaml| yaml.replace("bad.example.com", "app.example.com")).await;
    let answer = refresh(&rig, &tokens).await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (401, Some("invalid_client")));
}

#[tokio::test]
async fn where_documents_are_off_they_are_unknown_and_not_advertised() {
    // M9, D14
    let internet = Internet::new();
    let rig = Rig::with_documents(&yaml("clients: { documents: off }\n"), internet.clone()).await;
    let metadata = rig.get("/.well-known/oauth-authorization-server", &[]).await.json();
    assert_eq!(metadata.get("client_id_metadata_document_supported"), None);
    let page = open(&rig, APP).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("client-unknown"), "{}", page.body);
    let (status, error, ..) = refused(&rig, "http://no.document/").await;
    assert_eq!((status, error), (400, json!("invalid_client")));
    assert_eq!(internet.asked(), 0);
}

#[tokio::test]
async fn a_document_on_a_host_of_ours_is_not_fetched() {
    // M4
    let internet = Internet::new();
    let rig = Rig::with_documents(TWO_HOSTS, internet.clone()).await;
    let target = format!("/authorize?{}", encode(&authorize_query("https://fetch.example.com/client.json")));
    let answer = rig.get(&target, &[("host", "auth.example.com"), ("accept", "application/json")]).await;
    let (status, told) = (answer.status.as_u16(), answer.json());
    let sentence = told["error_description"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(sentence.ends_with("it is on a host of this very server."), "{sentence}");
    assert_eq!(internet.asked(), 0);
}

#[tokio::test]
async fn a_stranger_cannot_pass_for_a_client_that_nobody_approved() {
    // M2, G10: no record, no client, and no fetch for it.
    let (rig, internet) = rig().await;
    assert_eq!(open(&rig, APP).await.status, 200);
    let answer = rig.redeem(APP, "x", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (401, Some("invalid_client")));
    assert_eq!(internet.asked(), 1);
}
