//! Signing in with GitHub, by the real client against a GitHub of our own on loopback: checklist F1 to F6.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may, as its tests")]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use portcullis::fetch::{Bounds, Fetcher};
use portcullis::identity::{
    Asked, GitHub, GitHubSettings, Hidden, Identity, IdentityError, Person, ProviderToken, SignedIn,
};
use portcullis::oauth::Subject;
use portcullis::secret::Secret;
use portcullis::time::Timestamp;
use support::github::{CLIENT_SECRET, Failure, FakeGitHub, Hiding, Membership, Seen};
use url::Url;

const ISSUER: &str = "https://auth.example.com";
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const TOKEN: &str = "/login/oauth/access_token";

/// GitHub with one person, octocat (583231), who approves everything.
async fn world() -> (FakeGitHub, GitHub) {
    let fake = FakeGitHub::start().await;
    fake.user(583_231, "octocat");
    fake.approve_as("octocat");
    let github = client(fake.settings());
    (fake, github)
}

fn client(settings: GitHubSettings) -> GitHub {
    GitHub::new(settings, ISSUER.into(), Fetcher::new())
}

/// What a browser does: goes where `start` says and comes back with the callback's parameters.
async fn visit(url: &str) -> (Url, HashMap<String, String>) {
    let bounds = Bounds { body: 65_536, time: Duration::from_secs(10) };
    let request = Request::get(url).body(Bytes::new()).unwrap();
    let answer = Fetcher::new().send(request, bounds).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND, "{answer:?}");
    let back: Url = answer.headers()[header::LOCATION].to_str().unwrap().parse().unwrap();
    let parameters = back.query_pairs().into_owned().collect();
    (back, parameters)
}

/// The code that came back, and our verifier.
async fn authorize(github: &GitHub) -> (Secret, Secret) {
    let start = github.start(&Secret::new("st&te".into()), &asked(&["acme"]), false);
    let (back, parameters) = visit(&start.url).await;
    assert!(back.as_str().starts_with("https://auth.example.com/callback?"), "{back}");
    assert_eq!(parameters["state"], "st&te");
    (Secret::new(parameters["code"].clone()), start.verifier)
}

/// An address, organisations, and teams with a slash in them.
fn asked(names: &[&str]) -> Asked {
    let names = names.iter().map(|&name| name.to_owned());
    let (teams, orgs) = names.partition(|name| name.contains('/'));
    Asked { orgs, teams, email: true }
}

async fn sign_in(github: &GitHub, orgs: &[&str]) -> Result<Person, IdentityError> {
    let (code, verifier) = authorize(github).await;
    finish(github, &code, &verifier, orgs).await
}

async fn finish(
    github: &GitHub,
    code: &Secret,
    verifier: &Secret,
    orgs: &[&str],
) -> Result<Person, IdentityError> {
    let asked = Asked { orgs: orgs.iter().map(|&org| org.to_owned()).collect(), ..asked(&[]) };
    github.finish(code, verifier, &asked, NOW).await.map(|signed_in| signed_in.person)
}

/// Signs in; who, and the token.
async fn signed_in(github: &GitHub, names: &[&str]) -> SignedIn {
    let (code, verifier) = authorize(github).await;
    github.finish(&code, &verifier, &asked(names), NOW).await.unwrap()
}

fn header<'a>(seen: &'a Seen, name: &str) -> &'a str {
    seen.headers.get(name).unwrap_or_else(|| panic!("{name} in {seen:?}")).to_str().unwrap()
}

// F1

#[tokio::test]
async fn f1_errors_that_come_with_http_200_are_errors() {
    let (fake, github) = world().await;
    for (code, expected) in [
        ("bad_verification_code", IdentityError::Code),
        ("incorrect_client_credentials", IdentityError::Credentials),
        ("redirect_uri_mismatch", IdentityError::Callback),
        ("unverified_user_email", IdentityError::UnverifiedEmail),
        ("application_suspended", IdentityError::Suspended),
        ("something_new", IdentityError::Answer),
    ] {
        fake.fail(TOKEN, Failure::Error(code));
        assert_eq!(sign_in(&github, &[]).await, Err(expected), "{code}");
    }
    assert!(fake.requests_to("/api/v3/user").is_empty(), "nobody is asked for without a token");
}

#[tokio::test]
async fn f1_a_wrong_client_secret_or_id_is_told_as_such() {
    let (fake, _) = world().await;
    let wrong_secret = GitHubSettings { client_secret: Secret::new("wrong".into()), ..fake.settings() };
    assert_eq!(sign_in(&client(wrong_secret), &[]).await, Err(IdentityError::Credentials));
    let (code, verifier) = authorize(&client(fake.settings())).await;
    let wrong_id = client(GitHubSettings { client_id: "Iv1.unknown".into(), ..fake.settings() });
    assert_eq!(finish(&wrong_id, &code, &verifier, &[]).await, Err(IdentityError::Credentials));
}

#[tokio::test]
async fn f1_a_code_works_once_and_for_ten_minutes() {
    let (fake, github) = world().await;
    let (code, verifier) = authorize(&github).await;
    finish(&github, &code, &verifier, &[]).await.unwrap();
    assert_eq!(finish(&github, &code, &verifier, &[]).await, Err(IdentityError::Code));

    let (code, verifier) = authorize(&github).await;
    fake.advance(Duration::from_secs(601));
    assert_eq!(finish(&github, &code, &verifier, &[]).await, Err(IdentityError::Code));
}

#[tokio::test]
async fn f1_an_answer_that_is_no_json_is_not_understood() {
    let (fake, github) = world().await;
    for path in [TOKEN, "/api/v3/user"] {
        fake.heal();
        fake.fail(path, Failure::Garbage);
        assert_eq!(sign_in(&github, &[]).await, Err(IdentityError::Answer), "{path}");
    }
}

// F2

#[tokio::test]
async fn f2_the_token_request_asks_for_json_and_keeps_the_secret_out_of_the_url() {
    let (fake, github) = world().await;
    sign_in(&github, &[]).await.unwrap();
    let seen = &fake.requests_to(TOKEN)[0];
    assert_eq!(header(seen, "accept"), "application/json");
    assert_eq!(header(seen, "user-agent"), concat!("portcullis/", env!("CARGO_PKG_VERSION")));
    assert_eq!(seen.form["client_secret"], CLIENT_SECRET);
    assert_eq!(seen.form["redirect_uri"], "https://auth.example.com/callback");
    assert!(seen.query.is_empty() && !seen.headers.contains_key("authorization"), "{seen:?}");
}

#[tokio::test]
async fn f2_every_api_call_names_its_version_media_type_and_agent() {
    let (fake, github) = world().await;
    fake.org("acme");
    sign_in(&github, &["acme"]).await.unwrap();
    let calls: Vec<Seen> =
        fake.requests().into_iter().filter(|seen| seen.path.starts_with("/api/v3/")).collect();
    let paths: Vec<&str> = calls.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/api/v3/user", "/api/v3/user/emails", "/api/v3/user/memberships/orgs/acme"]);
    for seen in &calls {
        assert_eq!(header(seen, "accept"), "application/vnd.github+json");
        assert_eq!(header(seen, "x-github-api-version"), "2022-11-28");
        assert_eq!(header(seen, "user-agent"), concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        assert!(header(seen, "authorization").starts_with("Bearer gho_"));
    }
}

#[tokio::test]
async fn f2_a_code_without_its_own_verifier_is_worthless() {
    let (_fake, github) = world().await;
    let (code, _) = authorize(&github).await;
    let (_, another) = authorize(&github).await;
    assert_eq!(finish(&github, &code, &another, &[]).await, Err(IdentityError::Code));
}

#[tokio::test]
async fn f2_nothing_is_asked_for_that_no_rule_needs() {
    let (fake, github) = world().await;
    let nothing = Asked::default();
    let start = github.start(&Secret::new("state".into()), &nothing, false);
    let code = Secret::new(visit(&start.url).await.1["code"].clone());
    let signed_in = github.finish(&code, &start.verifier, &nothing, NOW).await.unwrap().person;
    assert_eq!((signed_in.user.email, signed_in.orgs), (None, vec![]));
    assert_eq!(fake.requests_to("/login/oauth/authorize")[0].query["scope"], "read:user");
    let calls = fake.requests().into_iter().filter(|seen| seen.path.starts_with("/api/v3/"));
    assert_eq!(calls.map(|seen| seen.path).collect::<Vec<_>>(), ["/api/v3/user"]);
}

// F3

#[tokio::test]
async fn f3_a_renamed_login_is_the_same_person() {
    let (fake, github) = world().await;
    let before = sign_in(&github, &[]).await.unwrap().user;
    fake.rename("octocat", "hubot");
    fake.approve_as("hubot");
    let after = sign_in(&github, &[]).await.unwrap().user;
    assert_eq!((before.login.as_str(), after.login.as_str()), ("octocat", "hubot"));
    assert_eq!(before.subject, Subject::new("github", "583231"));
    assert_eq!(before.subject, after.subject);
}

#[tokio::test]
async fn f3_a_recycled_login_is_somebody_else() {
    let (fake, github) = world().await;
    let before = sign_in(&github, &[]).await.unwrap().user;
    fake.recycle("octocat", 99_000_001);
    let after = sign_in(&github, &[]).await.unwrap().user;
    assert_eq!(before.login, after.login);
    assert_eq!(after.subject, Subject::new("github", "99000001"));
    assert_ne!(before.subject, after.subject);
}

// F4

#[tokio::test]
async fn f4_only_an_active_membership_counts() {
    let (fake, github) = world().await;
    for org in ["Acme", "invited", "stranger"] {
        fake.org(org);
    }
    fake.member("octocat", "Acme", Membership::Active);
    fake.member("octocat", "invited", Membership::Pending);
    let signed_in = sign_in(&github, &["stranger", "invited", "ACME", "no-such-org"]).await.unwrap();
    assert_eq!(signed_in.orgs, ["acme"]);
    let signed_in = sign_in(&github, &["invited"]).await.unwrap();
    assert_eq!(signed_in.orgs, Vec::<String>::new());
}

#[tokio::test]
async fn f4_an_organisations_name_cannot_change_the_path() {
    let (fake, github) = world().await;
    assert_eq!(sign_in(&github, &["a/b?c#d"]).await.unwrap().orgs, Vec::<String>::new());
    assert_eq!(fake.requests_to("/api/v3/user/memberships/orgs/a%2Fb%3Fc%23d").len(), 1);
}

#[tokio::test]
async fn f4_the_primary_address_is_found_on_a_later_page() {
    let (fake, github) = world().await;
    fake.page_size(2);
    fake.emails(
        "octocat",
        &[
            ("a@example.com", false, true),
            ("b@example.com", false, true),
            ("c@example.com", false, false),
            ("d@example.com", false, true),
            ("e@example.com", true, true),
        ],
    );
    assert_eq!(sign_in(&github, &[]).await.unwrap().user.email.as_deref(), Some("e@example.com"));
    assert_eq!(fake.requests_to("/api/v3/user/emails").len(), 3);
}

#[tokio::test]
async fn f4_an_address_that_is_not_primary_and_verified_is_not_taken() {
    let (fake, github) = world().await;
    fake.emails("octocat", &[("old@example.com", false, true), ("new@example.com", true, false)]);
    assert_eq!(sign_in(&github, &[]).await.unwrap().user.email, None);
}

#[tokio::test]
async fn f4_what_an_organisation_hides_is_told_beside_what_was_found() {
    let (fake, github) = world().await;
    for org in ["acme", "open"] {
        fake.org(org);
        fake.member("octocat", org, Membership::Active);
    }
    fake.hide("acme", Hiding::SingleSignOn);
    let url = Some("https://github.com/orgs/acme/sso?authorization_request=AZSCKtL4U8".into());
    let explained = IdentityError::SingleSignOn { org: "acme".into(), url };
    let signed_in = sign_in(&github, &["acme", "no-such-org", "open"]).await.unwrap();
    let hidden = vec![Hidden { of: "acme".into(), why: explained }];
    assert_eq!((signed_in.orgs, signed_in.hidden), (vec!["open".to_owned()], hidden));
}

#[tokio::test]
async fn f4_an_organisation_that_restricts_applications_is_named() {
    let (fake, github) = world().await;
    fake.org("acme");
    fake.hide("acme", Hiding::AppRestrictions);
    assert_eq!(
        sign_in(&github, &["acme"]).await.unwrap().hidden,
        [Hidden { of: "acme".into(), why: IdentityError::Restricted { org: "acme".into() } }]
    );
}

#[tokio::test]
async fn f4_a_team_is_asked_about_by_the_login_of_now_and_only_its_active_members_count() {
    let (fake, github) = world().await;
    fake.org("Acme");
    fake.team_member("octocat", "Acme", "core", Membership::Active);
    fake.team_member("octocat", "Acme", "invited", Membership::Pending);
    let teams = ["acme/core", "acme/invited", "acme/other", "nobody/core"];
    let first = signed_in(&github, &teams).await;
    assert_eq!((first.person.orgs, first.person.teams), (vec![], vec!["acme/core".to_owned()]));
    assert!(first.person.hidden.is_empty());
    fake.rename("octocat", "hubot");
    let again = github.recheck(&first.token, &asked(&teams)).await.unwrap();
    assert_eq!((again.user.login.as_str(), again.teams), ("hubot", vec!["acme/core".to_owned()]));
    assert_eq!(fake.requests_to("/api/v3/orgs/acme/teams/core/memberships/octocat").len(), 1);
    assert_eq!(fake.requests_to("/api/v3/orgs/acme/teams/core/memberships/hubot").len(), 1);
}

#[tokio::test]
async fn f4_a_team_of_an_organisation_that_hides_itself_is_explained() {
    let (fake, github) = world().await;
    fake.org("acme");
    fake.team_member("octocat", "acme", "core", Membership::Active);
    fake.hide("acme", Hiding::SingleSignOn);
    let person = signed_in(&github, &["acme/core"]).await.person;
    let [Hidden { of, why: IdentityError::SingleSignOn { org, url: Some(_) } }] = person.hidden.as_slice()
    else {
        panic!("{person:?}")
    };
    assert_eq!((person.teams.len(), of.as_str(), org.as_str()), (0, "acme/core", "acme"));
    fake.hide("acme", Hiding::AppRestrictions);
    let person = signed_in(&github, &["acme/core"]).await.person;
    assert_eq!(person.hidden[0].why, IdentityError::Restricted { org: "acme".into() });
}

// T12

#[tokio::test]
async fn t12_asking_again_finds_what_has_changed() {
    let (fake, github) = world().await;
    fake.org("acme");
    fake.member("octocat", "acme", Membership::Active);
    let SignedIn { person, token } = signed_in(&github, &["acme"]).await;
    assert_eq!((token.ends, token.refresh.is_some()), (None, false));
    let recheck = async || github.recheck(&token, &asked(&["acme"])).await;
    assert_eq!(recheck().await, Ok(person));
    fake.member("octocat", "acme", Membership::Pending);
    assert_eq!(recheck().await.unwrap().orgs, Vec::<String>::new());
    assert_eq!(fake.requests_to(TOKEN).len(), 1, "nobody had to sign in for that");
}

#[tokio::test]
async fn t12_a_token_that_works_no_more_is_told_apart_from_a_github_that_is_not_well() {
    let (fake, github) = world().await;
    fake.org("acme");
    let SignedIn { token, .. } = signed_in(&github, &["acme"]).await;
    let recheck = async || github.recheck(&token, &asked(&["acme"])).await;
    for (failure, meaning) in [
        (Failure::Status(500), IdentityError::Unreachable),
        (Failure::HangUp, IdentityError::Unreachable),
        (Failure::RetryAfter(403, 60), IdentityError::RateLimited),
        (Failure::Status(403), IdentityError::Answer),
        (Failure::Garbage, IdentityError::Answer),
        (Failure::Status(401), IdentityError::TokenRejected),
        (Failure::Suspended, IdentityError::TokenRejected),
    ] {
        fake.heal();
        fake.fail("/api/v3/user", failure);
        assert_eq!(recheck().await, Err(meaning), "{failure:?}");
    }
    fake.heal();
    assert!(recheck().await.is_ok());
    fake.revoke("octocat");
    assert_eq!(recheck().await, Err(IdentityError::TokenRejected));
}

#[tokio::test]
async fn t12_a_github_app_s_token_ends_and_is_renewed_once() {
    let (fake, github) = world().await;
    fake.org("acme");
    fake.member("octocat", "acme", Membership::Active);
    fake.expiring(Duration::from_hours(8));
    let SignedIn { person, token } = signed_in(&github, &["acme"]).await;
    assert_eq!(token.ends, Some(NOW.after(Duration::from_hours(8))));
    fake.advance(Duration::from_hours(9));
    assert_eq!(github.recheck(&token, &asked(&["acme"])).await, Err(IdentityError::TokenRejected));
    let later = NOW.after(Duration::from_hours(9));
    let renewed = github.renew(&token, later).await.unwrap();
    assert_eq!(renewed.ends, Some(later.after(Duration::from_hours(8))));
    assert!(renewed.access != token.access && renewed.refresh != token.refresh);
    assert_eq!(github.recheck(&renewed, &asked(&["acme"])).await, Ok(person));
    // F1: bad_refresh_token comes with HTTP 200.
    assert_eq!(github.renew(&token, later).await, Err(IdentityError::TokenRejected));
    let seen = &fake.requests_to(TOKEN)[1];
    assert_eq!(
        (seen.form["grant_type"].as_str(), header(seen, "accept")),
        ("refresh_token", "application/json")
    );
    fake.fail(TOKEN, Failure::Status(502));
    assert_eq!(github.renew(&renewed, later).await, Err(IdentityError::Unreachable));
    let nothing = ProviderToken { refresh: None, ..renewed };
    assert_eq!(github.renew(&nothing, later).await, Err(IdentityError::TokenRejected));
}

// F5

#[tokio::test]
async fn f5_the_callbacks_errors_are_understood() {
    let (fake, github) = world().await;
    let start = github.start(&Secret::new("state".into()), &asked(&[]), false);
    let refused = async || {
        let (_, parameters) = visit(&start.url).await;
        assert_eq!(parameters["state"], "state");
        github.refused(&parameters["error"])
    };
    fake.deny();
    assert_eq!(refused().await, IdentityError::Denied);
    fake.suspend_application();
    assert_eq!(refused().await, IdentityError::Suspended);
    fake.callback("https://auth.example.com/oauth/callback");
    assert_eq!(refused().await, IdentityError::Callback);
}

#[tokio::test]
async fn f5_an_application_suspended_in_between_is_told() {
    let (fake, github) = world().await;
    let (code, verifier) = authorize(&github).await;
    fake.suspend_application();
    assert_eq!(finish(&github, &code, &verifier, &[]).await, Err(IdentityError::Suspended));
}

#[tokio::test]
async fn f5_a_github_that_is_not_well_is_unreachable_at_every_step() {
    let (fake, github) = world().await;
    fake.org("acme");
    for path in [TOKEN, "/api/v3/user", "/api/v3/user/emails", "/api/v3/user/memberships/orgs/acme"] {
        for failure in [Failure::Status(500), Failure::Status(503), Failure::HangUp] {
            fake.heal();
            fake.fail(path, failure);
            assert_eq!(
                sign_in(&github, &["acme"]).await,
                Err(IdentityError::Unreachable),
                "{path} {failure:?}"
            );
        }
    }
    fake.heal();
    assert!(sign_in(&github, &["acme"]).await.is_ok());
}

#[tokio::test]
async fn f5_every_kind_of_rate_limit_is_recognised() {
    let (fake, github) = world().await;
    for path in [TOKEN, "/api/v3/user", "/api/v3/user/emails"] {
        for failure in
            [Failure::RetryAfter(429, 7), Failure::RetryAfter(403, 60), Failure::Spent(1), Failure::SaysLimit]
        {
            fake.heal();
            fake.fail(path, failure);
            assert_eq!(sign_in(&github, &[]).await, Err(IdentityError::RateLimited), "{path} {failure:?}");
        }
    }
}

#[tokio::test]
async fn f5_a_slow_github_is_waited_for_but_not_for_ever() {
    let (fake, github) = world().await;
    let (code, verifier) = authorize(&github).await;
    fake.fail("/api/v3/user", Failure::Slow(Duration::from_millis(300)));
    assert!(finish(&github, &code, &verifier, &[]).await.is_ok());

    let (code, verifier) = authorize(&github).await;
    fake.heal();
    fake.fail("/api/v3/user", Failure::Slow(Duration::from_hours(1)));
    let outcome = tokio::time::timeout(Duration::from_secs(20), finish(&github, &code, &verifier, &[])).await;
    assert_eq!(outcome, Ok(Err(IdentityError::Unreachable)));
}

#[tokio::test]
async fn f5_nobody_at_githubs_address_is_unreachable() {
    let (fake, github) = world().await;
    let (code, verifier) = authorize(&github).await;
    drop(fake);
    assert_eq!(finish(&github, &code, &verifier, &[]).await, Err(IdentityError::Unreachable));
}

// F6

#[tokio::test]
async fn f6_web_and_api_may_be_on_different_hosts() {
    let (fake, _) = world().await;
    let elsewhere: Url = format!("http://localhost:{}/api/v3/", fake.address().port()).parse().unwrap();
    let github = client(GitHubSettings { api: elsewhere, ..fake.settings() });
    sign_in(&github, &[]).await.unwrap();
    let host = |path| header(&fake.requests_to(path)[0], "host").to_owned();
    assert_eq!(host(TOKEN), fake.address().to_string());
    assert_eq!(host("/api/v3/user"), format!("localhost:{}", fake.address().port()));
}

#[tokio::test]
async fn f6_a_github_over_plain_http_elsewhere_is_never_sent_a_secret() {
    let (fake, github) = world().await;
    let (code, verifier) = authorize(&github).await;
    let plain = GitHubSettings { web: "http://github.example/".parse().unwrap(), ..fake.settings() };
    assert_eq!(finish(&client(plain), &code, &verifier, &[]).await, Err(IdentityError::Unreachable));
}

/// Where a test's log lines go.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// T16
#[tokio::test]
async fn no_secret_is_in_the_log_whatever_happens() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (fake, github) = world().await;
    fake.org("acme");
    fake.hide("acme", Hiding::SingleSignOn);
    let mut secrets = vec![CLIENT_SECRET.to_owned(), "octocat@users.example".to_owned()];
    for path in ["/none", TOKEN, "/api/v3/user", "/api/v3/user/emails", "/api/v3/user/memberships"] {
        for failure in [
            Failure::Status(500),
            Failure::Status(401),
            Failure::Garbage,
            Failure::HangUp,
            Failure::Error("odd"),
        ] {
            fake.heal();
            let (code, verifier) = authorize(&github).await;
            fake.fail(path, failure);
            let outcome = finish(&github, &code, &verifier, &["acme"]).await;
            secrets.extend([code.expose().to_owned(), verifier.expose().to_owned()]);
            let shown = format!("{:?}", outcome.err());
            assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{path} {failure:?}: {shown}");
        }
    }
    secrets.extend(fake.tokens());
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("GitHub is not well") && log.contains("GitHub hides a membership"), "{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} in\n{log}");
    }
}

// The fake itself, where the gateway's tests lean on it.

#[tokio::test]
async fn the_fake_answers_a_form_unless_json_is_asked_for_and_wants_a_user_agent() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (fake, _) = world().await;
    let raw = async |request: String| {
        let mut stream = tokio::net::TcpStream::connect(fake.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let body = "client_id=Iv1.0123456789abcdef&client_secret=wrong";
    let form = raw(format!(
        "POST {TOKEN} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    assert!(form.starts_with("HTTP/1.1 200 OK\r\n"), "{form}");
    assert!(form.ends_with("error=incorrect_client_credentials&error_description=Because."), "{form}");
    let nameless = raw("GET /api/v3/user HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into()).await;
    assert!(nameless.starts_with("HTTP/1.1 403 ") && nameless.contains("User-Agent"), "{nameless}");
}

#[tokio::test]
async fn the_fake_shows_a_browser_a_page_to_choose_from() {
    let (fake, github) = world().await;
    fake.ask();
    let start = github.start(&Secret::new("a&b".into()), &asked(&[]), false);
    let bounds = Bounds { body: 65_536, time: Duration::from_secs(10) };
    let request = Request::get(start.url.as_str()).body(Bytes::new()).unwrap();
    let page = Fetcher::new().send(request, bounds).await.unwrap();
    let page = String::from_utf8(page.into_body().to_vec()).unwrap();
    let links: Vec<Url> = page
        .split("href=\"")
        .skip(1)
        .map(|rest| fake.url().join(&rest.split('"').next().unwrap().replace("&amp;", "&")).unwrap())
        .collect();
    let [octocat, cancel] = links.as_slice() else { panic!("{page}") };
    let (_, approved) = visit(octocat.as_str()).await;
    let signed_in =
        finish(&github, &Secret::new(approved["code"].clone()), &start.verifier, &[]).await.unwrap();
    assert_eq!((signed_in.user.login.as_str(), approved["state"].as_str()), ("octocat", "a&b"));
    let (_, cancelled) = visit(cancel.as_str()).await;
    assert_eq!(cancelled["error"], "access_denied");
}
