//! What goes wrong at the authority, what is said of it, and how it comes good.

use std::time::Duration;

use portcullis::certs::{ChallengeKind, ExternalAccountBinding};
use portcullis::secret::Secret;

use crate::double::{Failure, Proof, Resource};
use crate::rig::{DAY, HOUR, World, a_while, settings, until};

// X3
#[tokio::test]
async fn a_rate_limit_is_waited_for_as_long_as_it_says() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.fail(Resource::NewOrder, Failure::rate_limited(7200), 1);
    let process = world.process(settings(&authority), &["a.example"]).await;
    let told = process.failed("a.example", 1).await;
    assert!(
        told.starts_with("the certificate authority says: ")
            && told.ends_with("; nothing is to be done but to wait, and it is tried again by itself [cert]"),
        "{told}"
    );
    let asked = authority.requests_to(Resource::NewOrder).len();
    world.clock.advance(Duration::from_secs(7199));
    a_while().await;
    assert_eq!(authority.requests_to(Resource::NewOrder).len(), asked);
    world.clock.advance(Duration::from_secs(1));
    process.another("a.example", None).await;
}

// X3
#[tokio::test]
async fn whatever_breaks_on_the_way_a_certificate_comes_in_the_end() {
    let resources = [
        Resource::Directory,
        Resource::NewNonce,
        Resource::NewAccount,
        Resource::NewOrder,
        Resource::Order,
        Resource::Authorization,
        Resource::Challenge,
        Resource::Finalize,
        Resource::Certificate,
    ];
    let failures = [
        Failure::Problem(400, "badNonce", None),
        Failure::Problem(500, "serverInternal", None),
        Failure::Problem(503, "rateLimited", Some("30".into())),
        Failure::Status(502),
        Failure::Garbage,
        Failure::HangUp,
        Failure::LostAnswer,
    ];
    let mut tried = tokio::task::JoinSet::new();
    for resource in resources {
        for failure in failures.clone() {
            tried.spawn(async move {
                let world = World::new().await;
                let authority = world.authority().await;
                authority.fail(resource, failure.clone(), 4);
                let process = world.process(settings(&authority), &["a.example"]).await;
                for _ in 0..40 {
                    if process.shown("a.example").is_some() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    world.clock.advance(Duration::from_mins(20));
                }
                (resource, failure, process.standing("a.example"))
            });
        }
    }
    while let Some(came) = tried.join_next().await {
        let (resource, failure, standing) = came.unwrap();
        assert!(standing.facts.is_some(), "{resource:?} {failure:?}: {standing:?}");
    }
}

#[tokio::test]
async fn nonces_that_are_refused_cost_no_pause() {
    let world = World::new().await;
    let authority = world.authority().await;
    for resource in [Resource::NewOrder, Resource::Order, Resource::Finalize] {
        authority.fail(resource, Failure::Problem(400, "badNonce", None), 4);
    }
    let process = world.process(settings(&authority), &["a.example"]).await;
    process.another("a.example", None).await;
    assert_eq!(process.standing("a.example").renewal.failures, 0);
    assert_eq!(authority.orders().len(), 1, "it went on where it was");
}

#[tokio::test]
async fn auto_tries_the_other_challenge_and_remembers_which_one_did() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.offer(&["http-01"]);
    let process = world.process(settings(&authority), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    assert_eq!(process.standing("a.example").renewal.challenge.as_deref(), Some("http-01"));
    let orders = authority.orders().len();
    world.clock.advance(61 * DAY);
    process.another("a.example", Some(&first)).await;
    assert_eq!(authority.orders().len(), orders + 1, "at once by the one that did");
}

#[tokio::test]
async fn a_challenge_that_is_named_is_the_only_one() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.offer(&["http-01"]);
    let mut settings = settings(&authority);
    settings.challenges = vec![ChallengeKind::TlsAlpn01];
    let process = world.process(settings, &["a.example"]).await;
    assert_eq!(
        process.failed("a.example", 1).await,
        "the certificate authority does not offer tls-alpn-01; write another `challenge` under tls.acme [cert]"
    );
    assert!(authority.requests_to(Resource::Challenge).is_empty());
}

#[tokio::test]
async fn failures_become_rarer_and_an_operator_does_not_wait() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.prove(Proof::Fails("connection", "Timeout during connect (likely firewall problem)"));
    let mut settings = settings(&authority);
    settings.challenges = vec![ChallengeKind::Http01];
    let process = world.process(settings, &["a.example"]).await;
    assert_eq!(
        process.failed("a.example", 1).await,
        "http-01 failed, the certificate authority says: Timeout during connect (likely firewall problem); the name's DNS record must \
         lead to this machine, and port 80 must be open from the internet [cert]"
    );
    world.clock.advance(Duration::from_secs(3 * 60 + 44));
    a_while().await;
    assert_eq!(
        process.standing("a.example").renewal.failures,
        1,
        "not before three quarters of five minutes"
    );
    world.clock.advance(Duration::from_secs(77));
    process.failed("a.example", 2).await;
    for failures in 3..12 {
        world.clock.advance(DAY);
        process.failed("a.example", failures).await;
    }
    authority.prove(Proof::Believed);
    world.clock.advance(HOUR);
    a_while().await;
    assert_eq!(process.shown("a.example"), None, "by now it waits for most of a day");
    process.acme.renew("a.example").await.unwrap();
    process.another("a.example", None).await;
    assert_eq!(process.standing("a.example").renewal.failures, 0);
}

#[tokio::test]
async fn an_order_that_comes_to_nothing_is_told_and_made_anew() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.turn_invalid("caa", "CAA record for a.example prevents issuance");
    let process = world.process(settings(&authority), &["a.example"]).await;
    assert_eq!(
        process.failed("a.example", 1).await,
        "the certificate authority says: CAA record for a.example prevents issuance; a CAA record of the domain names other certificate \
         authorities: add this one, or take the record away [cert]"
    );
    world.clock.advance(HOUR);
    process.another("a.example", None).await;
    assert_eq!(authority.orders().len(), 2);
}

#[tokio::test]
async fn an_account_that_the_authority_has_forgotten_is_made_anew() {
    let world = World::new().await;
    let authority = world.authority().await;
    let process = world.process(settings(&authority), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    authority.forget_everything();
    process.acme.renew("a.example").await.unwrap();
    process.another("a.example", Some(&first)).await;
    assert_eq!((authority.accounts().len(), authority.orders().len()), (1, 1));
    assert_eq!(process.standing("a.example").renewal.failures, 0, "nothing of it was a failure");
}

#[tokio::test]
async fn another_e_mail_address_is_told_to_the_authority() {
    let world = World::new().await;
    let authority = world.authority().await;
    let process = world.process(settings(&authority), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    process.stop().await;
    let mut settings = settings(&authority);
    settings.email = "new@example.org".into();
    let process = world.process(settings, &["a.example"]).await;
    process.acme.renew("a.example").await.unwrap();
    process.another("a.example", Some(&first)).await;
    let contacts: Vec<_> = authority.accounts().into_values().collect();
    assert_eq!(contacts, [serde_json::json!(["mailto:new@example.org"])]);
}

// X3
#[tokio::test]
async fn an_account_is_bound_to_the_one_that_the_authority_knows() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.require_binding("kid-1");
    let process = world.process(settings(&authority), &["a.example"]).await;
    let told = process.failed("a.example", 1).await;
    assert!(told.ends_with("; write eab: { kid: ..., key: ... } under tls.acme [cert]"), "{told}");
    process.stop().await;
    let mut settings = settings(&authority);
    let key = Secret::new("AQIDBAUGBwgJCgsMDQ4PEA".into());
    settings.binding = Some(ExternalAccountBinding { kid: "kid-1".into(), key });
    let process = world.process(settings, &["b.example"]).await;
    process.another("b.example", None).await;
}

#[tokio::test]
async fn a_certificate_that_was_replaced_already_is_replaced_again() {
    let world = World::new().await;
    let authority = world.authority().await;
    let process = world.process(settings(&authority), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    authority.fail(Resource::NewOrder, Failure::Problem(409, "alreadyReplaced", None), 1);
    process.acme.renew("a.example").await.unwrap();
    process.another("a.example", Some(&first)).await;
    assert_eq!(authority.orders()[1].replaces, None);
}

#[tokio::test]
async fn what_cannot_be_used_is_not_shown() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.life(Duration::ZERO);
    let process = world.process(settings(&authority), &["a.example"]).await;
    assert_eq!(
        process.failed("a.example", 1).await,
        "what the certificate authority issued cannot be used: it has expired already [clock]"
    );
    assert_eq!(process.shown("a.example"), None);
    authority.life(90 * DAY);
    world.clock.advance(HOUR);
    process.another("a.example", None).await;
    until("no problem", || process.standing("a.example").renewal.problem.is_none().then_some(())).await;
}
