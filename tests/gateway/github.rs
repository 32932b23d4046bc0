//! The whole way with GitHub as the identity provider: F1–F5, C7, C8, and what the person is told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use portcullis::fetch::{Bounds, Fetcher};

use crate::support::github::{CLIENT_ID, CLIENT_SECRET, Failure, FakeGitHub, Hiding, Membership};
use crate::support::rig::{Answer, ISSUER, REDIRECT, Rig, authorize_query, dev_yaml, encode};

/// Where GitHub exchanges codes.
pub(crate) const TOKEN: &str = "/login/oauth/access_token";

/// A gateway whose people sign in at a GitHub of ours, where octocat (583231) approves everything. `access` is YAML.
pub(crate) async fn world(access: &str) -> (FakeGitHub, Rig) {
    let fake = FakeGitHub::start().await;
    fake.callback(&format!("{ISSUER}/callback"));
    fake.user(583_231, "octocat");
    fake.approve_as("octocat");
    let github = format!(
        "github: {{ client_id: \"{CLIENT_ID}\", client_secret: \"{CLIENT_SECRET}\", web_url: \"{}\", api_url: \"{}\" }}",
        fake.url(),
        fake.api()
    );
    let yaml = dev_yaml(SocketAddr::from(([127, 0, 0, 1], 9)))
        .replace("dev: {}", &github)
        .replace("{ users: [\"*\"] }", access);
    (fake, Rig::with(&yaml).await)
}

/// Consents, goes to GitHub and comes back: the answer of `/callback`.
pub(crate) async fn sign_in(rig: &Rig, client: &str) -> Answer {
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(client))), &[]).await;
    let token = page.input("form_token");
    let mut form = authorize_query(client);
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    let sent = rig.post("/authorize", &[("cookie", &page.cookies()), ("origin", ISSUER)], &form).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let request = Request::get(sent.header("location")).body(Bytes::new()).unwrap();
    let bounds = Bounds { body: 65_536, time: Duration::from_secs(10) };
    let back = Fetcher::new().send(request, bounds).await.unwrap();
    let back = back.headers()["location"].to_str().unwrap().strip_prefix(ISSUER).unwrap().to_owned();
    rig.get(&back, &[("cookie", &sent.cookies())]).await
}

/// The error that the client is told, with `state` and `iss` beside it.
fn told(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.header("location").starts_with(REDIRECT), "{answer:?}");
    assert_eq!(answer.location("iss").as_deref(), Some(ISSUER));
    assert_eq!(answer.location("state").as_deref(), Some("st/ate+1 ü"));
    answer.location("error").unwrap()
}

async fn subject(rig: &Rig, client: &str, answer: &Answer) -> String {
    let code = answer.location("code").unwrap_or_else(|| panic!("no code: {answer:?}"));
    let tokens = rig.redeem(client, &code, &[]).await.json();
    let now = portcullis::clock::Clock::now(&*rig.clock);
    let keys = rig.shared.signing.load();
    let verified =
        portcullis::token::verify(tokens["access_token"].as_str().unwrap(), &keys, ISSUER, now).unwrap();
    verified.claims().subject.to_string()
}

#[tokio::test]
async fn a_person_signs_in_with_github_and_is_known_by_their_number() {
    // F2, F3
    let (fake, rig) = world("{ users: [octocat] }").await;
    let client = rig.register().await;
    let answer = sign_in(&rig, &client).await;
    assert_eq!(subject(&rig, &client, &answer).await, "github:583231");
    let exchange = &fake.requests_to("/login/oauth/access_token")[0];
    assert_eq!(exchange.headers["accept"], "application/json");
    assert!(exchange.headers["user-agent"].to_str().unwrap().starts_with("portcullis/"));
}

#[tokio::test]
async fn a_renamed_login_keeps_its_place_and_whoever_takes_the_old_one_gets_none() {
    // F3
    let (fake, rig) = world("{ users: [octocat] }").await;
    let client = rig.register().await;
    assert!(sign_in(&rig, &client).await.location("code").is_some());
    fake.rename("octocat", "newcat");
    fake.approve_as("newcat");
    let renamed = sign_in(&rig, &client).await;
    assert_eq!(subject(&rig, &client, &renamed).await, "github:583231");
    fake.user(99, "octocat");
    fake.approve_as("octocat");
    let taken = sign_in(&rig, &client).await;
    assert_eq!((taken.status.as_u16(), taken.header("location")), (403, ""));
    assert!(taken.body.contains("octocat") && taken.body.contains("not-allowed"), "{}", taken.body);
}

#[tokio::test]
async fn members_come_in_and_the_invited_and_others_do_not() {
    // F4
    let (fake, rig) = world("{ orgs: [Acme] }").await;
    let client = rig.register().await;
    fake.org("acme");
    let outside = sign_in(&rig, &client).await;
    assert!(outside.status == 403 && outside.body.contains("let in: members of acme."), "{}", outside.body);
    fake.member("octocat", "acme", Membership::Pending);
    assert_eq!(sign_in(&rig, &client).await.status, 403);
    fake.member("octocat", "acme", Membership::Active);
    assert!(sign_in(&rig, &client).await.location("code").is_some());
}

#[tokio::test]
async fn an_organisation_that_hides_itself_is_explained_only_to_whom_it_keeps_out() {
    // F4
    let (fake, rig) = world("{ users: [friend], orgs: [acme] }").await;
    let client = rig.register().await;
    fake.org("acme");
    fake.member("octocat", "acme", Membership::Active);
    fake.hide("acme", Hiding::SingleSignOn);
    let kept_out = sign_in(&rig, &client).await;
    assert_eq!(kept_out.status, 403);
    for part in ["single sign-on", "https://github.com/orgs/acme/sso", "error=access_denied"] {
        assert!(kept_out.body.contains(part), "{part}: {}", kept_out.body);
    }
    fake.user(7, "friend");
    fake.approve_as("friend");
    assert!(sign_in(&rig, &client).await.location("code").is_some());
    fake.approve_as("octocat");
    fake.hide("acme", Hiding::AppRestrictions);
    let restricted = sign_in(&rig, &client).await;
    assert!(
        restricted.status == 403 && restricted.body.contains("restricts third-party"),
        "{}",
        restricted.body
    );
}

#[tokio::test]
async fn what_goes_wrong_at_github_is_told_to_the_client() {
    // F5
    let (fake, rig) = world("{ users: [octocat] }").await;
    let client = rig.register().await;
    for (path, failure, error) in [
        (TOKEN, Failure::Error("bad_verification_code"), "server_error"),
        (TOKEN, Failure::Error("unverified_user_email"), "access_denied"),
        (TOKEN, Failure::Error("application_suspended"), "access_denied"),
    ] {
        fake.heal();
        fake.fail(path, failure);
        assert_eq!(told(&sign_in(&rig, &client).await), error, "{path}");
    }
    fake.heal();
    fake.deny();
    assert_eq!(told(&sign_in(&rig, &client).await), "access_denied");
}

#[tokio::test]
async fn a_github_that_is_away_is_told_on_a_page_that_tries_again_or_tells_the_client() {
    // F5
    let (fake, rig) = world("{ users: [octocat] }").await;
    let client = rig.register().await;
    for (path, failure) in [
        (TOKEN, Failure::Status(503)),
        ("/api/v3/user", Failure::Status(500)),
        ("/api/v3/user", Failure::HangUp),
    ] {
        fake.heal();
        fake.fail(path, failure);
        let page = sign_in(&rig, &client).await;
        assert_eq!((page.status.as_u16(), page.header("location")), (503, ""), "{path}");
        assert!(page.body.contains("github-unreachable"), "{}", page.body);
        let [again, back] = links(&page).try_into().unwrap();
        assert!(back.starts_with(&format!("{REDIRECT}?error=temporarily_unavailable")), "{back}");
        assert!(back.contains("state=st%2Fate%2B1%20%C3%BC") && back.contains("iss="), "{back}");
        fake.heal();
        let page = rig.get(again.strip_prefix(ISSUER).unwrap(), &[]).await;
        assert!(page.status == 200 && page.body.contains("Allow"), "the consent page again: {page:?}");
    }
}

/// The links of a page that look like buttons.
fn links(page: &Answer) -> Vec<String> {
    let buttons = page.body.split("<a class=\"button").skip(1);
    let href =
        |text: &str| text.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    buttons.map(href).collect()
}

#[tokio::test]
async fn what_the_operator_must_mend_is_told_on_a_page_with_the_way_back() {
    // F1
    let (fake, rig) = world("{ users: [octocat] }").await;
    let client = rig.register().await;
    fake.fail(TOKEN, Failure::Error("incorrect_client_credentials"));
    let page = sign_in(&rig, &client).await;
    assert_eq!(page.status, 502);
    assert!(
        page.body.contains("github-credentials") && page.body.contains("error=server_error"),
        "{}",
        page.body
    );
    fake.heal();
    fake.fail(TOKEN, Failure::Error("redirect_uri_mismatch"));
    let page = sign_in(&rig, &client).await;
    assert_eq!(page.status, 502);
    let callback = format!("{ISSUER}/callback");
    assert!(page.body.contains("github-callback") && page.body.contains(&callback), "{}", page.body);
    fake.heal();
    fake.suspend_application();
    assert_eq!(told(&sign_in(&rig, &client).await), "access_denied");
}

#[tokio::test]
async fn a_rule_that_no_longer_lets_the_user_in_ends_the_grant_at_the_next_refresh() {
    let (_fake, rig) = world("{ users: [octocat] }").await;
    let client = rig.register().await;
    let code = sign_in(&rig, &client).await.location("code").unwrap();
    let tokens = rig.redeem(&client, &code, &[]).await.json();
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(rig.call(access).await.status, 502);
    let stricter = rig.reconfigured(|yaml| yaml.replace("[octocat]", "[somebody-else]")).await;
    let refused = stricter.call(access).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("the access rules have changed"), "{refused:?}");
    let refresh = stricter.refresh(&client, tokens["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!((refresh.status.as_u16(), refresh.json()["error"].as_str()), (400, Some("invalid_grant")));
}
