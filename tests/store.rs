//! The store's contract: one suite over every backend, with a real Redis server, and what each backend promises beyond it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "store/contract.rs"]
mod contract;
#[path = "store/embedded.rs"]
mod embedded;
#[path = "support/faults.rs"]
mod faults;
#[path = "store/fixtures.rs"]
mod fixtures;
#[path = "store/redis.rs"]
mod redis_server;
#[path = "store/rig.rs"]
mod rig;

/// Runs each of the suite's sentences over each backend.
macro_rules! contract {
    ($($sentence:ident)*) => {
        mod over_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                crate::contract::$sentence(&crate::rig::Rig::embedded().await).await;
            })*
        }
        mod over_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                crate::contract::$sentence(&crate::rig::Rig::redis().await).await;
            })*
        }
    };
}

contract! {
    a_client_is_read_back_until_it_expires
    a_kept_client_lives_longer_and_never_shorter
    a_client_kept_by_many_at_once_lives_as_long_as_the_longest_asked
    of_32_changes_of_a_client_from_one_reading_one_wins
    a_deleted_client_is_absent_and_no_change_brings_it_back
    an_assertion_counts_once_of_32_uses_at_once
    an_assertion_s_use_whose_answer_was_lost_can_be_sent_again
    a_flow_is_taken_once_of_32_at_once
    a_flow_ends_by_the_time_passed_in
    a_session_lives_until_it_expires_or_is_ended
    a_grant_is_begun_once_and_the_same_record_twice_is_no_error
    a_grant_ends_by_the_time_passed_in
    of_32_swaps_from_one_reading_one_wins
    thirty_two_advancers_each_advance_once
    a_swap_that_finds_its_own_bytes_is_done
    the_indexes_list_the_live_grants_of_a_user_and_of_a_client
    a_revocation_is_in_the_feed_if_and_only_if_its_swap_won
    another_handle_sees_a_revocation_and_readings_overlap
    a_feed_whose_clock_went_back_misses_nothing
    a_sweep_trims_old_revocations_only
    a_login_is_pinned_to_the_first_who_signs_in
    a_login_pinned_by_many_at_once_has_one_owner
    of_eight_fresh_key_rings_one_wins_and_all_get_it
    counters_count_within_their_window
    the_store_answers_a_ping
    a_scan_finds_every_record_of_its_kind_and_no_other
    a_lost_answer_of_a_swap_is_recognised_by_loading_again
    a_lost_answer_of_a_beginning_can_be_sent_again
    a_lost_answer_of_a_take_is_never_a_second_use
    another_secret_key_is_refused
    a_newer_schema_is_refused
    a_damaged_record_is_told_as_such
    nothing_secret_is_readable_in_what_is_stored
}
