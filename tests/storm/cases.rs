//! What the storm hits by chance, once each and for certain.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Commands;

use crate::audit::{by_grant, events};
use crate::customer::Customer;
use crate::oracle::Outcome;
use crate::pair::Pair;
use crate::thief::{catch, rob};

async fn world() -> (Arc<Pair>, Customer) {
    let pair = Pair::start().await;
    let customer = Customer::sign_in(&pair, 0, 0).await;
    (pair, customer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_before_a_sleep_of_ten_minutes_is_given_again() {
    // T10, T15
    let (pair, mut customer) = world().await;
    let first = customer.newest();
    assert_eq!(customer.lost(0, &first).await, Outcome::Tokens(2));
    assert_eq!(customer.newest().generation, 1, "it has heard nothing");
    pair.sleep(600).await;
    assert_eq!(customer.outcome(1, &first).await, Outcome::Tokens(2));
    let second = customer.newest();
    customer.admitted(0, &second).await;
    assert_eq!(customer.outcome(0, &second).await, Outcome::Tokens(3));
    let events = events(&pair.stop().await);
    let once = BTreeMap::from([(customer.grant.to_string(), 1)]);
    assert_eq!(by_grant(&events, "refresh_replayed"), once);
    assert_eq!(by_grant(&events, "grant_revoked"), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_with_its_process_is_given_again() {
    // T15
    let (pair, mut customer) = world().await;
    let first = customer.newest();
    assert_eq!(customer.lost(0, &first).await, Outcome::Tokens(2));
    pair.kill(0).await;
    pair.kill(1).await;
    assert_eq!(customer.outcome(0, &first).await, Outcome::Tokens(2));
    assert_eq!(customer.outcome(1, &first).await, Outcome::Tokens(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_its_last_write_signs_nobody_out() {
    // T15
    let (pair, mut customer) = world().await;
    let (first, grant) = (customer.newest(), customer.grant.to_string());
    let client = redis::Client::open(pair.redis.url()).unwrap();
    let mut redis = client.get_connection().unwrap();
    let keys: Vec<String> = redis.keys(format!("*grant:{grant}")).unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let older: Vec<u8> = redis.get(key).unwrap();
    assert_eq!(customer.outcome(0, &first).await, Outcome::Tokens(2));
    let second = customer.newest();
    let () = redis.set(key, older).unwrap();
    // As if nothing had happened, at the process that has not seen the second either.
    assert_eq!(customer.outcome(1, &second).await, Outcome::Tokens(3));
    let third = customer.newest();
    for which in [0, 1] {
        customer.admitted(which, &third).await;
        customer.admitted(which, &second).await;
    }
    assert_eq!(customer.outcome(0, &third).await, Outcome::Tokens(4));
    let events = events(&pair.stop().await);
    let once = BTreeMap::from([(grant, 1)]);
    assert_eq!(by_grant(&events, "store_lost_write"), once);
    assert_eq!(by_grant(&events, "grant_revoked"), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_who_comes_an_hour_later_is_caught_at_either_process() {
    // T9, R14
    let (pair, mut caught) = (Pair::start().await, BTreeMap::new());
    let mut victims = Vec::new();
    for whose in 0..2 {
        victims.push(rob(&pair, Customer::sign_in(&pair, 0, whose).await).await);
    }
    pair.sleep(60 * 60).await;
    for (victim, which) in victims.into_iter().zip([0, 1]) {
        caught.insert(victim.customer.grant.to_string(), 1);
        catch(&pair, victim, which).await;
    }
    let events = events(&pair.stop().await);
    assert_eq!(by_grant(&events, "refresh_reused"), caught);
    assert_eq!(by_grant(&events, "grant_revoked"), caught);
}
