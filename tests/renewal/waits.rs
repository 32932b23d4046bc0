//! How long is waited, and for what: what a server says of it, and what an operator asked for.

use std::time::Duration;

use portcullis::clock::Clock as _;

use crate::double::{Failure, Resource};
use crate::rig::{DAY, HOUR, World, a_while, settings, until};

const SECOND: Duration = Duration::from_secs(1);

// An order that takes its time was looked at every 30 seconds, whatever the server said.
#[tokio::test]
async fn an_order_in_the_making_is_looked_at_again_when_the_server_says_so() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.processing(9, Some(7200));
    let process = world.process(settings(&authority), &["a.example"]).await;
    let next = until("what is waited for", || process.standing("a.example").renewal.next).await;
    let wait = next.since(world.clock.now());
    assert!((Duration::from_secs(7195)..=2 * HOUR).contains(&wait), "{wait:?}");
    let looked = || authority.requests_to(Resource::Order).len();
    let before = looked();
    world.clock.advance(HOUR);
    a_while().await;
    assert_eq!(looked(), before);
    authority.finish();
    world.clock.advance(HOUR);
    process.another("a.example", None).await;
    assert_eq!(authority.orders().len(), 1);
}

// The HTTP library adds it to the time of day, and panics: the host would have been "at work" for ever.
#[tokio::test]
async fn no_wait_that_a_server_asks_for_is_too_long_to_be_understood() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.processing(9, Some(u64::MAX));
    let process = world.process(settings(&authority), &["a.example"]).await;
    let next = until("what is waited for", || process.standing("a.example").renewal.next).await;
    assert_eq!(next.since(world.clock.now()), 7 * DAY);
    authority.finish();
    process.acme.renew("a.example").await.unwrap();
    process.another("a.example", None).await;
    assert_eq!(authority.orders().len(), 1);
}

// The operator's wish was forgotten at the first failure, though it was said when it would be tried again.
#[tokio::test]
async fn what_an_operator_asked_for_is_tried_until_it_comes() {
    let world = World::new().await;
    let authority = world.authority().await;
    let process = world.process(settings(&authority), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    until("that it is written down", || process.standing("a.example").renewal.challenge).await;
    authority.fail(Resource::NewOrder, Failure::rate_limited(7200), 1);
    process.acme.renew("a.example").await.unwrap();
    process.failed("a.example", 1).await;
    let asked = authority.requests_to(Resource::NewOrder).len();
    world.clock.advance(Duration::from_secs(7199));
    a_while().await;
    assert_eq!(authority.requests_to(Resource::NewOrder).len(), asked, "no sooner than the server wants");
    world.clock.advance(SECOND);
    process.another("a.example", Some(&first)).await;
    a_while().await;
    let renewal = process.standing("a.example").renewal;
    assert_eq!((renewal.asked, renewal.failures, renewal.problem), (false, 0, None));
    assert_eq!(authority.issued().len(), 2);
}

// RFC 9773 §4.3.3. It was asked every five minutes for as long as it had no answer.
#[tokio::test]
async fn a_server_that_has_no_suggestion_now_is_asked_more_and_more_rarely() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.fail(Resource::RenewalInfo, Failure::Problem(503, "serverInternal", Some("5400".into())), 1);
    authority.fail(Resource::RenewalInfo, Failure::Problem(500, "serverInternal", None), 4);
    authority.fail(Resource::RenewalInfo, Failure::Problem(404, "malformed", None), 1);
    let process = world.process(settings(&authority), &["a.example"]).await;
    let mut pauses = Vec::new();
    for number in 1..=6 {
        let again = until("an answer that is written down", || {
            let renewal = process.standing("a.example").renewal;
            let asked = authority.requests_to(Resource::RenewalInfo).len() == number;
            renewal.suggested.filter(|told| asked && told.again > world.clock.now()).map(|told| told.again)
        })
        .await;
        pauses.push(again.since(world.clock.now()));
        world.clock.advance(pauses[number - 1]);
    }
    assert_eq!(pauses[0], Duration::from_mins(90), "as it said");
    assert!(pauses[1] < pauses[2] && pauses[2] < pauses[3], "{pauses:?}");
    assert!(pauses[1] > Duration::from_mins(5) && pauses[3] <= HOUR, "{pauses:?}");
    assert_eq!((pauses[4], pauses[5]), (6 * HOUR, 6 * HOUR), "by then it counts as having none");
}

// It was thrown away when the certificate could not be fetched, and another one was ordered.
#[tokio::test]
async fn a_certificate_that_cannot_be_fetched_now_is_not_ordered_again() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.fail(Resource::Certificate, Failure::Status(502), 1);
    let process = world.process(settings(&authority), &["a.example"]).await;
    process.failed("a.example", 1).await;
    assert_eq!(authority.issued().len(), 1);
    authority.fail(Resource::Certificate, Failure::Status(502), 1);
    world.clock.advance(10 * SECOND);
    process.failed("a.example", 2).await;
    world.clock.advance(20 * SECOND);
    process.another("a.example", None).await;
    assert_eq!((authority.orders().len(), authority.issued().len()), (1, 1));
}

// Every host that met it forgot whatever account there was: also the one another host had just made.
#[tokio::test]
async fn of_many_hosts_one_makes_the_account_that_is_missing() {
    let world = World::new().await;
    let authority = world.authority().await;
    let hosts: Vec<_> = (0..12).map(|number| format!("h{number}.example")).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let process = world.process(settings(&authority), &hosts).await;
    for host in &hosts {
        process.another(host, None).await;
    }
    authority.forget_everything();
    authority.fail(Resource::NewOrder, Failure::Slow(2 * SECOND), 1);
    for host in &hosts {
        process.acme.renew(host).await.unwrap();
    }
    until("all of them anew", || (authority.issued().len() == 2 * hosts.len()).then_some(())).await;
    assert_eq!(authority.accounts().len(), 1);
}

// The order was thrown away, and its `Retry-After` forgotten over the question what was wrong with the challenge.
#[tokio::test]
async fn a_rate_limit_in_the_middle_of_an_order_is_waited_for_and_the_order_gone_on_with() {
    for resource in [
        Resource::Authorization,
        Resource::Challenge,
        Resource::Order,
        Resource::Finalize,
        Resource::Certificate,
    ] {
        let world = World::new().await;
        let authority = world.authority().await;
        authority.fail(resource, Failure::rate_limited(7200), 1);
        let process = world.process(settings(&authority), &["a.example"]).await;
        process.failed("a.example", 1).await;
        let next = process.standing("a.example").renewal.next.unwrap();
        assert!(next.since(world.clock.now()) >= 2 * HOUR, "{resource:?} {next:?}");
        world.clock.advance(2 * HOUR);
        process.another("a.example", None).await;
        assert_eq!((authority.orders().len(), authority.issued().len()), (1, 1), "{resource:?}");
    }
}
