//! Several hosts, several processes, several authorities.

use std::time::Duration;

use portcullis::certs::Settings;
use portcullis::clock::Clock;

use crate::double::{Failure, Proof, Resource};
use crate::rig::{DAY, World, a_while, settings, until};

const HOSTS: [&str; 3] = ["a.example", "b.example", "c.example"];

// X3
#[tokio::test]
async fn every_host_gets_a_certificate_of_its_own_by_one_account() {
    let world = World::new().await;
    let authority = world.authority().await;
    let process = world.process(settings(&authority), &HOSTS).await;
    for host in HOSTS {
        assert_eq!(process.another(host, None).await.names, [host]);
    }
    assert_eq!((authority.orders().len(), authority.accounts().len()), (3, 1));
    assert_eq!(process.shown("d.example"), None, "nobody else is shown one");
}

// X3
#[tokio::test]
async fn of_several_processes_one_orders_and_all_show_the_certificate() {
    let world = World::new().await;
    let authority = world.authority().await;
    let (one, two, three) = tokio::join!(
        world.process(settings(&authority), &HOSTS),
        world.process(settings(&authority), &HOSTS),
        world.process(settings(&authority), &HOSTS),
    );
    for host in HOSTS {
        let first = one.another(host, None).await;
        assert_eq!(two.another(host, None).await, first);
        assert_eq!(three.another(host, None).await, first);
    }
    a_while().await;
    assert_eq!((authority.orders().len(), authority.accounts().len()), (3, 1));
}

// X3
#[tokio::test]
async fn a_stopped_order_is_gone_on_with_by_the_next_process() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.prove(Proof::Pending);
    let process = world.process(settings(&authority), &["a.example"]).await;
    until("a challenge that is answered", || {
        (!authority.requests_to(Resource::Challenge).is_empty()).then_some(())
    })
    .await;
    process.stop().await;
    authority.prove(Proof::Believed);
    let next = world.process(settings(&authority), &["a.example"]).await;
    next.another("a.example", None).await;
    let orders = authority.orders();
    assert_eq!((orders.len(), orders[0].status), (1, "valid"), "the same order");
}

#[tokio::test]
async fn an_order_whose_end_was_not_seen_is_not_made_twice() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority.processing(3, Some(60));
    let process = world.process(settings(&authority), &["a.example"]).await;
    until("an order that is made", || (!authority.requests_to(Resource::Finalize).is_empty()).then_some(()))
        .await;
    process.stop().await;
    authority.processing(0, None);
    let next = world.process(settings(&authority), &["a.example"]).await;
    next.another("a.example", None).await;
    assert_eq!((authority.orders().len(), authority.requests_to(Resource::Finalize).len()), (1, 1));
    let again = next.shown("a.example").unwrap();
    next.acme.renew("a.example").await.unwrap();
    next.another("a.example", Some(&again)).await;
    assert_eq!(authority.orders().len(), 2, "an order that is done is not taken for the next");
}

// X3
#[tokio::test]
async fn a_host_that_fails_keeps_no_other_from_its_certificate() {
    let world = World::new().await;
    let authority = world.authority().await;
    authority
        .prove_host("b.example", Proof::Fails("dns", "DNS problem: NXDOMAIN looking up A for b.example"));
    let process = world.process(settings(&authority), &HOSTS).await;
    process.another("a.example", None).await;
    process.another("c.example", None).await;
    assert_eq!(
        process.failed("b.example", 1).await,
        "http-01 failed, the certificate authority says: DNS problem: NXDOMAIN looking up A for b.example; create an A or AAAA record \
         of the name that leads to this machine [dns]"
    );
    assert_eq!(process.shown("b.example"), None);
    authority.prove_host("b.example", Proof::Believed);
    process.acme.renew("b.example").await.unwrap();
    process.another("b.example", None).await;
}

// X3
#[tokio::test]
async fn a_host_that_is_added_gets_its_certificate_and_touches_no_other() {
    let world = World::new().await;
    let authority = world.authority().await;
    let settings = settings(&authority);
    let process = world.process(settings.clone(), &["a.example"]).await;
    let first = process.another("a.example", None).await;
    let hosts = vec!["a.example".to_owned(), "b.example".to_owned()];
    let acme = Settings::Acme(settings);
    process.certificates.reconfigure(&acme, hosts, world.clock.now()).unwrap();
    assert_eq!(process.shown("a.example").as_ref(), Some(&first));
    process.another("b.example", None).await;
    assert_eq!(process.shown("a.example").as_ref(), Some(&first));
    process.certificates.reconfigure(&acme, vec!["b.example".into()], world.clock.now()).unwrap();
    assert_eq!(process.shown("a.example"), None, "it is ours no more");
    process
        .certificates
        .reconfigure(&acme, vec!["a.example".into(), "b.example".into()], world.clock.now())
        .unwrap();
    until("the certificate of before", || process.shown("a.example").filter(|shown| *shown == first)).await;
    assert_eq!(authority.orders().len(), 2);
}

#[tokio::test]
async fn processes_of_two_directories_leave_each_other_alone() {
    let world = World::new().await;
    let (staging, production) = (world.authority().await, world.authority().await);
    // Serial numbers are an authority's own.
    production.life(80 * DAY);
    let old = world.process(settings(&staging), &["a.example"]).await;
    let test = old.another("a.example", None).await;
    production.fail(Resource::Finalize, Failure::Slow(Duration::from_secs(4)), 1);
    let new = world.process(settings(&production), &["a.example"]).await;
    until("an order", || (!production.requests_to(Resource::NewOrder).is_empty()).then_some(())).await;
    assert_eq!(new.shown("a.example").as_ref(), Some(&test), "until there is a real one");
    let real = new.another("a.example", Some(&test)).await;
    a_while().await;
    assert_eq!(old.shown("a.example").as_ref(), Some(&test), "each shows its own");
    assert_eq!(new.shown("a.example"), Some(real));
    assert_eq!((staging.orders().len(), production.orders().len()), (1, 1));
}
