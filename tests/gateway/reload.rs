//! A configuration that takes another's place while the gateway runs: what was begun under the one goes on under the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use portcullis::fetch::{Bounds, Fetcher};
use portcullis::identity::{GitHub, GitHubSettings, Identity};
use portcullis::secret::Secret;
use portcullis::tasks;

use crate::github::{sign_in, world};
use crate::support::github::{CLIENT_SECRET, FakeGitHub, Membership};
use crate::support::rig::{Answer, ISSUER, Rig, authorize_query, encode};

const AUTHORIZE: &str = "/login/oauth/authorize";

/// A gateway that lets everybody in, and a GitHub in which octocat is a member of acme.
async fn everybody() -> (FakeGitHub, Rig) {
    let (fake, rig) = world("{ users: [\"*\"] }").await;
    fake.org("acme");
    fake.member("octocat", "acme", Membership::Active);
    (fake, rig)
}

/// From now on members of acme alone.
fn members_alone(rig: &Rig) {
    rig.reload(|yaml| yaml.replace("{ users: [\"*\"] }", "{ orgs: [acme] }"));
}

async fn tokens(rig: &Rig, client: &str, answer: &Answer) -> serde_json::Value {
    let code = answer.location("code").unwrap_or_else(|| panic!("no code: {answer:?}"));
    rig.redeem(client, &code, &[]).await.json()
}

fn text<'a>(tokens: &'a serde_json::Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

/// What GitHub was asked for, sign-in by sign-in.
fn scopes(fake: &FakeGitHub) -> Vec<String> {
    fake.requests_to(AUTHORIZE).iter().map(|seen| seen.query["scope"].clone()).collect()
}

// T12, F4
#[tokio::test]
async fn the_first_rule_about_an_organisation_makes_github_be_asked_for_memberships() {
    let (fake, rig) = everybody().await;
    let client = rig.register().await;
    let before = tokens(&rig, &client, &sign_in(&rig, &client).await).await;
    members_alone(&rig);
    let refused = rig.call(text(&before, "access_token")).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("the access rules have changed"), "{refused:?}");
    let again = rig.refresh(&client, text(&before, "refresh_token"), &[]).await;
    assert_eq!((again.status.as_u16(), text(&again.json(), "error")), (400, "invalid_grant"));
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(&client))), &[]).await;
    assert!(page.body.contains("your organisation memberships"), "{page:?}");
    let after = tokens(&rig, &client, &sign_in(&rig, &client).await).await;
    // 502: let in, and nothing listens behind.
    assert_eq!(rig.call(text(&after, "access_token")).await.status, 502);
    assert_eq!(scopes(&fake), ["read:user", "read:user read:org"]);
    // And its end, that it is not.
    rig.reload(|yaml| yaml.replace("{ users: [\"*\"] }", "{ users: [octocat] }"));
    tokens(&rig, &client, &sign_in(&rig, &client).await).await;
    assert_eq!(scopes(&fake)[2], "read:user");
}

#[tokio::test]
async fn the_first_service_that_is_told_addresses_makes_github_be_asked_for_them() {
    let (fake, rig) = everybody().await;
    let client = rig.register().await;
    sign_in(&rig, &client).await;
    rig.reload(|yaml| yaml.replace("/mcp\" }", "/mcp\", forward_email: true }"));
    sign_in(&rig, &client).await;
    assert_eq!(scopes(&fake), ["read:user", "read:user user:email"]);
}

// C7, F4
#[tokio::test]
async fn a_sign_in_that_was_on_its_way_is_not_refused_for_good() {
    let (_fake, rig) = everybody().await;
    let client = rig.register().await;
    let page = rig.get(&format!("/authorize?{}", encode(&authorize_query(&client))), &[]).await;
    let token = page.input("form_token");
    let mut form = authorize_query(&client);
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    let sent = rig.post("/authorize", &[("cookie", &page.cookies()), ("origin", ISSUER)], &form).await;
    let request = Request::get(sent.header("location")).body(Bytes::new()).unwrap();
    let bounds = Bounds { body: 65_536, time: Duration::from_secs(10) };
    let back = Fetcher::new().send(request, bounds).await.unwrap();
    let back = back.headers()["location"].to_str().unwrap().strip_prefix(ISSUER).unwrap().to_owned();
    members_alone(&rig);
    // GitHub was not asked for memberships then, so it tells none; that is said, and the way back into it is open.
    let refused = rig.get(&back, &[("cookie", &sent.cookies())]).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("acme"), "{refused:?}");
    tokens(&rig, &client, &sign_in(&rig, &client).await).await;
}

// F1
#[tokio::test]
async fn other_credentials_are_used_from_the_next_sign_in_on() {
    let (fake, rig) = everybody().await;
    let client = rig.register().await;
    let use_secret = |secret: &str| {
        let settings = GitHubSettings { client_secret: Secret::new(secret.into()), ..fake.settings() };
        let identity: Arc<dyn Identity> = Arc::new(GitHub::new(settings, ISSUER.into(), Fetcher::new()));
        rig.shared.identity.store(Arc::new(identity));
    };
    use_secret("another one");
    let refused = sign_in(&rig, &client).await;
    assert!(refused.body.contains("github-credentials"), "{refused:?}");
    use_secret(CLIENT_SECRET);
    tokens(&rig, &client, &sign_in(&rig, &client).await).await;
}

// T12
#[tokio::test]
async fn a_grant_whose_service_is_gone_for_a_while_goes_on() {
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let before = rig.tokens(&client, "ada").await;
    rig.reload(|yaml| yaml.replace("/mcp\", up", "/other\", up"));
    assert_eq!(rig.call(text(&before, "access_token")).await.status, 404);
    let refused = rig.refresh(&client, text(&before, "refresh_token"), &[]).await;
    assert_eq!((refused.status.as_u16(), text(&refused.json(), "error")), (400, "invalid_target"));
    rig.reload(|yaml| format!("{yaml}# as it was\n"));
    assert_eq!(rig.call(text(&before, "access_token")).await.status, 502);
    assert_eq!(rig.refresh(&client, text(&before, "refresh_token"), &[]).await.status, 200);
}

// R14
#[tokio::test]
async fn a_revocation_is_remembered_for_as_long_as_tokens_live_that_were_made_before() {
    let rig = Rig::dev().await.reconfigured(|yaml| format!("{yaml}tokens: {{ access: 24h }}\n")).await;
    let client = rig.register().await;
    let before = rig.tokens(&client, "ada").await;
    rig.reload(|yaml| yaml.replace("24h", "1m"));
    let form = [("client_id", client.as_str()), ("token", text(&before, "refresh_token"))];
    assert_eq!(rig.post("/revoke", &[], &form).await.status, 200);
    assert_eq!(rig.call(text(&before, "access_token")).await.status, 401);
    rig.clock.advance(Duration::from_hours(23));
    drop(tasks::start(&rig.shared).await.unwrap());
    let refused = rig.call(text(&before, "access_token")).await;
    assert!(refused.header("www-authenticate").contains("the grant was revoked"), "{refused:?}");
}
