//! What a store promises of what strangers make: never more than the limit, the oldest goes, and nobody's first use is lost.

use std::collections::HashSet;
use std::time::Duration;

use portcullis::oauth::Client;
use portcullis::secret::Digest;
use portcullis::store::backend::{Expect, Name, Prefix, Put};
use portcullis::store::{Session, Store, Swap};
use tokio::task::JoinSet;

use crate::contract::scan;
use crate::faults::Faulty;
use crate::fixtures::*;
use crate::rig::Rig;

const CLIENTS: Prefix = Prefix { text: "client:", sharded: false };

/// A registration as it is before its first use.
fn fresh(id: &str) -> Client {
    Client { expires: NOW.after(Client::UNUSED), ..client(id, NOW) }
}

/// Registers `c_<number>` for each number; the ids that went for them.
async fn register(rig: &Rig, numbers: std::ops::Range<u32>, limit: u64) -> Vec<String> {
    let mut gone = Vec::new();
    for number in numbers {
        let evicted = rig.store.add_client(&fresh(&format!("c_{number}")), limit, NOW).await.unwrap();
        gone.extend(evicted.iter().map(ToString::to_string));
    }
    gone
}

async fn is_there(rig: &Rig, id: &str) -> bool {
    rig.store.client(&client_id(id), NOW).await.unwrap().is_some()
}

fn ids(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("c_{number}")).collect()
}

/// How many records stand for the queue of clients, beside the clients.
async fn places(rig: &Rig) -> usize {
    scan(rig, Prefix { text: "turn:clients:", sharded: false }).await.len()
}

// G8
pub(crate) async fn at_the_limit_the_oldest_unused_client_goes_and_no_newcomer_is_refused(rig: &Rig) {
    assert_eq!(register(rig, 0..5, 5).await, [""; 0]);
    assert_eq!(register(rig, 5..12, 5).await, ids(0..7));
    for number in 0..12 {
        assert_eq!(is_there(rig, &format!("c_{number}")).await, number >= 7, "{number}");
    }
    assert_eq!((scan(rig, CLIENTS).await.len(), places(rig).await), (5, 5), "nothing is left of the others");
}

// G8
pub(crate) async fn a_used_client_never_goes(rig: &Rig) {
    register(rig, 0..3, 5).await;
    assert!(rig.store.keep_client(&client_id("c_1"), later(200_000), NOW).await.unwrap());
    assert_eq!(register(rig, 3..40, 5).await, [ids(0..1), ids(2..35)].concat());
    assert!(is_there(rig, "c_1").await);
    assert!(!rig.store.keep_client(&client_id("c_2"), later(200_000), NOW).await.unwrap(), "it has gone");
    assert!(!is_there(rig, "c_2").await, "and stays away");
}

async fn begin(rig: &Rig, id: &str, state: &str) {
    let mut flow = flow(None, "verifier", later(600));
    flow.request.as_mut().unwrap().client = client_id(id);
    rig.store.begin_flow(&secret(state), &flow, 1000).await.unwrap();
}

// G8
pub(crate) async fn a_client_that_somebody_signs_in_with_is_spared_for_as_long(rig: &Rig) {
    register(rig, 0..1, 3).await;
    begin(rig, "c_0", "one").await;
    assert_eq!(register(rig, 1..6, 3).await, ids(1..3), "c_0 stands in line once more");
    assert!(is_there(rig, "c_0").await);
    let evicted = rig.store.add_client(&fresh("c_6"), 3, later(601)).await.unwrap();
    let gone: HashSet<_> = evicted.iter().map(ToString::to_string).collect();
    assert_eq!(gone, HashSet::from(["c_0".to_owned(), "c_3".to_owned()]), "ten minutes later it goes");
}

// G8
pub(crate) async fn strangers_that_begin_sign_ins_keep_no_more_than_twice_the_limit(rig: &Rig) {
    for number in 0..40 {
        register(rig, number..number + 1, 5).await;
        begin(rig, &format!("c_{number}"), &format!("state {number}")).await;
    }
    let kept = scan(rig, CLIENTS).await.len();
    assert!(kept <= 10, "{kept}");
    assert!(is_there(rig, "c_39").await);
}

// G8
pub(crate) async fn a_client_that_is_used_while_it_is_evicted_stays(rig: &Rig) {
    let meddled = Faulty::new(&rig.backend, Duration::ZERO);
    let store = Store::with_backend(meddled.clone(), sealer()).await.unwrap();
    register(rig, 0..1, 1).await;
    let other = rig.store.clone();
    meddled.before_the_next_swap(async move {
        assert!(other.keep_client(&client_id("c_0"), later(200_000), NOW).await.unwrap());
    });
    assert_eq!(store.add_client(&fresh("c_1"), 1, NOW).await.unwrap(), []);
    let kept = rig.store.client(&client_id("c_0"), NOW).await.unwrap().unwrap();
    assert_eq!(kept.expires, later(200_000));
    assert!(is_there(rig, "c_1").await);
}

// G8
pub(crate) async fn a_client_that_is_evicted_while_it_is_used_is_told_to_have_gone(rig: &Rig) {
    let meddled = Faulty::new(&rig.backend, Duration::ZERO);
    let store = Store::with_backend(meddled.clone(), sealer()).await.unwrap();
    register(rig, 0..1, 1).await;
    let other = rig.store.clone();
    meddled.before_the_next_swap(async move {
        assert_eq!(other.add_client(&fresh("c_1"), 1, NOW).await.unwrap(), [client_id("c_0")]);
    });
    assert!(!store.keep_client(&client_id("c_0"), later(200_000), NOW).await.unwrap());
    assert!(!is_there(rig, "c_0").await, "and it does not come back");
}

// G8
pub(crate) async fn many_newcomers_at_once_leave_no_more_than_the_limit(rig: &Rig) {
    let mut newcomers = JoinSet::new();
    for writer in 0..8 {
        let store = rig.store.clone();
        newcomers.spawn(async move {
            for number in 0..25 {
                store.add_client(&fresh(&format!("c_{writer}_{number}")), 20, NOW).await.unwrap();
            }
        });
    }
    newcomers.join_all().await;
    assert_eq!((scan(rig, CLIENTS).await.len(), places(rig).await), (20, 20));
}

// G8
pub(crate) async fn a_limit_may_change_between_two_starts(rig: &Rig) {
    register(rig, 0..10, 4).await;
    assert_eq!(register(rig, 10..14, 8).await, [""; 0], "a raised one holds at once");
    assert_eq!(register(rig, 14..16, 8).await, ids(6..8), "and no sooner does anybody go");
    assert_eq!(register(rig, 16..18, 2).await, ids(14..16), "after a lowered one the newest stay");
    for number in 8..14 {
        assert!(is_there(rig, &format!("c_{number}")).await, "what is too many ends by itself");
    }
    let end = NOW.after(Client::UNUSED);
    assert!(rig.store.client(&client_id("c_8"), end).await.unwrap().is_none());
}

// G8
pub(crate) async fn what_cannot_be_read_keeps_no_newcomer_out(rig: &Rig) {
    register(rig, 0..2, 2).await;
    let digest = Digest::of(b"c_0").to_base64url();
    for name in [format!("client:{digest}"), "turn:clients:2".to_owned()] {
        let (bytes, expect) = (b"\x09nonsense".to_vec(), Expect::Any);
        let put = Put { name: Name::new(name), bytes, expect, expires: None, append: None };
        assert_eq!(rig.backend.put(put).await.unwrap(), Swap::Done);
    }
    assert_eq!(register(rig, 2..5, 2).await, ids(2..3));
    assert!(is_there(rig, "c_4").await);
}

// C7, G8
pub(crate) async fn at_the_limit_the_oldest_sign_in_goes(rig: &Rig) {
    let of = |number| flow(None, &format!("verifier {number}"), later(600));
    for number in 0..4 {
        rig.store.begin_flow(&secret(&format!("state {number}")), &of(number), 3).await.unwrap();
    }
    assert!(rig.store.take_flow(&secret("state 0"), NOW).await.unwrap().is_none(), "it made room");
    for number in 1..4 {
        let taken = rig.store.take_flow(&secret(&format!("state {number}")), NOW).await.unwrap().unwrap();
        assert_eq!(taken.verifier, format!("verifier {number}"));
    }
    for number in 4..40 {
        rig.store.begin_flow(&secret(&format!("state {number}")), &of(number), 3).await.unwrap();
    }
    for kind in ["flow:", "turn:flows:"] {
        assert_eq!(scan(rig, Prefix { text: kind, sharded: false }).await.len(), 3, "{kind}");
    }
}

pub(crate) async fn a_person_is_remembered_in_a_hundred_browsers(rig: &Rig) {
    let other = Session { facts: facts("2"), expires: later(600) };
    rig.store.save_session(&secret("other"), &other).await.unwrap();
    for number in 0..103 {
        rig.store.save_session(&secret(&format!("cookie {number}")), &session(later(600))).await.unwrap();
    }
    for number in 0..103 {
        let found = rig.store.session(&secret(&format!("cookie {number}")), NOW).await.unwrap();
        assert_eq!(found.is_some(), number >= 3, "{number}");
    }
    assert!(rig.store.session(&secret("other"), NOW).await.unwrap().is_some(), "another person's");
}

/// The operations are as many whether the queue is short or long: a registration does not get slower.
pub(crate) async fn a_long_queue_is_no_slower_than_a_short_one(rig: &Rig) {
    let counted = Faulty::new(&rig.backend, Duration::ZERO);
    let store = Store::with_backend(counted.clone(), sealer()).await.unwrap();
    let mut most = Vec::new();
    for (limit, numbers) in [(3, 0..6), (300, 6..620)] {
        let mut operations = 0;
        for number in numbers {
            let before = counted.operations();
            store.add_client(&fresh(&format!("c_{number}")), limit, NOW).await.unwrap();
            operations = operations.max(counted.operations() - before);
        }
        most.push(operations);
    }
    assert_eq!(most[0], most[1], "{most:?}");
    assert!(most[0] <= 10, "{most:?}");
}
