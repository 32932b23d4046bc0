//! Two gateways on one store, and what becomes of an order whose gateway or store goes away in the middle.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::door::Door;
use crate::double::{AcmeDouble, Proof, Resource};
use crate::gateway::{Gateway, HOST, Setup};
use crate::pebble::{Options, Pebble};
use crate::process::{Place, free_port};
use crate::support::redis::Redis;
use crate::visitor::Visitor;

const RESUMED: &str = "going on with the order that was begun before";
const ANSWERED: &str = "answered the certificate authority's question";

/// A Pebble that looks at a door, and says so.
async fn behind_a_door() -> (Door, Pebble) {
    let door = Door::shut().await;
    let pebble = Pebble::start(Options { http: door.port, tls: free_port(), ..Options::default() });
    (door, pebble)
}

/// Gateways of one store, the first of which is started.
struct Pair {
    setup: Setup<'static>,
    first: Gateway,
}

impl Pair {
    fn start(acme: String, store: String) -> Self {
        let place = Place::new();
        let setup = Setup { store, ..Setup::at(&place, acme) };
        Self { first: setup.start(place), setup }
    }

    /// Another address, and the same ports: the issuer's URL has them.
    fn second(&self) -> Gateway {
        Setup { ip: Ipv4Addr::new(127, 0, 0, 2), ..self.setup.clone() }.start(Place::new())
    }
}

#[tokio::test]
async fn of_two_processes_one_orders_either_answers_and_both_show_it_within_seconds() {
    // X3
    let (redis, (door, pebble)) = (Redis::start(), behind_a_door().await);
    let pair = Pair::start(pebble.acme(", challenge: http-01"), redis.url());
    // The authority waits before the door while the other process, which has not begun the order, is started.
    door.knocked().await;
    let (first, second) = (&pair.first, pair.second());
    door.lead_to(second.http);
    let visitor = pebble.visitor().await;
    let facts = visitor.gets(first.https, HOST).await;
    let shown = |facts: &portcullis::certs::Facts, serial: &str| facts.serial == serial;
    let is_same = |other: &portcullis::certs::Facts| shown(other, &facts.serial);
    visitor.waits((second.https, HOST), Duration::from_secs(4), is_same).await;
    assert_eq!((first.said(ANSWERED), second.said("ordering a certificate")), (0, 0));
    assert!(second.said(ANSWERED) >= 1);
    assert_eq!((pebble.orders(), pebble.asked("/sign-me-up")), (1, 1));

    // The same the other way round, for a renewal that an operator asks the second process for.
    door.lead_to(first.http);
    second.renew(HOST).await;
    let renewed = visitor.shown(second.https, HOST).await.unwrap();
    assert_ne!(renewed.serial, facts.serial);
    let is_same = |other: &portcullis::certs::Facts| shown(other, &renewed.serial);
    visitor.waits((first.https, HOST), Duration::from_secs(4), is_same).await;
    assert!(first.said(ANSWERED) >= 1, "{}", first.process().log());
    assert_eq!((pebble.orders(), pebble.asked("/sign-me-up")), (2, 1));
}

#[tokio::test]
async fn two_processes_that_start_at_once_make_one_account_and_one_order_a_host() {
    let redis = Redis::start();
    let place = Place::new();
    let pebble = Pebble::start(Options { http: place.second, tls: place.port, ..Options::default() });
    // Whoever orders, the first is asked.
    let hosts: &'static [&'static str] = &[HOST, "a.test", "b.test", "c.test"];
    let acme = pebble.acme(", challenge: http-01");
    let setup = Setup { store: redis.url(), hosts, ..Setup::at(&place, acme) };
    let other = Setup { ip: Ipv4Addr::new(127, 0, 0, 2), ..setup.clone() };
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| other.start(Place::new()));
        (setup.start(place), second.join().unwrap())
    });
    let visitor = pebble.visitor().await;
    for host in hosts {
        let facts = visitor.gets(first.https, host).await;
        let is_same = |other: &portcullis::certs::Facts| other.serial == facts.serial;
        visitor.waits((second.https, host), Duration::from_secs(4), is_same).await;
    }
    let orders = |gateway: &Gateway| gateway.said("ordering a certificate");
    assert_eq!(orders(&first) + orders(&second), hosts.len());
    assert_eq!((pebble.orders(), pebble.asked("/sign-me-up")), (hosts.len(), 1));
}

#[tokio::test]
async fn the_order_of_a_process_that_is_killed_is_finished_by_the_other() {
    // X3
    let (redis, (door, pebble)) = (Redis::start(), behind_a_door().await);
    let mut pair = Pair::start(pebble.acme(", challenge: http-01"), redis.url());
    door.knocked().await;
    let second = pair.second();
    let killed = Instant::now();
    let log = pair.first.end("KILL").await;
    assert!(log.contains("ordering a certificate"), "{log}");
    door.lead_to(second.http);
    let visitor = pebble.visitor().await;
    visitor.waits((second.https, HOST), Duration::from_secs(45), |_| true).await;
    println!("finished {:?} after the end of whoever began it", killed.elapsed());
    assert_eq!(second.said(RESUMED), 1);
    assert!(second.said(ANSWERED) >= 1);
    assert_eq!((pebble.orders(), pebble.asked("/finalize-order/"), pebble.asked("/sign-me-up")), (1, 1, 1));
}

#[tokio::test]
async fn an_order_is_gone_on_with_after_a_kill_and_a_restart_on_the_embedded_store() {
    // X3
    let (door, pebble) = behind_a_door().await;
    let mut gateway = Pair::start(pebble.acme(", challenge: http-01"), String::new()).first;
    door.knocked().await;
    gateway.end("KILL").await;
    gateway.start();
    door.lead_to(gateway.http);
    let visitor = pebble.visitor().await;
    visitor.waits((gateway.https, HOST), Duration::from_secs(45), |_| true).await;
    assert_eq!(gateway.said(RESUMED), 1);
    assert_eq!((pebble.orders(), pebble.asked("/finalize-order/"), pebble.asked("/sign-me-up")), (1, 1, 1));
}

#[tokio::test]
async fn an_order_is_gone_on_with_at_once_after_an_orderly_restart() {
    let (door, pebble) = behind_a_door().await;
    let mut gateway = Pair::start(pebble.acme(", challenge: http-01"), String::new()).first;
    door.knocked().await;
    let log = gateway.end("TERM").await;
    assert!(log.contains("stopped"), "{log}");
    gateway.start();
    door.lead_to(gateway.http);
    let visitor = pebble.visitor().await;
    visitor.waits((gateway.https, HOST), Duration::from_secs(8), |_| true).await;
    assert_eq!(gateway.said(RESUMED), 1);
    assert_eq!((pebble.orders(), pebble.asked("/finalize-order/"), pebble.asked("/sign-me-up")), (1, 1, 1));
}

#[tokio::test]
async fn a_store_that_is_away_while_the_authority_looks_holds_the_order_up_and_no_more() {
    let (mut redis, (door, pebble)) = (Redis::start(), behind_a_door().await);
    let gateway = Pair::start(pebble.acme(", challenge: http-01"), redis.url()).first;
    door.knocked().await;
    redis.stop();
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.start_again();
    gateway.says("the store is back").await;
    door.lead_to(gateway.http);
    let visitor = pebble.visitor().await;
    visitor.waits((gateway.https, HOST), Duration::from_secs(45), |_| true).await;
    assert_eq!((pebble.orders(), pebble.asked("/finalize-order/")), (1, 1));
}

#[tokio::test]
async fn a_store_that_is_away_when_the_certificate_comes_gets_it_when_it_is_back() {
    // X3
    let mut redis = Redis::start();
    let double = AcmeDouble::start(now).await;
    let acme = format!("email: ops@example.org, directory: \"{}\"", double.directory());
    let gateway = Pair::start(acme, redis.url()).first;
    let visitor = Visitor::new(&double.root());
    let first = visitor.gets(gateway.https, HOST).await;
    double.prove(Proof::Pending);
    let (status, _, told) = gateway.cert(&["renew", HOST, "--no-wait"]).await;
    assert_eq!(status, 0, "{told}");
    double.until(|double| double.requests_to(Resource::Challenge).len() == 2).await;
    redis.stop();
    double.prove(Proof::Believed);
    double.until(|double| double.issued().len() == 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shown = visitor.shown(gateway.https, HOST).await.unwrap();
    assert_eq!(shown.serial, first.serial, "the one there is needs no store");
    redis.start_again();
    let issued = double.issued()[1].serial.clone();
    let is_new = |facts: &portcullis::certs::Facts| facts.serial == issued;
    visitor.waits((gateway.https, HOST), Duration::from_mins(1), is_new).await;
    assert_eq!((double.orders().len(), double.issued().len()), (2, 2), "the order that was begun came good");
}

fn now() -> u64 {
    use portcullis::clock::{Clock, SystemClock};
    SystemClock.now().seconds()
}
