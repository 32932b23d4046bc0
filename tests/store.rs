//! The store's contract: one suite over every backend, with a real Redis server, and what each backend promises beyond it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "store/backup.rs"]
mod backup;
#[path = "store/certificates.rs"]
mod certificates;
#[path = "store/contract.rs"]
mod contract;
#[path = "store/embedded.rs"]
mod embedded;
#[path = "support/faults.rs"]
mod faults;
#[path = "store/fixtures.rs"]
mod fixtures;
#[path = "store/queues.rs"]
mod queues;
#[path = "store/redis.rs"]
mod redis_server;
#[path = "store/resealing.rs"]
mod resealing;
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
    a_client_that_moves_in_is_written_once
    a_client_kept_by_many_at_once_lives_as_long_as_the_longest_asked
    a_renewed_client_says_the_new_and_lives_no_shorter
    a_client_renewed_and_kept_by_many_at_once_lives_as_long_as_the_longest_asked
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
    the_revocation_of_a_long_token_is_told_until_its_end
    pages_find_every_grant_and_client_once_and_none_that_has_ended
    a_deleted_client_is_gone
    a_login_is_pinned_to_the_first_who_signs_in
    a_login_pinned_by_many_at_once_has_one_owner
    a_forgotten_login_goes_to_the_next_who_signs_in
    the_newest_sign_in_of_a_user_wins_and_a_later_swap_does_not_undo_it
    a_user_s_record_ends_by_the_time_passed_in
    of_32_that_want_a_lease_one_has_it_until_it_ends
    a_lease_is_kept_while_its_holder_lives_and_free_once_released
    a_lease_that_ended_is_neither_kept_nor_released_by_its_former_holder
    a_certificate_belongs_to_its_directory_and_the_newest_is_found
    an_order_and_an_account_are_remembered_until_they_are_forgotten
    how_a_renewal_goes_is_swapped_and_told_to_all
    a_challenge_is_answered_by_all_while_it_is_open
    the_users_of_another_provider_are_refused
    of_eight_fresh_key_rings_one_wins_and_all_get_it
    of_eight_rotations_of_one_ring_one_wins
    a_lost_answer_of_a_rotation_is_recognised_by_its_key
    counters_count_within_their_window
    the_store_answers_a_ping
    a_scan_finds_every_record_of_its_kind_and_no_other
    a_lost_answer_of_a_swap_is_recognised_by_loading_again
    a_lost_answer_of_a_beginning_can_be_sent_again
    a_lost_answer_of_a_take_is_never_a_second_use
    another_secret_key_is_refused
    a_new_secret_key_seals_everything_again_and_loses_nothing
    sealing_again_goes_on_where_it_was_stopped
    a_record_that_changes_while_it_is_sealed_again_keeps_the_change
    the_previous_secret_key_must_stay_until_nothing_is_left
    a_process_that_was_not_restarted_yet_is_found_out_and_its_records_follow
    what_neither_key_opens_stays_as_it_is
    a_newer_schema_is_refused
    a_damaged_record_is_told_as_such
    nothing_secret_is_readable_in_what_is_stored
    at_the_limit_the_oldest_unused_client_goes_and_no_newcomer_is_refused
    a_used_client_never_goes
    a_client_that_somebody_signs_in_with_is_spared_for_as_long
    strangers_that_begin_sign_ins_keep_no_more_than_twice_the_limit
    a_client_that_is_used_while_it_is_evicted_stays
    a_client_that_is_evicted_while_it_is_used_is_told_to_have_gone
    many_newcomers_at_once_leave_no_more_than_the_limit
    a_limit_may_change_between_two_starts
    what_cannot_be_read_keeps_no_newcomer_out
    at_the_limit_the_oldest_sign_in_goes
    a_person_is_remembered_in_a_hundred_browsers
    a_long_queue_is_no_slower_than_a_short_one
}
