//! The user stays under watch: memberships are asked for again at refresh, and only an answer takes access away (T12, F3, F4).

use std::cell::RefCell;
use std::time::{Duration, Instant};

use portcullis::clock::Clock;
use portcullis::config::Config;
use portcullis::oauth::{GrantState, RevocationReason, Subject};
use portcullis::store::UserRecord;
use portcullis::token::RefreshToken;
use portcullis::{cli, token};

use crate::github::{TOKEN, sign_in, world};
use crate::support::github::{Failure, FakeGitHub, Hiding, Membership};
use crate::support::rig::{Answer, ISSUER, REDIRECT, Rig, authorize_query, encode};

const USER: &str = "/api/v3/user";
const ACME: &str = "/api/v3/user/memberships/orgs/acme";
const LOST: &str = "the access rules no longer let this user in; the grant is revoked";
const REJECTED: &str = "GitHub no longer accepts this user's sign-in; sign in again";
const AWAY: &str =
    "the identity provider cannot say just now whether this user may still come in; try again later";
const MINUTE: Duration = Duration::from_mins(1);

/// A client with tokens of a grant.
struct Connected {
    client: String,
    access: String,
    refresh: String,
}

impl Connected {
    async fn new(rig: &Rig) -> Self {
        let client = rig.register().await;
        let answer = sign_in(rig, &client).await;
        let code = answer.location("code").unwrap_or_else(|| panic!("no code: {answer:?}"));
        let tokens = rig.redeem(&client, &code, &[]).await.json();
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        Self { client, access: text("access_token"), refresh: text("refresh_token") }
    }

    /// Refreshes; on success these are the new tokens.
    async fn refresh(&mut self, rig: &Rig) -> Answer {
        let answer = rig.refresh(&self.client, &self.refresh, &[]).await;
        if answer.status == 200 {
            let tokens = answer.json();
            tokens["access_token"].as_str().unwrap().clone_into(&mut self.access);
            tokens["refresh_token"].as_str().unwrap().clone_into(&mut self.refresh);
        }
        answer
    }

    async fn refreshes(&mut self, rig: &Rig) {
        let answer = self.refresh(rig).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Is refused with `invalid_grant` and exactly this sentence.
    async fn is_refused(&mut self, rig: &Rig, sentence: &str) {
        let answer = self.refresh(rig).await;
        let trouble = if sentence == LOST { "not-allowed" } else { "refresh-failed" };
        let help = format!("http://localhost:8080/help/{trouble}");
        let told = serde_json::json!({
            "error": "invalid_grant", "error_description": sentence, "error_uri": help,
        });
        assert_eq!((answer.status.as_u16(), answer.json()), (400, told));
        assert_eq!(answer.header("cache-control"), "no-store");
    }

    /// Is told to come back after `seconds`.
    async fn is_put_off(&mut self, rig: &Rig, seconds: &str) {
        let answer = self.refresh(rig).await;
        let help = "http://localhost:8080/help/github-unreachable";
        let told = serde_json::json!({
            "error": "temporarily_unavailable", "error_description": AWAY, "error_uri": help,
        });
        assert_eq!((answer.status.as_u16(), answer.json()), (503, told));
        assert_eq!(answer.header("retry-after"), seconds);
    }

    async fn state(&self, rig: &Rig) -> GrantState {
        let grant = RefreshToken::parse(&self.refresh).unwrap().grant();
        rig.shared.store.grant(grant, rig.clock.now()).await.unwrap().unwrap().value.state
    }

    async fn is_active(&self, rig: &Rig) -> bool {
        matches!(self.state(rig).await, GrantState::Active { .. })
    }
}

/// A gateway that octocat is let into as a member of acme.
async fn members_of_acme() -> (FakeGitHub, Rig) {
    let (fake, rig) = world("{ orgs: [acme] }").await;
    fake.org("acme");
    fake.member("octocat", "acme", Membership::Active);
    (fake, rig)
}

fn octocat() -> Subject {
    Subject::new("github", "583231")
}

async fn record(rig: &Rig) -> Option<UserRecord> {
    let found = rig.shared.store.user(&octocat(), rig.clock.now()).await.unwrap();
    found.map(|loaded| loaded.value)
}

fn asked(fake: &FakeGitHub) -> usize {
    fake.requests_to(USER).len()
}

// T12
#[tokio::test]
async fn github_is_asked_again_at_most_every_ten_minutes() {
    let (fake, rig) = members_of_acme().await;
    let (mut one, mut other) = (Connected::new(&rig).await, Connected::new(&rig).await);
    assert_eq!(asked(&fake), 2, "by two sign-ins");
    rig.clock.advance(Duration::from_secs(599));
    one.refreshes(&rig).await;
    other.refreshes(&rig).await;
    assert_eq!(asked(&fake), 2);
    rig.clock.advance(Duration::from_secs(1));
    one.refreshes(&rig).await;
    other.refreshes(&rig).await;
    one.refreshes(&rig).await;
    assert_eq!((asked(&fake), fake.requests_to(ACME).len()), (3, 3), "once for all grants of a user");
    rig.clock.advance(MINUTE * 10);
    other.refreshes(&rig).await;
    assert_eq!(asked(&fake), 4);
}

// T12
#[tokio::test]
async fn how_often_is_configured() {
    let (fake, rig) = members_of_acme().await;
    let mut one = Connected::new(&rig).await;
    let rig = rig.reconfigured(|yaml| format!("access_recheck: 1h\naccess_grace: 2h\n{yaml}")).await;
    rig.clock.advance(MINUTE * 59);
    one.refreshes(&rig).await;
    assert_eq!(asked(&fake), 1);
    rig.clock.advance(MINUTE);
    fake.fail("/", Failure::Status(500));
    one.refreshes(&rig).await;
    assert_eq!(asked(&fake), 2);
    rig.clock.advance(MINUTE * 60 + Duration::from_secs(1));
    one.is_put_off(&rig, "60").await;
}

// T12
#[tokio::test]
async fn refreshes_at_once_ask_once() {
    let (fake, rig) = members_of_acme().await;
    let (mut one, mut two) = (Connected::new(&rig).await, Connected::new(&rig).await);
    let (mut three, mut four) = (Connected::new(&rig).await, Connected::new(&rig).await);
    let before = asked(&fake);
    rig.clock.advance(MINUTE * 11);
    fake.fail(USER, Failure::Slow(Duration::from_millis(300)));
    tokio::join!(one.refreshes(&rig), two.refreshes(&rig), three.refreshes(&rig), four.refreshes(&rig));
    assert_eq!(asked(&fake), before + 1);
}

// T12, F4
#[tokio::test]
async fn who_left_the_organisation_loses_every_grant_at_the_next_refresh() {
    for invited_again in [false, true] {
        let (fake, rig) = members_of_acme().await;
        let (mut one, mut other) = (Connected::new(&rig).await, Connected::new(&rig).await);
        fake.leave("octocat", "acme");
        if invited_again {
            fake.member("octocat", "acme", Membership::Pending);
        }
        rig.clock.advance(MINUTE * 9);
        one.refreshes(&rig).await;
        rig.clock.advance(MINUTE);
        one.is_refused(&rig, LOST).await;
        let lost =
            GrantState::Revoked { at: rig.clock.now(), reason: RevocationReason::AccessLost, until: None };
        assert_eq!(one.state(&rig).await, lost);
        assert_eq!(rig.call(&one.access).await.status, 401, "here at once");
        other.is_refused(&rig, LOST).await;
        assert_eq!(asked(&fake), 3, "the answer holds for the other one too");
        one.is_refused(&rig, LOST).await;
        fake.member("octocat", "acme", Membership::Active);
        Connected::new(&rig).await.refreshes(&rig).await;
    }
}

// T12
#[tokio::test]
async fn a_github_that_is_down_for_an_hour_signs_nobody_out() {
    for failure in [
        Failure::Status(503),
        Failure::HangUp,
        Failure::Garbage,
        Failure::RetryAfter(429, 60),
        Failure::RetryAfter(403, 60),
        Failure::Spent(2_000_000_000),
        Failure::Status(404),
    ] {
        for path in [USER, ACME] {
            if (path, failure) == (ACME, Failure::Status(404)) {
                continue; // which is an answer
            }
            let (fake, rig) = members_of_acme().await;
            let mut one = Connected::new(&rig).await;
            fake.fail(path, failure);
            for _ in 0..6 {
                rig.clock.advance(MINUTE * 11);
                one.refreshes(&rig).await;
            }
            assert_eq!(asked(&fake), 7, "{path} {failure:?}");
            fake.heal();
            fake.leave("octocat", "acme");
            rig.clock.advance(MINUTE);
            one.is_refused(&rig, LOST).await;
        }
    }
}

// T12
#[tokio::test]
async fn a_github_that_is_down_for_longer_than_the_grace_puts_clients_off_and_then_heals() {
    let (fake, rig) = members_of_acme().await;
    let mut one = Connected::new(&rig).await;
    fake.fail("/", Failure::Status(502));
    rig.clock.advance(Duration::from_hours(24));
    one.refreshes(&rig).await;
    assert_eq!(asked(&fake), 2);
    rig.clock.advance(Duration::from_secs(1));
    one.is_put_off(&rig, "59").await;
    rig.clock.advance(Duration::from_secs(58));
    one.is_put_off(&rig, "1").await;
    assert_eq!(asked(&fake), 2, "it is left alone for a minute");
    rig.clock.advance(Duration::from_secs(1));
    one.is_put_off(&rig, "60").await;
    assert_eq!(asked(&fake), 3);
    assert!(one.is_active(&rig).await, "the grant is kept");
    fake.heal();
    rig.clock.advance(MINUTE);
    one.refreshes(&rig).await;
}

// T12
#[tokio::test]
async fn a_github_that_takes_its_time_delays_a_refresh_by_seconds_and_is_heard_all_the_same() {
    let (fake, rig) = members_of_acme().await;
    let mut one = Connected::new(&rig).await;
    rig.clock.advance(MINUTE * 11);
    fake.leave("octocat", "acme");
    fake.fail(ACME, Failure::Slow(Duration::from_secs(6)));
    let started = Instant::now();
    one.refreshes(&rig).await;
    assert!(started.elapsed() < Duration::from_millis(5_900), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    one.is_refused(&rig, LOST).await;
    assert_eq!(asked(&fake), 2);
}

// T12, F4
#[tokio::test]
async fn an_organisation_that_begins_to_hide_itself_takes_nothing_away() {
    for how in [Hiding::SingleSignOn, Hiding::AppRestrictions] {
        let (fake, rig) = members_of_acme().await;
        let mut one = Connected::new(&rig).await;
        fake.hide("acme", how);
        rig.clock.advance(MINUTE * 11);
        one.refreshes(&rig).await;
        one.refreshes(&rig).await;
        assert_eq!(asked(&fake), 2, "it was an answer, and need not be asked for again at once");
        rig.clock.advance(Duration::from_hours(24));
        let told = "acme hides its members from this server; sign in again to see what can be done";
        one.is_refused(&rig, told).await;
        assert!(one.is_active(&rig).await, "the grant is kept");
        let page = sign_in(&rig, &one.client).await;
        assert!(page.status == 403 && page.body.contains("acme"), "{page:?}");
        one.is_refused(&rig, told).await;
        fake.show("acme");
        rig.clock.advance(MINUTE * 10);
        one.refreshes(&rig).await;
    }
}

// T12, F4: the other organisation's answer is enough to stay, and to go.
#[tokio::test]
async fn an_organisation_that_hides_itself_does_not_stand_for_another() {
    let (fake, rig) = world("{ orgs: [acme, other] }").await;
    for org in ["acme", "other"] {
        fake.org(org);
    }
    fake.hide("other", Hiding::SingleSignOn);
    fake.member("octocat", "acme", Membership::Active);
    let mut one = Connected::new(&rig).await;
    rig.clock.advance(Duration::from_hours(25));
    one.refreshes(&rig).await;
    fake.leave("octocat", "acme");
    rig.clock.advance(MINUTE * 10);
    one.is_refused(&rig, "other hides its members from this server; sign in again to see what can be done")
        .await;
    fake.show("other");
    rig.clock.advance(MINUTE * 10);
    one.is_refused(&rig, LOST).await;
}

// T12
#[tokio::test]
async fn who_takes_the_application_s_access_away_must_sign_in_again_and_that_heals_every_grant() {
    let (fake, rig) = members_of_acme().await;
    let mut one = Connected::new(&rig).await;
    fake.revoke("octocat");
    rig.clock.advance(MINUTE * 11);
    one.is_refused(&rig, REJECTED).await;
    let questions = asked(&fake);
    rig.clock.advance(MINUTE * 11);
    one.is_refused(&rig, REJECTED).await;
    assert_eq!(asked(&fake), questions, "nobody is asked with a token that is known not to work");
    assert!(one.is_active(&rig).await, "the grant is kept");
    assert_eq!(record(&rig).await.unwrap().token, None);
    Connected::new(&rig).await;
    one.refreshes(&rig).await;
}

// T12
#[tokio::test]
async fn a_token_that_is_rejected_is_read_again_before_it_is_given_up() {
    let (fake, rig) = members_of_acme().await;
    let mut one = Connected::new(&rig).await;
    let older = record(&rig).await.unwrap();
    rig.clock.advance(MINUTE * 11);
    Connected::new(&rig).await;
    let newer = record(&rig).await.unwrap();
    fake.kill(&older.token.as_ref().unwrap().access);
    // While GitHub is asked with the older token, the newer sign-in is written.
    rig.shared.store.save_user(&older).await.unwrap();
    fake.fail(USER, Failure::Slow(Duration::from_millis(400)));
    let newest = UserRecord { known: older.known.clone(), ..newer };
    let signing_in = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        rig.shared.store.save_user(&newest).await.unwrap();
    };
    let before = asked(&fake);
    tokio::join!(one.refreshes(&rig), signing_in);
    assert_eq!(asked(&fake), before + 2, "with the one and with the other");
    let kept = record(&rig).await.unwrap();
    assert_eq!((kept.token, kept.known.answered), (newest.token, rig.clock.now()));
}

// F1, T12
#[tokio::test]
async fn a_github_app_s_token_is_renewed_by_one_of_two_processes() {
    let (fake, rig) = members_of_acme().await;
    fake.expiring(Duration::from_hours(8));
    let (mut one, mut other) = (Connected::new(&rig).await, Connected::new(&rig).await);
    let first = record(&rig).await.unwrap().token.unwrap();
    assert_eq!(first.ends, Some(rig.clock.now().after(Duration::from_hours(8))));
    for step in 1..=3 {
        // Both clocks: GitHub's token has ended, or is about to.
        let hours = Duration::from_hours(if step == 1 { 8 } else { 9 });
        let past = if step == 1 { hours.saturating_sub(MINUTE) } else { hours };
        rig.clock.advance(past);
        fake.advance(past);
        let second = rig.another().await;
        fake.fail(TOKEN, Failure::Slow(Duration::from_millis(300)));
        tokio::join!(one.refreshes(&rig), other.refreshes(&second));
        let renewals = fake.requests_to(TOKEN);
        let renewals = renewals.iter().filter(|seen| seen.form["grant_type"] == "refresh_token");
        assert_eq!(renewals.count(), step, "the refresh token works once");
        fake.heal();
    }
    let last = record(&rig).await.unwrap().token.unwrap();
    assert!(last.access != first.access && last.ends.unwrap() > rig.clock.now());
    fake.leave("octocat", "acme");
    rig.clock.advance(MINUTE * 11);
    one.is_refused(&rig, LOST).await;
}

// F1, T12
#[tokio::test]
async fn a_refresh_token_that_github_calls_bad_means_sign_in_again() {
    let (fake, rig) = members_of_acme().await;
    fake.expiring(Duration::from_hours(8));
    let mut one = Connected::new(&rig).await;
    rig.clock.advance(Duration::from_hours(9));
    fake.advance(Duration::from_hours(9));
    fake.fail(TOKEN, Failure::Status(500));
    one.refreshes(&rig).await;
    fake.heal();
    fake.fail(TOKEN, Failure::Error("bad_refresh_token"));
    rig.clock.advance(MINUTE);
    one.is_refused(&rig, REJECTED).await;
    assert!(one.is_active(&rig).await);
    fake.heal();
    Connected::new(&rig).await;
    one.refreshes(&rig).await;
}

// F3, T12
#[tokio::test]
async fn a_renamed_user_keeps_the_grants_under_the_new_name() {
    let (fake, rig) = members_of_acme().await;
    let mut one = Connected::new(&rig).await;
    fake.rename("octocat", "newcat");
    rig.clock.advance(MINUTE * 11);
    one.refreshes(&rig).await;
    let keys = rig.shared.signing.load();
    let verified = token::verify(&one.access, &keys, ISSUER, rig.clock.now()).unwrap();
    let claims = verified.claims();
    assert_eq!((claims.subject.clone(), claims.login.as_str()), (octocat(), "newcat"));
}

// F3, T12
#[tokio::test]
async fn whoever_takes_a_login_over_gets_none_of_its_grants() {
    let (fake, rig) = world("{ users: [octocat], teams: [acme/core] }").await;
    fake.org("acme");
    let mut one = Connected::new(&rig).await;
    // Another person has the login now, and a membership that the first one had not.
    fake.rename("octocat", "newcat");
    fake.user(99, "octocat");
    fake.approve_as("octocat");
    let taken = sign_in(&rig, &one.client).await;
    assert_eq!((taken.status.as_u16(), taken.header("location")), (403, ""));
    rig.clock.advance(MINUTE * 11);
    one.refreshes(&rig).await;
    assert_eq!(rig.shared.store.pins(&octocat()).await.unwrap(), ["octocat"]);
    assert_eq!(rig.shared.store.forget_login("octocat").await.unwrap(), Some(octocat()));
    assert!(sign_in(&rig, &one.client).await.location("code").is_some(), "the login is the other's now");
    one.is_refused(&rig, LOST).await;
}

// F4, T12
#[tokio::test]
async fn members_of_a_team_come_in_and_go_with_it() {
    let (fake, rig) = world("{ teams: [Acme/Core, acme/other] }").await;
    let client = rig.register().await;
    fake.org("acme");
    fake.member("octocat", "acme", Membership::Active);
    let outside = sign_in(&rig, &client).await;
    let told = "The access rules of echo let in: members of the team acme/core, acme/other.";
    assert!(outside.status == 403 && outside.body.contains(told), "{}", outside.body);
    assert!(outside.body.contains("not-allowed") && outside.body.contains("error=access_denied"));
    assert_eq!(record(&rig).await, None, "a stranger leaves nothing");
    assert_eq!(fake.requests_to("/login/oauth/authorize")[0].query["scope"], "read:user read:org");
    fake.team_member("octocat", "acme", "core", Membership::Pending);
    assert_eq!(sign_in(&rig, &client).await.status, 403);
    fake.team_member("octocat", "acme", "core", Membership::Active);
    let mut one = Connected::new(&rig).await;
    fake.hide("acme", Hiding::SingleSignOn);
    let hidden = sign_in(&rig, &client).await;
    assert!(hidden.status == 403 && hidden.body.contains("https://github.com/orgs/acme/sso"), "{hidden:?}");
    rig.clock.advance(MINUTE * 11);
    one.refreshes(&rig).await;
    fake.show("acme");
    fake.leave_team("octocat", "acme", "core");
    rig.clock.advance(MINUTE * 11);
    one.is_refused(&rig, LOST).await;
}

// T12
#[tokio::test]
async fn github_is_not_asked_where_its_answer_changes_nothing() {
    for access in
        ["{ users: [octocat] }", "{ users: [\"*\"] }", "{ users: [\"github:583231\"], orgs: [acme] }"]
    {
        let (fake, rig) = world(access).await;
        fake.org("acme");
        let mut one = Connected::new(&rig).await;
        fake.revoke("octocat");
        rig.clock.advance(Duration::from_hours(48));
        one.refreshes(&rig).await;
        assert_eq!(asked(&fake), 1, "{access}");
        assert_eq!(record(&rig).await.is_some(), access.contains("orgs"), "no token is kept for nothing");
    }
}

// T12, T13
#[tokio::test]
async fn a_stranger_s_refresh_token_does_not_make_us_ask() {
    let (fake, rig) = members_of_acme().await;
    let one = Connected::new(&rig).await;
    rig.clock.advance(MINUTE * 11);
    let other = rig.register().await;
    let (rest, last) = one.refresh.split_at(one.refresh.len() - 1);
    let forged = format!("{rest}{}", if last == "A" { "E" } else { "A" });
    let nobodys = Connected { refresh: forged, client: one.client.clone(), access: String::new() };
    for (client, refresh) in
        [(&other, &one.refresh), (&one.client, &nobodys.refresh), (&"c_none".to_owned(), &one.refresh)]
    {
        let answer = rig.refresh(client, refresh, &[]).await;
        assert!(answer.status == 400 || answer.status == 401, "{answer:?}");
    }
    assert_eq!(asked(&fake), 1);
}

// T12
#[tokio::test]
async fn a_rule_that_was_never_asked_about_is_asked_about_at_once() {
    let (fake, rig) = members_of_acme().await;
    fake.org("beta");
    fake.member("octocat", "beta", Membership::Active);
    let mut one = Connected::new(&rig).await;
    let rig = rig.reconfigured(|yaml| yaml.replace("orgs: [acme]", "orgs: [beta]")).await;
    one.refreshes(&rig).await;
    assert_eq!(asked(&fake), 2);
    fake.fail("/", Failure::Status(500));
    let rig = rig.reconfigured(|yaml| yaml.replace("orgs: [beta]", "orgs: [gamma]")).await;
    one.is_put_off(&rig, "60").await;
    fake.heal();
    rig.clock.advance(MINUTE);
    one.is_refused(&rig, LOST).await;
}

// T12
#[tokio::test]
async fn without_a_record_what_the_grant_knows_holds_for_the_grace() {
    let (_fake, rig) = world("{ users: [octocat] }").await;
    let mut one = Connected::new(&rig).await;
    let rig = rig.reconfigured(|yaml| yaml.replace("users: [octocat]", "orgs: [acme]")).await;
    let told = "it is too long ago that this user's memberships were seen; sign in again";
    one.is_refused(&rig, told).await;
    assert!(one.is_active(&rig).await);
}

/// What approving by the browser's session leads to: a code, or GitHub.
async fn approve(rig: &Rig, client: &str, session: &str) -> Answer {
    let query = authorize_query(client);
    let page = rig.get(&format!("/authorize?{}", encode(&query)), &[("cookie", session)]).await;
    let cookies = format!("{session}; {}", page.cookies());
    let token = page.input("form_token");
    let mut form = query;
    form.extend([("form_token", token.as_str()), ("decision", "approve")]);
    let answer = rig.post("/authorize", &[("cookie", &cookies), ("origin", ISSUER)], &form).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    answer
}

// T12
#[tokio::test]
async fn a_browser_s_session_is_held_against_the_memberships_of_now() {
    let (fake, rig) = members_of_acme().await;
    let client = rig.register().await;
    let session = sign_in(&rig, &client).await.cookies();
    let to_client = |answer: Answer| answer.header("location").starts_with(REDIRECT);
    assert!(to_client(approve(&rig, &client, &session).await));
    assert_eq!(asked(&fake), 1);
    rig.clock.advance(MINUTE * 11);
    assert!(to_client(approve(&rig, &client, &session).await));
    assert_eq!(asked(&fake), 2);
    fake.fail("/api", Failure::Status(503));
    rig.clock.advance(MINUTE * 11);
    assert!(to_client(approve(&rig, &client, &session).await), "the last answer holds");
    fake.heal();
    fake.leave("octocat", "acme");
    rig.clock.advance(MINUTE * 11);
    let sent = approve(&rig, &client, &session).await;
    assert!(sent.header("location").starts_with(fake.url().as_str()), "{sent:?}");
    let questions = asked(&fake);
    approve(&rig, &client, &session).await;
    assert_eq!(asked(&fake), questions);
}

// F6
#[tokio::test]
async fn the_store_of_one_github_is_not_opened_for_another() {
    let (_fake, rig) = members_of_acme().await;
    let (other, _) = members_of_acme().await;
    let start = rig.yaml().find("web_url").unwrap();
    let end = start + rig.yaml()[start..].find(" }").unwrap();
    let urls = format!("web_url: \"{}\", api_url: \"{}\"", other.url(), other.api());
    let config = Config::from_text(&rig.yaml().replace(&rig.yaml()[start..end], &urls)).unwrap();
    let refused = cli::serve::share_over(&config, rig.shared.store.clone(), rig.clock.clone()).await;
    let told = refused.err().unwrap().to_string();
    assert!(told.starts_with("the users in this store are those of http://127.0.0.1:"), "{told}");
    assert!(told.ends_with("restore identity.github.web_url, or start with an empty store"), "{told}");
    rig.another().await;
}

thread_local! {
    /// The log lines of the test that runs on this thread.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes into [`LOG`]: a subscriber for one thread would miss what other tests were the first to log.
struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// T16
#[tokio::test]
async fn lost_access_is_audited_and_no_token_of_github_is_in_the_log_or_readable_in_the_store() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(|| Log)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (fake, rig) = members_of_acme().await;
    fake.expiring(Duration::from_hours(8));
    let mut one = Connected::new(&rig).await;
    rig.clock.advance(Duration::from_hours(8));
    fake.advance(Duration::from_hours(8));
    one.refreshes(&rig).await;
    rig.clock.advance(MINUTE * 11);
    fake.fail(USER, Failure::Status(500));
    one.refreshes(&rig).await;
    fake.heal();
    fake.leave("octocat", "acme");
    rig.clock.advance(MINUTE * 11);
    one.is_refused(&rig, LOST).await;
    fake.revoke("octocat");
    let log = String::from_utf8(LOG.take()).unwrap();
    let revoked = log.lines().find(|line| line.contains("grant_revoked")).unwrap_or_else(|| panic!("{log}"));
    for part in ["sub=\"github:583231\"", "by=\"access rules\"", LOST] {
        assert!(revoked.contains(part), "{part}: {revoked}");
    }
    let file = crate::stored::stored(&rig).await;
    let tokens = fake.tokens();
    assert_eq!(tokens.len(), 4, "two, and two renewed");
    for token in tokens {
        assert!(!log.contains(&token), "{token} in\n{log}");
        assert!(!file.windows(token.len()).any(|window| window == token.as_bytes()), "{token}");
    }
}
