//! When certificates are renewed.

use portcullis::clock::Clock;

use crate::double::{Failure, Resource, Suggestion};
use crate::rig::{DAY, HOUR, START, World, a_while, settings, until};

// X3
#[tokio::test]
async fn without_suggestions_a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.without_renewal_info();
    let process = world.process(settings(&authority), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    world.clock.advance(56 * DAY);
    a_while().await;
    assert_eq!(authority.orders().len(), 1);
    world.clock.advance(5 * DAY);
    let second = process.another("a.example", Some(&first)).await;
    assert_eq!(second.not_before.seconds(), START + 61 * 86_400);
    let orders = authority.orders();
    assert_eq!((orders.len(), orders[1].replaces.as_deref()), (2, None), "it could not hear it");
}

// X3
#[tokio::test]
async fn short_lived_certificates_are_ordered_by_their_profile_and_renewed_in_time() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.without_renewal_info();
    authority.profiles(&["shortlived"]);
    authority.life(6 * DAY);
    let mut settings = settings(&authority);
    settings.profile = Some("shortlived".into());
    let process = world.process(settings, &["a.example"]).await;
    let mut last = process.another("a.example", None).await;
    for _ in 0..3 {
        world.clock.advance(4 * DAY);
        last = process.another("a.example", Some(&last)).await;
    }
    let orders = authority.orders();
    assert!(orders.iter().all(|order| order.profile.as_deref() == Some("shortlived")), "{orders:?}");
    assert_eq!(orders.len(), 4);
}

// X3
#[tokio::test]
async fn the_authority_s_window_decides_and_a_revoked_certificate_is_replaced_at_once() {
    let world = World::new().await;
    let authority = world.authority().await;
    let process = world.process(settings(&authority), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    until("a suggestion", || process.standing("a.example").renewal.suggested).await;
    let day = |day: u64| START + day * 86_400;
    let suggestion = |window, retry_after| Suggestion {
        window,
        retry_after,
        explanation: Some("https://ca.example/why".into()),
    };
    authority.suggest_for(&first.serial, suggestion((day(10), day(12)), 3600));
    world.clock.advance(DAY);
    let renews = until("the window", || {
        process.standing("a.example").renews.filter(|renews| renews.seconds() < day(12))
    })
    .await;
    assert!(renews.seconds() >= day(10), "{renews:?}");
    let standing = process.standing("a.example").renewal.suggested.unwrap();
    assert_eq!(standing.explanation.as_deref(), Some("https://ca.example/why"));
    assert_eq!(authority.orders().len(), 1);

    authority.suggest_for(&first.serial, suggestion((day(0), day(0) + 1), 3600));
    world.clock.advance(HOUR);
    let second = process.another("a.example", Some(&first)).await;
    let replaced = &authority.issued()[0];
    assert_eq!(authority.orders()[1].replaces.as_ref(), Some(&replaced.id));
    assert_eq!(second.serial, authority.issued()[1].serial);
}

#[tokio::test]
async fn the_authority_is_asked_again_when_it_says_so() {
    let world = World::new().await;
    let authority = world.authority().await;
    let day = |day: u64| START + day * 86_400;
    authority.suggest(Suggestion { window: (day(60), day(61)), retry_after: 7200, explanation: None });
    let process = world.process(settings(&authority), &["a.example"]).await;
    process.another("a.example", None).await;
    until("a suggestion", || process.standing("a.example").renewal.suggested).await;
    let asked = || authority.requests_to(Resource::RenewalInfo).len();
    let before = asked();
    world.clock.advance(7100 * std::time::Duration::from_secs(1));
    a_while().await;
    assert_eq!(asked(), before);
    world.clock.advance(std::time::Duration::from_secs(101));
    until("another question", || (asked() == before + 1).then_some(())).await;
    // What it said holds on while it cannot be asked.
    authority.fail(Resource::RenewalInfo, Failure::Status(502), 1);
    world.clock.advance(2 * HOUR);
    until("a third question", || (asked() == before + 2).then_some(())).await;
    a_while().await;
    let suggested = process.standing("a.example").renewal.suggested.unwrap();
    let window = suggested.window.unwrap();
    assert_eq!((window.0.seconds(), window.1.seconds()), (day(60), day(61)));
    assert!(suggested.again > world.clock.now(), "and it is asked again soon");
}

#[tokio::test]
async fn an_authority_that_wants_everything_renewed_at_once_is_asked_once_an_hour() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.suggest(Suggestion { window: (START - 9, START - 5), retry_after: 60, explanation: None });
    let process = world.process(settings(&authority), &["a.example"]).await;
    let mut last = process.another("a.example", None).await;
    for number in 1..3 {
        a_while().await;
        assert_eq!(authority.orders().len(), number);
        world.clock.advance(HOUR);
        last = process.another("a.example", Some(&last)).await;
    }
}

// X3
#[tokio::test]
async fn an_expired_certificate_is_shown_until_there_is_another() {
    let world = World::new().await;
    let authority = world.authority().await;
    let process = world.process(settings(&authority), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    authority.fail(Resource::NewOrder, Failure::Status(503), 1000);
    authority.fail(Resource::Directory, Failure::HangUp, 1000);
    for _ in 0..3 {
        world.clock.advance(31 * DAY);
        a_while().await;
    }
    assert!(first.not_after < world.clock.now());
    assert_eq!(process.shown("a.example").as_ref(), Some(&first));
    let told = process.failed("a.example", 1).await;
    assert!(told.starts_with("the certificate authority cannot be reached ("), "{told}");
    authority.heal();
    world.clock.advance(DAY);
    let second = process.another("a.example", Some(&first)).await;
    assert!(second.not_after > world.clock.now());
    assert_eq!(process.standing("a.example").renewal.problem, None);
}
