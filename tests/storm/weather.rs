//! The storm itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::audit::{by_grant, events};
use crate::chance::Chance;
use crate::customer::Customer;
use crate::pair::Pair;
use crate::thief::{catch, rob};

const CLIENTS: u64 = 50;
const VICTIMS: u64 = 3;
const REFRESHES: usize = 10_000;
const ROUNDS: usize = 10;
const KILLS_A_ROUND: usize = 3;
const HOUR: u64 = 60 * 60;
/// How long everybody sleeps between two rounds; less than the day for which an answer that was lost is given again.
const SLEEPS: [u64; 6] = [0, 30, 61, 10 * 60, 3 * HOUR, 20 * HOUR];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_signed_out_but_by_the_thief() {
    // T8, T9, T10, T15, R14
    let seed = Chance::seed();
    println!("STORM_SEED={seed}");
    let (started, pair) = (Instant::now(), Pair::start().await);
    let mut chance = Chance::new(seed, u64::MAX);
    let mut customers = sign_in(&pair, seed, 0..CLIENTS).await;
    println!("{:?}: {CLIENTS} clients are signed in", started.elapsed());
    let mut robbed = BTreeMap::new();
    for round in 1..=ROUNDS {
        customers = live(&pair, customers, (REFRESHES * round).div_ceil(ROUNDS), &mut chance).await;
        if round == ROUNDS / 2 {
            robbed = an_hour_with_thieves(&pair, seed).await;
        } else {
            pair.sleep(chance.one_of(&SLEEPS)).await;
        }
    }
    let refreshed = *pair.refreshed.borrow();
    println!("{:?}: {refreshed} refreshes", started.elapsed());
    assert!(refreshed >= REFRESHES);
    for mut customer in customers {
        for which in [0, 1] {
            customer.refresh().await;
            let newest = customer.newest();
            customer.admitted(which, &newest).await;
        }
    }
    let events = events(&pair.stop().await);
    assert_eq!(by_grant(&events, "refresh_reused"), robbed);
    assert_eq!(by_grant(&events, "grant_revoked"), robbed);
    assert_eq!(by_grant(&events, "store_lost_write"), BTreeMap::new());
    for told in ["token_issued", "token_refreshed", "refresh_replayed"] {
        assert!(!by_grant(&events, told).is_empty(), "{told}");
    }
    println!("{:?} in all", started.elapsed());
}

async fn sign_in(pair: &Arc<Pair>, seed: u64, whose: std::ops::Range<u64>) -> Vec<Customer> {
    let mut signing_in = JoinSet::new();
    for whose in whose {
        let pair = Arc::clone(pair);
        signing_in.spawn(async move { Customer::sign_in(&pair, seed, whose).await });
    }
    signing_in.join_all().await
}

/// A round: everybody lives until there were `enough` refreshes, while processes are killed. Then it is quiet, and the store
/// is looked at.
async fn live(
    pair: &Arc<Pair>,
    customers: Vec<Customer>,
    enough: usize,
    chance: &mut Chance,
) -> Vec<Customer> {
    let before = *pair.refreshed.borrow();
    let mut kills: Vec<_> =
        (0..KILLS_A_ROUND).map(|_| (before + chance.below(enough - before), chance.below(2))).collect();
    kills.sort_unstable();
    let (chaos, mut refreshed) = (Arc::clone(pair), pair.refreshed.subscribe());
    let chaos = tokio::spawn(async move {
        for (at, which) in kills {
            refreshed.wait_for(|count| *count >= at).await.unwrap();
            chaos.kill(which).await;
        }
    });
    let mut living = JoinSet::new();
    for customer in customers {
        living.spawn(customer.live_until(enough));
    }
    let mut customers = living.join_all().await;
    chaos.await.unwrap();
    // Requests whose clients have gone, and confirmations, are still on their way.
    for which in [0, 1] {
        pair.metadata(which).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for customer in &mut customers {
        customer.read().await;
    }
    customers
}

/// Some people's refresh tokens are stolen and used an hour later. How often each of their grants is told to have been
/// revoked: once.
async fn an_hour_with_thieves(pair: &Arc<Pair>, seed: u64) -> BTreeMap<String, usize> {
    let mut victims = Vec::new();
    for customer in sign_in(pair, seed, CLIENTS..CLIENTS + VICTIMS).await {
        victims.push(rob(pair, customer).await);
    }
    pair.sleep(HOUR).await;
    let mut robbed = BTreeMap::new();
    for (victim, which) in victims.into_iter().zip([0, 1].into_iter().cycle()) {
        robbed.insert(victim.customer.grant.to_string(), 1);
        catch(pair, victim, which).await;
    }
    robbed
}
