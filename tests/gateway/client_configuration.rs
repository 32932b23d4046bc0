//! `/register/<client id>`, RFC 7592: G1, G9, G10.

use serde_json::{Value, json};

use crate::support::rig::{Answer, ISSUER, REDIRECT, Rig, authorize_query, encode, request};

/// A registration: the client's id, its token, and the path where it is managed.
struct Registration {
    id: String,
    token: String,
    path: String,
}

async fn registered(rig: &Rig) -> Registration {
    let body = json!({ "client_name": "Rig", "redirect_uris": [REDIRECT], "software_id": "x" }).to_string();
    let answer = rig.send(request("POST", "/register", &[], body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = answer.json();
    let text = |member: &str| answer[member].as_str().unwrap().to_owned();
    let uri = text("registration_client_uri");
    let path = uri.strip_prefix(ISSUER).expect("it is at the issuer").to_owned();
    Registration { id: text("client_id"), token: text("registration_access_token"), path }
}

impl Registration {
    async fn send(&self, rig: &Rig, method: &str, body: &str) -> Answer {
        send(rig, method, &self.path, Some(&self.token), body).await
    }

    async fn put(&self, rig: &Rig, body: &Value) -> Answer {
        self.send(rig, "PUT", &body.to_string()).await
    }

    /// A good update, to be changed.
    fn update(&self) -> Value {
        json!({ "client_id": self.id, "client_name": "New", "redirect_uris": ["https://new.example/cb"] })
    }
}

async fn send(rig: &Rig, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    rig.send(request(method, path, &headers, body.to_owned())).await
}

fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.json()["error"].as_str().unwrap().to_owned())
}

const NO_TOKEN: &str = "Bearer realm=\"client registration\"";
const WRONG_TOKEN: &str = "Bearer realm=\"client registration\", error=\"invalid_token\"";

/// The one answer to whoever has no business here.
fn is_refused(answer: &Answer, challenge: &str, what: &str) {
    assert_eq!(refusal(answer), (401, "invalid_token".into()), "{what}: {answer:?}");
    assert_eq!(answer.header("www-authenticate"), challenge, "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
}

#[tokio::test]
async fn a_client_reads_its_registration_by_its_token() {
    // G1, G9
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    let answer = client.send(&rig, "GET", "").await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(
        answer.json(),
        json!({
            "client_id": client.id,
            "client_id_issued_at": 1_800_000_000,
            "registration_access_token": client.token,
            "registration_client_uri": format!("{ISSUER}/register/{}", client.id),
            "redirect_uris": [REDIRECT],
            "client_name": "Rig",
            "software_id": "x",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        })
    );
}

#[tokio::test]
async fn the_store_has_only_the_digest_of_a_registration_token() {
    // T16
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    let file = crate::stored::stored(&rig).await;
    let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&client.id) && !holds(&client.token));
}

#[tokio::test]
async fn an_update_replaces_the_whole_registration() {
    // G9
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    let answer = client.put(&rig, &client.update()).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    let updated = json!({
        "client_id": client.id,
        "client_id_issued_at": 1_800_000_000,
        "registration_access_token": client.token,
        "registration_client_uri": format!("{ISSUER}{}", client.path),
        "redirect_uris": ["https://new.example/cb"],
        "client_name": "New",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    assert_eq!(answer.json(), updated, "software_id was left out, so it is gone");
    assert_eq!(client.send(&rig, "GET", "").await.json(), updated);
}

#[tokio::test]
async fn a_redirect_uri_that_an_update_dropped_is_followed_no_more_but_a_code_sent_there_is_good() {
    // G9, A1, A11
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    let code = rig.code(&client.id, "alice").await;
    assert_eq!(client.put(&rig, &client.update()).await.status, 200);
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(&client.id))), &[]).await;
    assert_eq!((page.status.as_u16(), page.header("location")), (400, ""));
    assert_eq!(rig.redeem(&client.id, &code, &[]).await.status, 200, "it was bound when it was issued");
}

#[tokio::test]
async fn an_update_without_refresh_tokens_ends_refreshing_and_no_grant() {
    // G9, T13
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    let tokens = rig.tokens(&client.id, "alice").await;
    let mut update = client.update();
    update["grant_types"] = json!(["authorization_code"]);
    assert_eq!(client.put(&rig, &update).await.json()["grant_types"], json!(["authorization_code"]));
    let refresh = rig.refresh(&client.id, tokens["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!(refusal(&refresh), (400, "unauthorized_client".into()));
    assert_eq!(rig.call(tokens["access_token"].as_str().unwrap()).await.status, 502, "still admitted");
}

#[tokio::test]
async fn a_bad_update_changes_nothing() {
    // G9, G3, G6, G8
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    let before = client.send(&rig, "GET", "").await.json();
    let with = |member: &str, value: Value| {
        let mut update = client.update();
        update[member] = value;
        update.to_string()
    };
    let metadata = "invalid_client_metadata";
    let bad = [
        (with("client_id", Value::Null), metadata),
        (with("client_id", json!("c_other")), metadata),
        (with("client_id", json!(7)), metadata),
        (with("registration_access_token", json!(client.token)), metadata),
        (with("registration_client_uri", json!("https://a.example/")), metadata),
        (with("client_secret_expires_at", json!(0)), metadata),
        (with("client_id_issued_at", json!(1)), metadata),
        (with("client_secret", json!("mine")), metadata),
        (with("client_name", json!(7)), metadata),
        (with("grant_types", json!(["client_credentials"])), metadata),
        (with("response_types", json!(["token"])), metadata),
        (with("redirect_uris", Value::Null), "invalid_redirect_uri"),
        (with("redirect_uris", json!([])), "invalid_redirect_uri"),
        (with("redirect_uris", json!(["javascript:alert(1)"])), "invalid_redirect_uri"),
        (with("redirect_uris", json!(["http://a.example/cb"])), "invalid_redirect_uri"),
        (String::new(), metadata),
        ("[]".into(), metadata),
        ("{".into(), metadata),
    ];
    for (body, error) in bad {
        let answer = client.send(&rig, "PUT", &body).await;
        assert_eq!(refusal(&answer), (400, error.into()), "{body}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let huge = with("x", json!("y".repeat(100_000)));
    assert_eq!(refusal(&client.send(&rig, "PUT", &huge).await), (413, metadata.into()));
    assert_eq!(client.send(&rig, "GET", "").await.json(), before);
}

#[tokio::test]
async fn a_deleted_client_is_unknown_everywhere_and_its_grants_have_ended() {
    // G9, G10, R14
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    let pending = rig.code(&client.id, "bob").await;
    let tokens = rig.tokens(&client.id, "alice").await;
    let access = tokens["access_token"].as_str().unwrap();
    let deleted = client.send(&rig, "DELETE", "").await;
    assert_eq!((deleted.status.as_u16(), deleted.body.as_str()), (204, ""));
    assert_eq!(deleted.header("cache-control"), "no-store");
    let refused = rig.call(access).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""), "{refused:?}");
    let refresh = rig.refresh(&client.id, tokens["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!(refusal(&refresh), (401, "invalid_client".into()));
    assert_eq!(refusal(&rig.redeem(&client.id, &pending, &[]).await), (401, "invalid_client".into()));
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(&client.id))), &[]).await;
    assert_eq!((page.status.as_u16(), page.header("location")), (400, ""));
    for method in ["GET", "PUT", "DELETE"] {
        is_refused(&client.send(&rig, method, "{}").await, WRONG_TOKEN, method);
    }
    let id = portcullis::oauth::ClientId::parse(&client.id).unwrap();
    let grants = rig.shared.store.grants_of_client(&id, portcullis::clock::Clock::now(&*rig.clock));
    assert_eq!(grants.await.unwrap(), [], "the pending one has ended too");
}

#[tokio::test]
async fn nobody_else_s_grants_end_with_a_client() {
    // G9
    let rig = Rig::dev().await;
    let (one, other) = (registered(&rig).await, registered(&rig).await);
    let tokens = rig.tokens(&other.id, "alice").await;
    assert_eq!(one.send(&rig, "DELETE", "").await.status, 204);
    assert_eq!(rig.call(tokens["access_token"].as_str().unwrap()).await.status, 502, "still admitted");
    assert_eq!(other.send(&rig, "GET", "").await.status, 200);
}

#[tokio::test]
async fn without_the_client_s_own_token_every_answer_is_the_same() {
    // G9
    let rig = Rig::dev().await;
    let (client, other) = (registered(&rig).await, registered(&rig).await);
    let access = rig.tokens(&client.id, "alice").await["access_token"].as_str().unwrap().to_owned();
    for method in ["GET", "PUT", "DELETE"] {
        let body = client.update().to_string();
        is_refused(&send(&rig, method, &client.path, None, &body).await, NO_TOKEN, method);
        for token in ["x", other.token.as_str(), access.as_str(), &client.token[1..], &"x".repeat(5000)] {
            let answer = send(&rig, method, &client.path, Some(token), &body).await;
            is_refused(&answer, WRONG_TOKEN, &format!("{method} with {token}"));
        }
        for path in ["/register/c_unknown", "/register/https:x", other.path.as_str()] {
            let answer = send(&rig, method, path, Some(&client.token), &body).await;
            is_refused(&answer, WRONG_TOKEN, &format!("{method} {path}"));
        }
    }
    let in_query = format!("{}?access_token={}", client.path, client.token);
    is_refused(&send(&rig, "GET", &in_query, None, "").await, NO_TOKEN, "a token in the query is none");
    let twice = send(&rig, "GET", &in_query, Some(&client.token), "").await;
    assert_eq!(refusal(&twice), (400, "invalid_request".into()));
    assert_eq!(
        client.send(&rig, "GET", "").await.json()["client_name"],
        "Rig",
        "nothing of this did anything"
    );
}

#[tokio::test]
async fn a_registration_that_expired_is_managed_no_more() {
    // G9, G10
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    rig.clock.advance(std::time::Duration::from_hours(24));
    for method in ["GET", "PUT", "DELETE"] {
        is_refused(&client.send(&rig, method, &client.update().to_string()).await, WRONG_TOKEN, method);
    }
}

#[tokio::test]
async fn an_update_keeps_the_life_that_use_gave_the_client() {
    // G8, G9
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    rig.tokens(&client.id, "alice").await;
    assert_eq!(client.put(&rig, &client.update()).await.status, 200);
    rig.clock.advance(std::time::Duration::from_hours(48));
    assert_eq!(client.send(&rig, "GET", "").await.status, 200);
}

#[tokio::test]
async fn only_get_put_and_delete_are_answered_and_only_at_the_issuer() {
    // G9, D16
    let rig = Rig::dev().await;
    let client = registered(&rig).await;
    for method in ["POST", "PATCH"] {
        let answer = client.send(&rig, method, "{}").await;
        assert_eq!(answer.header("allow"), "GET, PUT, DELETE, OPTIONS", "{method}");
        assert_eq!(refusal(&answer), (405, "method_not_allowed".into()));
    }
    let preflight = [("origin", "https://a.example"), ("access-control-request-method", "PUT")];
    let allowed = rig.send(request("OPTIONS", &client.path, &preflight, String::new())).await;
    assert_eq!(allowed.header("access-control-allow-methods"), "GET, PUT, DELETE, OPTIONS");
    let two_hosts = crate::discovery::TWO_HOSTS;
    let rig = Rig::with(two_hosts).await;
    let proxied = |host| [("host", host), ("x-forwarded-proto", "https"), ("authorization", "Bearer x")];
    let elsewhere = rig.get("/register/c_x", &proxied("fetch.example.com")).await;
    assert_eq!(elsewhere.status, 404, "{elsewhere:?}");
    assert_eq!(rig.get("/register/c_x", &proxied("auth.example.com")).await.status, 401);
}

#[tokio::test]
async fn an_update_and_a_deletion_whose_answer_was_lost_are_done() {
    // G9
    let (rig, store) = Rig::forgetful().await;
    let client = registered(&rig).await;
    let tokens = rig.tokens(&client.id, "alice").await;
    store.lose_the_next_answer();
    let answer = client.put(&rig, &client.update()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["client_name"]), (200, &json!("New")));
    store.lose_the_next_answer();
    assert_eq!(client.send(&rig, "DELETE", "").await.status, 204);
    assert_eq!(rig.call(tokens["access_token"].as_str().unwrap()).await.status, 401);
    is_refused(&client.send(&rig, "GET", "").await, WRONG_TOKEN, "deleted");
}
