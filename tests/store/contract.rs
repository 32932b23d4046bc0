//! What every store promises, a sentence a function.

use std::collections::HashSet;
use std::time::Duration;

use portcullis::oauth::{AttemptId, Client, Grant, GrantState, RevocationReason};
use portcullis::seal::Sealer;
use portcullis::secret::{Digest, Key, random};
use portcullis::store::backend::{Expect, Name, Prefix, Put};
use portcullis::store::{GrantsOf, OpenError, Revocation, RingKind, SCHEMA, Store, StoreError, Swap};
use portcullis::time::Timestamp;
use tokio::task::JoinSet;

use crate::faults::Faulty;
use crate::fixtures::*;
use crate::rig::Rig;

pub(crate) use crate::certificates::*;
pub(crate) use crate::queues::*;
pub(crate) use crate::resealing::*;

pub(crate) async fn a_client_is_read_back_until_it_expires(rig: &Rig) {
    let saved = client("c_one", later(100));
    rig.store.save_client(&saved).await.unwrap();
    assert_eq!(rig.store.client(&saved.id, later(99)).await.unwrap(), Some(saved.clone()));
    assert_eq!(rig.store.client(&saved.id, later(100)).await.unwrap(), None, "expired");
    assert_eq!(rig.store.client(&client_id("c_two"), NOW).await.unwrap(), None, "unknown");

    let renamed = Client { expires: later(200), ..saved };
    rig.store.save_client(&renamed).await.unwrap();
    assert_eq!(rig.store.client(&renamed.id, later(150)).await.unwrap(), Some(renamed), "overwritten");
}

pub(crate) async fn a_kept_client_lives_longer_and_never_shorter(rig: &Rig) {
    let id = client_id("c_one");
    rig.store.save_client(&client("c_one", later(100))).await.unwrap();
    rig.store.keep_client(&id, later(500), NOW).await.unwrap();
    rig.store.keep_client(&id, later(300), NOW).await.unwrap();
    assert!(rig.store.client(&id, later(499)).await.unwrap().is_some());
    assert!(rig.store.client(&id, later(500)).await.unwrap().is_none());

    rig.store.keep_client(&id, later(900), later(600)).await.unwrap();
    assert!(rig.store.client(&id, later(601)).await.unwrap().is_none(), "an expired one is not revived");
    rig.store.keep_client(&client_id("c_two"), later(500), NOW).await.unwrap();
    assert!(rig.store.client(&client_id("c_two"), NOW).await.unwrap().is_none(), "nor an unknown one made");
}

pub(crate) async fn a_client_that_moves_in_is_written_once(rig: &Rig) {
    let first = client("client_one", later(100));
    assert!(rig.store.admit_client(&first, NOW).await.unwrap());
    assert!(!rig.store.admit_client(&first, NOW).await.unwrap(), "the very same");
    let again = Client { expires: later(900), ..first.clone() };
    assert!(!rig.store.admit_client(&again, NOW).await.unwrap());
    assert_eq!(rig.store.client(&first.id, NOW).await.unwrap(), Some(first), "as it was");
    assert!(rig.store.admit_client(&again, later(100)).await.unwrap(), "the first has ended");
    assert_eq!(rig.store.client(&again.id, later(899)).await.unwrap(), Some(again));

    let never = Client { expires: Timestamp::from_seconds(u64::MAX), ..client("client_two", NOW) };
    assert!(rig.store.admit_client(&never, NOW).await.unwrap());
    assert_eq!(rig.store.client(&never.id, later(1_000_000_000)).await.unwrap(), Some(never));
}

pub(crate) async fn a_client_kept_by_many_at_once_lives_as_long_as_the_longest_asked(rig: &Rig) {
    rig.store.save_client(&client("c_one", later(100))).await.unwrap();
    let mut keepers = JoinSet::new();
    for index in 0..32 {
        let store = rig.store.clone();
        keepers.spawn(async move { store.keep_client(&client_id("c_one"), later(200 + index), NOW).await });
    }
    for kept in keepers.join_all().await {
        kept.unwrap();
    }
    let kept = rig.store.client(&client_id("c_one"), NOW).await.unwrap().unwrap();
    assert_eq!(kept.expires, later(231));
}

// C10, M6
pub(crate) async fn a_renewed_client_says_the_new_and_lives_no_shorter(rig: &Rig) {
    let first = client("https://app.example.com/c", later(100));
    rig.store.renew_client(&first, NOW).await.unwrap();
    assert_eq!(rig.store.client(&first.id, NOW).await.unwrap(), Some(first.clone()));
    rig.store.keep_client(&first.id, later(900), NOW).await.unwrap();

    let mut second = Client { issued_at: later(50), expires: later(150), ..first.clone() };
    second.metadata.client_name = Some("Renamed".to_owned());
    rig.store.renew_client(&second, later(50)).await.unwrap();
    let wanted = Client { issued_at: first.issued_at, expires: later(900), ..second.clone() };
    assert_eq!(rig.store.client(&first.id, later(899)).await.unwrap(), Some(wanted));

    let third = Client { issued_at: later(950), expires: later(1000), ..second };
    rig.store.renew_client(&third, later(950)).await.unwrap();
    assert_eq!(rig.store.client(&first.id, later(999)).await.unwrap(), Some(third), "one that had ended");
    assert_eq!(rig.store.client(&first.id, later(1000)).await.unwrap(), None);
}

pub(crate) async fn a_client_renewed_and_kept_by_many_at_once_lives_as_long_as_the_longest_asked(rig: &Rig) {
    rig.store.renew_client(&client("c_one", later(100)), NOW).await.unwrap();
    let mut keepers = JoinSet::new();
    for index in 0..32 {
        let store = rig.store.clone();
        keepers.spawn(async move {
            let until = later(200 + index);
            if index % 2 == 0 {
                store.renew_client(&client("c_one", until), NOW).await
            } else {
                store.keep_client(&client_id("c_one"), until, NOW).await.map(drop)
            }
        });
    }
    for kept in keepers.join_all().await {
        kept.unwrap();
    }
    let kept = rig.store.client(&client_id("c_one"), NOW).await.unwrap().unwrap();
    assert_eq!(kept.expires, later(231));
}

// G9
pub(crate) async fn of_32_changes_of_a_client_from_one_reading_one_wins(rig: &Rig) {
    let saved = client("c_one", later(100));
    rig.store.save_client(&saved).await.unwrap();
    let read = rig.store.loaded_client(&saved.id, NOW).await.unwrap().unwrap();
    let mut swaps = JoinSet::new();
    for index in 0..32 {
        let (store, read) = (rig.store.clone(), read.clone());
        swaps.spawn(async move {
            let new = Client { expires: later(200 + index), ..read.value.clone() };
            (store.swap_client(&read, &new).await.unwrap(), new)
        });
    }
    let swapped = swaps.join_all().await;
    let won: Vec<_> = swapped.into_iter().filter(|(swap, _)| *swap == Swap::Done).collect();
    assert_eq!(won.len(), 1);
    let (_, new) = &won[0];
    assert_eq!(rig.store.client(&saved.id, NOW).await.unwrap().as_ref(), Some(new));
    assert_eq!(rig.store.swap_client(&read, new).await.unwrap(), Swap::Done, "its own bytes: sent twice");
}

// G9, G10
pub(crate) async fn a_deleted_client_is_absent_and_no_change_brings_it_back(rig: &Rig) {
    let saved = client("c_one", later(100));
    rig.store.save_client(&saved).await.unwrap();
    let read = rig.store.loaded_client(&saved.id, NOW).await.unwrap().unwrap();
    rig.store.delete_client(&saved.id).await.unwrap();
    assert_eq!(rig.store.client(&saved.id, NOW).await.unwrap(), None);
    let renewed = Client { expires: later(200), ..saved.clone() };
    assert_eq!(rig.store.swap_client(&read, &renewed).await.unwrap(), Swap::Conflict);
    rig.store.keep_client(&saved.id, later(300), NOW).await.unwrap();
    assert_eq!(rig.store.client(&saved.id, NOW).await.unwrap(), None);
    rig.store.delete_client(&saved.id).await.expect("deleting twice is no error");
}

// RFC 7523 §3 item 7
pub(crate) async fn an_assertion_counts_once_of_32_uses_at_once(rig: &Rig) {
    for round in 0..8 {
        let mut uses = JoinSet::new();
        for _ in 0..32 {
            let store = rig.store.clone();
            uses.spawn(async move {
                let (client, token_id) = (client_id("ci"), round.to_string());
                let attempt = AttemptId::new(random());
                store.use_assertion((&client, &token_id), attempt, later(60)).await.unwrap()
            });
        }
        let counted = uses.join_all().await.into_iter().filter(|first| *first).count();
        assert_eq!(counted, 1, "exactly one counts");
    }
}

// RFC 7523 §3 item 7
pub(crate) async fn an_assertion_s_use_whose_answer_was_lost_can_be_sent_again(rig: &Rig) {
    let faulty = Faulty::new(&rig.backend, Duration::ZERO);
    let store = Store::with_backend(faulty.clone(), sealer()).await.unwrap();
    let (client, other) = (client_id("ci"), client_id("cd"));
    let attempt = AttemptId::new(random());
    faulty.lose_the_next_answer();
    let lost = store.use_assertion((&client, "one"), attempt, later(60)).await.unwrap_err();
    assert!(matches!(lost, StoreError::Away(_)), "{lost}");
    assert!(store.use_assertion((&client, "one"), attempt, later(60)).await.unwrap(), "it is its own");
    let another = AttemptId::new(random());
    assert!(!store.use_assertion((&client, "one"), another, later(60)).await.unwrap());
    assert!(store.use_assertion((&other, "one"), another, later(60)).await.unwrap(), "another client's");
    assert!(store.use_assertion((&client, "two"), another, later(60)).await.unwrap(), "another jti");
}

// C7, C8
pub(crate) async fn a_flow_is_taken_once_of_32_at_once(rig: &Rig) {
    for round in 0..8 {
        let state = secret(&format!("state {round}"));
        let saved = flow(Some("theirs"), "verifier", later(600));
        rig.store.begin_flow(&state, &saved, 1000).await.unwrap();
        let mut takers = JoinSet::new();
        for _ in 0..32 {
            let (store, state) = (rig.store.clone(), state.clone());
            takers.spawn(async move { store.take_flow(&state, NOW).await.unwrap() });
        }
        let taken: Vec<_> = takers.join_all().await.into_iter().flatten().collect();
        assert_eq!(taken.len(), 1, "exactly one wins");
        assert_eq!(taken[0].verifier, "verifier");
        assert_eq!(taken[0].request.as_ref().unwrap().state.as_deref(), Some("theirs"));
    }
}

// C7
pub(crate) async fn a_flow_ends_by_the_time_passed_in(rig: &Rig) {
    let (first, second) = (secret("one"), secret("two"));
    rig.store.begin_flow(&first, &flow(None, "verifier", later(600)), 1000).await.unwrap();
    rig.store.begin_flow(&second, &flow(None, "verifier", later(600)), 1000).await.unwrap();
    assert!(rig.store.take_flow(&first, later(599)).await.unwrap().is_some());
    assert!(rig.store.take_flow(&second, later(600)).await.unwrap().is_none());
    assert!(rig.store.take_flow(&secret("three"), NOW).await.unwrap().is_none(), "unknown");
}

pub(crate) async fn a_session_lives_until_it_expires_or_is_ended(rig: &Rig) {
    let cookie = secret("cookie");
    rig.store.save_session(&cookie, &session(later(600))).await.unwrap();
    let read = rig.store.session(&cookie, later(599)).await.unwrap().unwrap();
    assert_eq!(read.facts, facts("1"));
    assert!(rig.store.session(&cookie, later(600)).await.unwrap().is_none());
    rig.store.end_session(&cookie).await.unwrap();
    assert!(rig.store.session(&cookie, NOW).await.unwrap().is_none());
    rig.store.end_session(&cookie).await.expect("ending twice is no error");
}

pub(crate) async fn a_grant_is_begun_once_and_the_same_record_twice_is_no_error(rig: &Rig) {
    let grant = pending("c_one", "1", "code");
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    assert_eq!(rig.store.grant(grant.id, NOW).await.unwrap().unwrap().value, grant);

    let another = portcullis::oauth::Grant { attempt: AttemptId::new(random()), ..grant.clone() };
    let refused = rig.store.begin_grant(&another, &lives()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert_eq!(rig.store.grant(grant.id, NOW).await.unwrap().unwrap().value, grant, "the first stays");
}

pub(crate) async fn a_grant_ends_by_the_time_passed_in(rig: &Rig) {
    let grant = pending("c_one", "1", "code");
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    let end = grant.expires(&lives());
    assert!(rig.store.grant(grant.id, end.before(Duration::from_secs(1))).await.unwrap().is_some());
    assert!(rig.store.grant(grant.id, end).await.unwrap().is_none());
}

pub(crate) async fn of_32_swaps_from_one_reading_one_wins(rig: &Rig) {
    let grant = pending("c_one", "1", "code");
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    let read = rig.store.grant(grant.id, NOW).await.unwrap().unwrap();
    let mut swaps = JoinSet::new();
    for _ in 0..32 {
        let (store, read) = (rig.store.clone(), read.clone());
        swaps.spawn(async move {
            let new = active(&read.value, 1);
            (store.swap_grant(&read, &new, &lives()).await.unwrap(), new)
        });
    }
    let swapped = swaps.join_all().await;
    let won: Vec<_> = swapped.iter().filter(|(swap, _)| *swap == Swap::Done).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(rig.store.grant(grant.id, NOW).await.unwrap().unwrap().value, won[0].1);
}

pub(crate) async fn thirty_two_advancers_each_advance_once(rig: &Rig) {
    let grant = active(&pending("c_one", "1", "code"), 1);
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    let mut advancers = JoinSet::new();
    for _ in 0..32 {
        let (store, id) = (rig.store.clone(), grant.id);
        advancers.spawn(async move {
            loop {
                let read = store.grant(id, NOW).await.unwrap().unwrap();
                let new = active(&read.value, generation(&read.value) + 1);
                if store.swap_grant(&read, &new, &lives()).await.unwrap() == Swap::Done {
                    return generation(&new);
                }
            }
        });
    }
    let reached: HashSet<u64> = advancers.join_all().await.into_iter().collect();
    assert_eq!(reached, (2..=33).collect(), "every generation was reached once");
    assert_eq!(generation(&rig.store.grant(grant.id, NOW).await.unwrap().unwrap().value), 33);
}

pub(crate) async fn a_swap_that_finds_its_own_bytes_is_done(rig: &Rig) {
    let grant = pending("c_one", "1", "code");
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    let read = rig.store.grant(grant.id, NOW).await.unwrap().unwrap();
    let new = active(&grant, 1);
    assert_eq!(rig.store.swap_grant(&read, &new, &lives()).await.unwrap(), Swap::Done);
    assert_eq!(rig.store.swap_grant(&read, &new, &lives()).await.unwrap(), Swap::Done, "the same again");
    let other = active(&grant, 1);
    assert_eq!(rig.store.swap_grant(&read, &other, &lives()).await.unwrap(), Swap::Conflict);
    assert_eq!(rig.store.grant(grant.id, NOW).await.unwrap().unwrap().value, new);
}

pub(crate) async fn the_indexes_list_the_live_grants_of_a_user_and_of_a_client(rig: &Rig) {
    let grants = [
        pending("c_one", "1", "a"),
        pending("c_two", "1", "b"),
        pending("c_one", "2", "c"),
        pending("c_one", "1", "d"),
    ];
    for grant in &grants {
        rig.store.begin_grant(grant, &lives()).await.unwrap();
    }
    let read = rig.store.grant(grants[3].id, NOW).await.unwrap().unwrap();
    rig.store.swap_grant(&read, &revoked(&grants[3], NOW), &lives()).await.unwrap();

    let ids = |listed: Vec<portcullis::oauth::Grant>| -> HashSet<_> { listed.iter().map(|g| g.id).collect() };
    let of_user = rig.store.grants_of_user(&subject("1"), NOW).await.unwrap();
    assert_eq!(ids(of_user), HashSet::from([grants[0].id, grants[1].id]), "the fourth is revoked");
    let of_client = rig.store.grants_of_client(&client_id("c_one"), NOW).await.unwrap();
    assert_eq!(ids(of_client), HashSet::from([grants[0].id, grants[2].id]));
    let long_after = grants[0].expires(&lives());
    assert!(rig.store.grants_of_user(&subject("1"), long_after).await.unwrap().is_empty());
}

pub(crate) async fn a_revocation_is_in_the_feed_if_and_only_if_its_swap_won(rig: &Rig) {
    let grant = active(&pending("c_one", "1", "code"), 1);
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    let read = rig.store.grant(grant.id, NOW).await.unwrap().unwrap();
    rig.store.swap_grant(&read, &active(&grant, 2), &lives()).await.unwrap();
    assert_eq!(rig.store.revocations(None).await.unwrap().0, [], "an advance is no revocation");

    let lost = rig.store.swap_grant(&read, &revoked(&grant, later(1)), &lives()).await.unwrap();
    assert_eq!(lost, Swap::Conflict);
    assert_eq!(rig.store.revocations(None).await.unwrap().0, [], "a lost swap leaves no entry");

    let read = rig.store.grant(grant.id, NOW).await.unwrap().unwrap();
    let won = rig.store.swap_grant(&read, &revoked(&grant, later(2)), &lives()).await.unwrap();
    assert_eq!(won, Swap::Done);
    let entry = Revocation { grant: grant.id, at: later(2), until: None };
    assert_eq!(rig.store.revocations(None).await.unwrap().0, [entry]);
    let state = rig.store.grant(grant.id, NOW).await.unwrap().unwrap().value.state;
    assert!(matches!(state, GrantState::Revoked { .. }), "its tombstone stays");
}

/// Begins a grant and revokes it.
async fn revoke_one(store: &Store) -> Revocation {
    let grant = active(&pending("c_one", "1", "code"), 1);
    store.begin_grant(&grant, &lives()).await.unwrap();
    let read = store.grant(grant.id, NOW).await.unwrap().unwrap();
    store.swap_grant(&read, &revoked(&grant, NOW), &lives()).await.unwrap();
    Revocation { grant: grant.id, at: NOW, until: None }
}

pub(crate) async fn another_handle_sees_a_revocation_and_readings_overlap(rig: &Rig) {
    let reader = rig.another().await;
    let (entries, start) = reader.revocations(None).await.unwrap();
    assert_eq!(entries, []);
    let mut revoked = HashSet::new();
    for _ in 0..40 {
        revoked.insert(revoke_one(&rig.store).await.grant);
    }
    let (entries, next) = reader.revocations(Some(start)).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.grant).collect::<HashSet<_>>(), revoked);
    let (again, _) = reader.revocations(Some(next)).await.unwrap();
    assert_eq!(again.len(), 40, "within two minutes an entry is read again");
}

pub(crate) async fn a_feed_whose_clock_went_back_misses_nothing(rig: &Rig) {
    let (_, before) = rig.store.revocations(None).await.unwrap();
    // The store fails over to a replica whose clock is an hour behind.
    let behind = Faulty::new(&rig.backend, Duration::from_hours(1));
    let reader = Store::with_backend(behind, sealer()).await.unwrap();
    let entry = revoke_one(&rig.store).await;
    let (entries, after) = reader.revocations(Some(before)).await.unwrap();
    assert_eq!(entries, [entry]);
    let another = revoke_one(&rig.store).await;
    let (entries, _) = reader.revocations(Some(after)).await.unwrap();
    assert!(entries.contains(&another));
}

pub(crate) async fn a_sweep_trims_old_revocations_only(rig: &Rig) {
    let old = revoke_one(&rig.store).await;
    rig.pass(Duration::from_secs(2)).await;
    let new = revoke_one(&rig.store).await;
    rig.store.sweep(Duration::from_hours(1), NOW).await.unwrap();
    let kept: HashSet<_> =
        rig.store.revocations(None).await.unwrap().0.into_iter().map(|entry| entry.grant).collect();
    assert_eq!(kept, HashSet::from([old.grant, new.grant]), "younger than an hour");
    rig.store.sweep(Duration::from_secs(1), NOW).await.unwrap();
    assert_eq!(rig.store.revocations(None).await.unwrap().0, [new]);
}

// F3
pub(crate) async fn a_login_is_pinned_to_the_first_who_signs_in(rig: &Rig) {
    let (first, second) = (subject("1"), subject("2"));
    assert_eq!(rig.store.pin_login("Octocat", &first).await.unwrap(), first);
    assert_eq!(rig.store.pin_login("octocat", &first).await.unwrap(), first, "again");
    assert_eq!(rig.store.pin_login("OCTOCAT", &second).await.unwrap(), first, "the login's next owner");
    assert_eq!(rig.store.pin_login("hubot", &first).await.unwrap(), first);
    assert_eq!(rig.store.pins(&first).await.unwrap(), ["hubot", "octocat"]);
    assert_eq!(rig.store.pins(&second).await.unwrap(), [] as [&str; 0]);
}

pub(crate) async fn a_login_pinned_by_many_at_once_has_one_owner(rig: &Rig) {
    let mut pinners = JoinSet::new();
    for index in 0..8 {
        let store = rig.store.clone();
        pinners.spawn(async move { store.pin_login("octocat", &subject(&index.to_string())).await.unwrap() });
    }
    let owners: HashSet<_> = pinners.join_all().await.into_iter().collect();
    assert_eq!(owners.len(), 1);
    for index in 0..8 {
        let subject = subject(&index.to_string());
        let pins = rig.store.pins(&subject).await.unwrap();
        assert_eq!(pins.len(), usize::from(owners.contains(&subject)), "only the owner has the pin");
    }
}

// F3
pub(crate) async fn a_forgotten_login_goes_to_the_next_who_signs_in(rig: &Rig) {
    let (first, second) = (subject("1"), subject("2"));
    assert_eq!(rig.store.forget_login("octocat").await.unwrap(), None, "nobody has it");
    rig.store.pin_login("octocat", &first).await.unwrap();
    rig.store.pin_login("hubot", &first).await.unwrap();
    assert_eq!(rig.store.forget_login("OctoCat").await.unwrap(), Some(first.clone()));
    assert_eq!(rig.store.pins(&first).await.unwrap(), ["hubot"], "the other stays");
    assert_eq!(rig.store.pin_login("octocat", &second).await.unwrap(), second);
    assert_eq!(rig.store.pins(&second).await.unwrap(), ["octocat"]);
    assert_eq!(rig.store.pins(&first).await.unwrap(), ["hubot"]);
}

pub(crate) async fn the_newest_sign_in_of_a_user_wins_and_a_later_swap_does_not_undo_it(rig: &Rig) {
    let (first, second) = (user("1", "gho_one", later(600)), user("1", "gho_two", later(900)));
    assert!(rig.store.user(&subject("1"), NOW).await.unwrap().is_none());
    rig.store.save_user(&first).await.unwrap();
    let read = rig.store.user(&subject("1"), NOW).await.unwrap().unwrap();
    assert_eq!(read.value, first);
    rig.store.save_user(&second).await.unwrap();
    let without = portcullis::store::UserRecord { token: None, ..first };
    assert_eq!(rig.store.swap_user(&read, &without).await.unwrap(), Swap::Conflict);
    let read = rig.another().await.user(&subject("1"), NOW).await.unwrap().unwrap();
    assert_eq!(read.value, second);
    assert_eq!(rig.store.swap_user(&read, &without).await.unwrap(), Swap::Done);
    assert_eq!(rig.store.user(&subject("1"), NOW).await.unwrap().unwrap().value, without);
    assert!(rig.store.user(&subject("2"), NOW).await.unwrap().is_none(), "another user");
}

pub(crate) async fn a_user_s_record_ends_by_the_time_passed_in(rig: &Rig) {
    rig.store.save_user(&user("1", "gho_one", later(600))).await.unwrap();
    assert!(rig.store.user(&subject("1"), later(599)).await.unwrap().is_some());
    assert!(rig.store.user(&subject("1"), later(600)).await.unwrap().is_none());
}

pub(crate) async fn of_32_that_want_a_lease_one_has_it_until_it_ends(rig: &Rig) {
    for (now, until) in [(0, 60), (60, 120)] {
        let mut wanting = JoinSet::new();
        for _ in 0..32 {
            let store = rig.store.clone();
            wanting.spawn(async move { store.lease("renew 1", later(until), later(now)).await.unwrap() });
        }
        let mine = wanting.join_all().await.into_iter().filter(|mine| *mine).count();
        assert_eq!(mine, 1, "from {now} on");
        let again = rig.another().await.lease("renew 1", later(until + 60), later(until - 1)).await.unwrap();
        assert!(!again, "it has not ended");
    }
    assert!(rig.store.lease("renew 2", later(60), NOW).await.unwrap(), "another one");
}

// F6
pub(crate) async fn the_users_of_another_provider_are_refused(rig: &Rig) {
    rig.store.bind_provider("https://github.com").await.unwrap();
    rig.another().await.bind_provider("https://github.com").await.unwrap();
    let refused = rig.store.bind_provider("https://git.example.com").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the users in this store are those of https://github.com, and web_url says https://git.example.com, where the same \
         ids are other people; restore identity.github.web_url, or start with an empty store"
    );
    rig.store.bind_provider("https://github.com").await.unwrap();
}

pub(crate) async fn of_eight_fresh_key_rings_one_wins_and_all_get_it(rig: &Rig) {
    for kind in [RingKind::Signing, RingKind::Refresh, RingKind::Session] {
        let mut openers = JoinSet::new();
        for index in 0..8 {
            let store = rig.another().await;
            let fresh = key(&format!("k{index}"), "material");
            openers.spawn(async move { store.key_ring(kind, fresh).await.unwrap() });
        }
        let rings = openers.join_all().await;
        let ids: HashSet<_> = rings.iter().map(|ring| ring[0].id.clone()).collect();
        assert_eq!(ids.len(), 1, "{kind:?}");
        assert!(rings.iter().all(|ring| ring.len() == 1 && ring[0].material == "material"));
    }
}

// V3, T15
pub(crate) async fn of_eight_rotations_of_one_ring_one_wins(rig: &Rig) {
    let kind = RingKind::Signing;
    let first = key("k0", "material");
    rig.store.load_ring(kind, &first).await.unwrap();
    let mut rotations = JoinSet::new();
    for index in 1..=8 {
        let store = rig.another().await;
        let first = first.clone();
        rotations.spawn(async move {
            let old = store.load_ring(kind, &first).await.unwrap();
            assert_eq!(old.value, std::slice::from_ref(&first));
            (store, old, vec![key(&format!("k{index}"), "material"), first])
        });
    }
    let mut swaps = JoinSet::new();
    for (store, old, new) in rotations.join_all().await {
        swaps.spawn(async move { (store.swap_ring(kind, &old, new.clone()).await.unwrap(), new) });
    }
    let swapped = swaps.join_all().await;
    let won: Vec<_> = swapped.iter().filter(|(swap, _)| *swap == Swap::Done).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(rig.store.key_ring(kind, first).await.unwrap(), won[0].1);
}

pub(crate) async fn a_lost_answer_of_a_rotation_is_recognised_by_its_key(rig: &Rig) {
    let faulty = Faulty::new(&rig.backend, Duration::ZERO);
    let store = Store::with_backend(faulty.clone(), sealer()).await.unwrap();
    let (first, second) = (key("k0", "material"), key("k1", "material"));
    let old = store.load_ring(RingKind::Refresh, &first).await.unwrap();
    faulty.lose_the_next_answer();
    let new = vec![second.clone(), first.clone()];
    let lost = store.swap_ring(RingKind::Refresh, &old, new.clone()).await.unwrap_err();
    assert!(matches!(lost, StoreError::Away(_)), "{lost}");
    assert_eq!(store.load_ring(RingKind::Refresh, &first).await.unwrap().value, new);
    let again = store.swap_ring(RingKind::Refresh, &old, vec![first]).await.unwrap();
    assert_eq!(again, Swap::Conflict, "what was read before is there no more");
}

pub(crate) async fn counters_count_within_their_window(rig: &Rig) {
    let minute = Duration::from_mins(1);
    let start = later(60 - NOW.seconds() % 60);
    let mut counters = JoinSet::new();
    for _ in 0..32 {
        let store = rig.store.clone();
        counters.spawn(async move { store.count("register 192.0.2.1", minute, start).await.unwrap() });
    }
    let counts: HashSet<u64> = counters.join_all().await.into_iter().collect();
    assert_eq!(counts, (1..=32).collect());
    let end = start.after(Duration::from_secs(59));
    assert_eq!(rig.store.count("register 192.0.2.1", minute, end).await.unwrap(), 33);
    assert_eq!(rig.store.count("register 192.0.2.2", minute, end).await.unwrap(), 1, "another name");
    let next = start.after(minute);
    assert_eq!(rig.store.count("register 192.0.2.1", minute, next).await.unwrap(), 1, "the next window");
}

pub(crate) async fn the_store_answers_a_ping(rig: &Rig) {
    rig.store.ping().await.unwrap();
}

pub(crate) async fn a_scan_finds_every_record_of_its_kind_and_no_other(rig: &Rig) {
    let mut clients = HashSet::new();
    let mut grants = HashSet::new();
    save_clients(&rig.store, 2500).await;
    for index in 0..2500 {
        let id = format!("c_{index}");
        clients.insert(format!("client:{}", Digest::of(id.as_bytes()).to_base64url()));
    }
    for _ in 0..50 {
        let grant = pending("c_one", "1", "code");
        grants.insert(format!("grant:{}", grant.id));
        rig.store.begin_grant(&grant, &lives()).await.unwrap();
    }
    assert_eq!(scan(rig, Prefix { text: "client:", sharded: false }).await, clients);
    assert_eq!(scan(rig, Prefix { text: "grant:", sharded: true }).await, grants);
}

/// Saves `c_0`, `c_1` and so on, all at once.
pub(crate) async fn save_clients(store: &Store, count: usize) {
    let mut writers = JoinSet::new();
    for index in 0..count {
        let store = store.clone();
        writers.spawn(async move { store.save_client(&client(&format!("c_{index}"), later(100))).await });
    }
    for written in writers.join_all().await {
        written.unwrap();
    }
}

pub(crate) async fn scan(rig: &Rig, prefix: Prefix) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut cursor = None;
    loop {
        let page = rig.backend.scan(prefix, cursor).await.unwrap();
        found.extend(page.names);
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

pub(crate) async fn a_lost_answer_of_a_swap_is_recognised_by_loading_again(rig: &Rig) {
    let faulty = Faulty::new(&rig.backend, Duration::ZERO);
    let store = Store::with_backend(faulty.clone(), sealer()).await.unwrap();
    let grant = active(&pending("c_one", "1", "code"), 1);
    store.begin_grant(&grant, &lives()).await.unwrap();
    let read = store.grant(grant.id, NOW).await.unwrap().unwrap();
    let new = revoked(&grant, NOW);

    faulty.lose_the_next_answer();
    let lost = store.swap_grant(&read, &new, &lives()).await.unwrap_err();
    assert!(matches!(lost, StoreError::Away(_)), "{lost}");
    let found = store.grant(grant.id, NOW).await.unwrap().unwrap().value;
    assert_eq!(found.attempt, new.attempt, "the record carries our attempt: the commit won");
    assert_eq!(store.revocations(None).await.unwrap().0.len(), 1);
    assert_eq!(store.swap_grant(&read, &new, &lives()).await.unwrap(), Swap::Done, "or it is sent again");
    assert_eq!(store.grant(grant.id, NOW).await.unwrap().unwrap().value, new);
}

pub(crate) async fn a_lost_answer_of_a_beginning_can_be_sent_again(rig: &Rig) {
    let faulty = Faulty::new(&rig.backend, Duration::ZERO);
    let store = Store::with_backend(faulty.clone(), sealer()).await.unwrap();
    let grant = pending("c_one", "1", "code");
    faulty.lose_the_next_answer();
    let lost = store.begin_grant(&grant, &lives()).await.unwrap_err();
    assert!(matches!(lost, StoreError::Away(_)), "{lost}");
    store.begin_grant(&grant, &lives()).await.unwrap();
    assert_eq!(store.grants_of_user(&subject("1"), NOW).await.unwrap(), [grant]);

    faulty.lose_the_next_answer();
    store.key_ring(RingKind::Refresh, key("first", "one")).await.unwrap_err();
    let keys = store.key_ring(RingKind::Refresh, key("second", "two")).await.unwrap();
    assert_eq!(keys[0].material, "one", "the first was written");

    faulty.lose_the_next_answer();
    store.pin_login("octocat", &subject("1")).await.unwrap_err();
    assert_eq!(store.pin_login("octocat", &subject("2")).await.unwrap(), subject("1"));
    assert_eq!(store.pins(&subject("1")).await.unwrap(), ["octocat"]);
}

pub(crate) async fn a_lost_answer_of_a_take_is_never_a_second_use(rig: &Rig) {
    let faulty = Faulty::new(&rig.backend, Duration::ZERO);
    let store = Store::with_backend(faulty.clone(), sealer()).await.unwrap();
    let state = secret("state");
    store.begin_flow(&state, &flow(None, "verifier", later(600)), 1000).await.unwrap();
    faulty.lose_the_next_answer();
    let lost = store.take_flow(&state, NOW).await.unwrap_err();
    assert!(matches!(lost, StoreError::Away(_)), "{lost}");
    assert!(store.take_flow(&state, NOW).await.unwrap().is_none(), "and nobody else gets it");
}

pub(crate) async fn another_secret_key_is_refused(rig: &Rig) {
    let other = Sealer::new(Key::new([10; 32]));
    let refused = Store::with_backend(rig.backend.clone(), other).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "secret_key is not the one this store was made with; restore the old key, or write it as secret_key_previous beside the new one, or start with an empty store"
    );
    Store::with_backend(rig.backend.clone(), sealer()).await.expect("the right one still opens it");
}

pub(crate) async fn a_newer_schema_is_refused(rig: &Rig) {
    overwrite(rig, Name::new("meta:schema".to_owned()), b"\x01{\"value\":2}").await;
    let refused = Store::with_backend(rig.backend.clone(), sealer()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Schema { found: 2, known: SCHEMA }), "{refused}");
}

async fn overwrite(rig: &Rig, name: Name, bytes: &[u8]) {
    let put = Put { name, bytes: bytes.to_vec(), expect: Expect::Any, expires: None, append: None };
    assert_eq!(rig.backend.put(put).await.unwrap(), Swap::Done);
}

pub(crate) async fn a_damaged_record_is_told_as_such(rig: &Rig) {
    let client_name = Name::new(format!("client:{}", Digest::of(b"c_one").to_base64url()));
    let flow_name = Name::new(format!("flow:{}", secret("one").digest().to_base64url()));
    rig.store.begin_flow(&secret("two"), &flow(None, "verifier", later(600)), 1000).await.unwrap();
    let two = Name::new(format!("flow:{}", secret("two").digest().to_base64url()));
    let sealed = rig.backend.get(&two).await.unwrap().unwrap();
    let mut flipped = sealed.clone();
    *flipped.last_mut().unwrap() ^= 1;

    let told = |error: StoreError| match error {
        StoreError::Damaged { name, source } => {
            let source = source.to_string();
            assert!(!source.is_empty() && !source.contains("planted"), "{source}");
            name
        }
        other @ (StoreError::Away(_) | StoreError::Contended) => panic!("{other}"),
    };
    for bytes in [
        b"".as_slice(),
        b"\x01",
        b"\x02{\"value\":1}",
        b"\x01{\"value\":",
        b"\x01{\"value\":\"planted\"}",
        &[255; 40],
    ] {
        overwrite(rig, client_name.clone(), bytes).await;
        let error = rig.store.client(&client_id("c_one"), NOW).await.unwrap_err();
        assert_eq!(told(error), client_name.as_str(), "{bytes:?}");
    }
    // Among them: a good record of another name, which sealing binds to its own.
    for bytes in [b"".as_slice(), b"\x01", b"\x01{}", &sealed[..20], &flipped, &sealed] {
        overwrite(rig, flow_name.clone(), bytes).await;
        let error = rig.store.take_flow(&secret("one"), NOW).await.unwrap_err();
        assert_eq!(told(error), flow_name.as_str(), "{bytes:?}");
    }
    overwrite(rig, Name::new("ring:refresh".to_owned()), &sealed).await;
    let error = rig.store.key_ring(RingKind::Refresh, key("k", "material")).await.unwrap_err();
    assert_eq!(told(error), "ring:refresh");
}

// T16
pub(crate) async fn nothing_secret_is_readable_in_what_is_stored(rig: &Rig) {
    let planted = ["planted-code", "planted-state", "planted-cookie", "planted-verifier", "planted-material"];
    let [code, state, cookie, verifier, material] = planted;
    let (theirs, name) = ("planted-client-state", "planted login, which is no secret");
    rig.store.begin_grant(&pending("c_one", "1", code), &lives()).await.unwrap();
    rig.store.begin_flow(&secret(state), &flow(Some(theirs), verifier, later(600)), 1000).await.unwrap();
    let mut visible = session(later(600));
    visible.facts.user.login = name.to_owned();
    rig.store.save_session(&secret(cookie), &visible).await.unwrap();
    rig.store.key_ring(RingKind::Signing, key("k", material)).await.unwrap();
    rig.store.save_user(&user("1", "planted-token", later(600))).await.unwrap();
    rig.store.count("planted-counter", Duration::from_mins(1), NOW).await.unwrap();
    revoke_one(&rig.store).await;
    plant_acme(&rig.store).await;

    let dump = rig.dump().await;
    let holds = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(name) && holds("ring:signing"), "the dump is a dump of the store");
    for text in planted.into_iter().chain([theirs, "planted-counter", "planted-token"]).chain(ACME_SECRETS) {
        assert!(!holds(text), "{text} is readable");
    }
}

// R14
pub(crate) async fn the_revocation_of_a_long_token_is_told_until_its_end(rig: &Rig) {
    let issued =
        Grant { state: GrantState::Issued { until: later(90 * 86_400) }, ..pending("c_one", "1", "x") };
    rig.store.begin_grant(&issued, &lives()).await.unwrap();
    let read = rig.store.grant(issued.id, NOW).await.unwrap().unwrap();
    let ended = issued.clone().revoke(RevocationReason::Operator, AttemptId::new([1; 8]), later(1)).unwrap();
    assert_eq!(rig.store.swap_grant(&read, &ended, &lives()).await.unwrap(), Swap::Done);
    let short = revoke_one(&rig.store).await;
    let long = Revocation { grant: issued.id, at: later(1), until: Some(later(90 * 86_400)) };
    assert_eq!(rig.store.revocations(None).await.unwrap().0, [short, long]);
    rig.pass(Duration::from_secs(2)).await;
    rig.store.sweep(Duration::from_secs(1), later(2)).await.unwrap();
    assert_eq!(
        rig.store.revocations(None).await.unwrap().0,
        [long],
        "a process that starts now must know it"
    );
    assert!(rig.store.grant(issued.id, later(89 * 86_400)).await.unwrap().is_some(), "its tombstone too");
}

pub(crate) async fn pages_find_every_grant_and_client_once_and_none_that_has_ended(rig: &Rig) {
    let mut wanted = HashSet::new();
    for number in 0..1100_u32 {
        let grant = active(&pending("c_one", &(number % 3).to_string(), "code"), 1);
        rig.store.begin_grant(&grant, &lives()).await.unwrap();
        wanted.insert(grant.id);
    }
    let other = active(&pending("c_two", "9", "code"), 1);
    rig.store.begin_grant(&other, &lives()).await.unwrap();
    let ended = revoke_one(&rig.store).await.grant;
    for (of, expected) in [
        (GrantsOf::Client(client_id("c_one")), 1100),
        (GrantsOf::User(subject("9")), 1),
        (GrantsOf::User(subject("nobody")), 0),
        (GrantsOf::All, 1101),
    ] {
        let (mut found, mut from, mut pages) = (HashSet::new(), None, 0);
        loop {
            let page = rig.store.page_of_grants(&of, from, NOW).await.unwrap();
            assert!(page.found.len() <= 1100, "a page is a part");
            found.extend(page.found.into_iter().map(|grant| grant.id));
            (from, pages) = (page.next, pages + 1);
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found.len(), expected, "{of:?}");
        assert!(!found.contains(&ended), "{of:?}");
        assert!(pages > 1 || expected < 1000, "{of:?} came at once");
    }
    for id in ["c_one", "c_two", "c_old"] {
        let ends = if id == "c_old" { NOW } else { later(60) };
        rig.store.save_client(&client(id, ends)).await.unwrap();
    }
    let (mut ids, mut from) = (HashSet::new(), None);
    loop {
        let page = rig.store.page_of_clients(from, NOW).await.unwrap();
        ids.extend(page.found.into_iter().map(|client| client.id.to_string()));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(ids, HashSet::from(["c_one".to_owned(), "c_two".to_owned()]));
}

pub(crate) async fn a_deleted_client_is_gone(rig: &Rig) {
    let (id, one) = (client_id("c_one"), client("c_one", later(60)));
    rig.store.save_client(&one).await.unwrap();
    rig.store.delete_client(&id).await.unwrap();
    assert_eq!(rig.store.client(&id, NOW).await.unwrap(), None);
    rig.store.delete_client(&id).await.unwrap();
}
