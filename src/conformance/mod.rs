//! The suite that every store passes: one list of cases, each of which claims one thing that the
//! contract of [`store`](crate::store) promises.
//!
//! A store's own tests implement [`Harness`] and write one line, which makes a named test of each case:
//!
//! ```
//! use std::sync::Arc;
//!
//! use votive::conformance::Harness;
//! use votive::store::Store;
//! use votive::store::memory::MemoryStore;
//! use votive::time::ManualClock;
//!
//! struct Memory;
//!
//! impl Harness for Memory {
//!     fn open(&self, clock: &ManualClock) -> Arc<dyn Store> {
//!         Arc::new(MemoryStore::with_clock(Arc::new(clock.clone())))
//!     }
//! }
//!
//! votive::conformance!(Memory);
//! ```
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a case that finds something else than it expects is a case that fails"
)]

mod scene;

use std::io::Write;
use std::sync::Arc;

use crate::store::Store;
use crate::time::ManualClock;
use scene::Scene;

/// Opens stores of one kind for the cases. Each case has a harness of its own.
pub trait Harness: Sync {
    /// Whether there can be such a store here: one that needs a server which is not installed says why
    /// not, and its cases are skipped. Defaults to yes.
    fn is_available(&self) -> bool {
        true
    }

    /// Opens a new, empty store that goes by `clock`. Called once.
    fn open(&self, clock: &ManualClock) -> Arc<dyn Store>;

    /// Lets the process that has opened `store` end as a crash would, and opens what is left of it.
    /// `None` if nothing outlives the process; then the cases of crashes are skipped. Defaults to that.
    fn reopen_after_crash(
        &self,
        store: Arc<dyn Store>,
        clock: &ManualClock,
    ) -> Option<Arc<dyn Store>> {
        drop((store, clock.clone()));
        None
    }
}

/// Runs the case of this name, and then lets the store check itself.
///
/// # Panics
/// If the store does not do what the case claims, or there is no such case.
pub fn run(name: &str, harness: &dyn Harness) {
    let case = CASES.iter().find(|(known, _)| *known == name);
    let (_, case) = case.expect("a case of this name");
    if !harness.is_available() {
        return skip("there is no such store here");
    }
    let mut scene = Scene::open(harness);
    case(&mut scene);
    scene.check();
}

/// Returns the names of all cases.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|(name, _)| *name)
}

type Case = fn(&mut Scene<'_>);

/// Says why a case is skipped, past the test runner, which hides what passing tests print.
fn skip(reason: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a case").to_owned();
    let written = writeln!(std::io::stderr(), "{name}: skipped: {reason}");
    written.expect("standard error can be written to");
}

/// Takes the list of cases once: makes of it the modules, the table and the macro for stores.
macro_rules! cases {
    ($d:tt $($module:ident { $($case:ident)* })*) => {
        $(mod $module;)*

        const CASES: &[(&str, Case)] = &[$($((stringify!($case), $module::$case)),*),*];

        /// Makes a test of every case of the [`conformance`](mod@crate::conformance) suite. Takes an
        /// expression that makes a [`Harness`](crate::conformance::Harness).
        #[macro_export]
        macro_rules! conformance {
            ($d harness:expr) => {
                $($(
                    #[test]
                    fn $case() {
                        $crate::conformance::run(stringify!($case), &$d harness);
                    }
                )*)*
            };
        }
    };
}

cases! { $
    stage {
        a_staged_batch_is_invisible
        a_published_batch_is_visible
        publishing_again_changes_nothing
        publishing_what_was_never_staged_is_unknown
        publishing_after_a_discard_is_unknown
        discarding_forgets_the_batch
        discarding_again_or_what_is_unknown_succeeds
        staging_the_same_batch_again_is_accepted
        what_a_batch_was_judged_by_stays_beyond_its_retention
        staging_another_batch_for_a_transaction_is_refused
        staging_a_transaction_that_was_decided_here_is_refused
        staging_a_published_transaction_is_refused
        staged_transactions_are_listed_in_pages
        a_staged_transaction_tells_its_register_age_and_size
        what_is_staged_is_not_forgettable
        what_is_published_or_discarded_is_forgettable
        an_empty_batch_is_staged_and_published
        a_batch_of_ten_thousand_tasks_is_staged_whole
        ten_thousand_claims_are_settled_in_one_batch
    }
    batch {
        an_applied_batch_is_visible
        an_apply_records_that_it_committed
        an_apply_of_an_unknown_incarnation_is_refused
        an_apply_after_somebody_decided_to_abort_is_refused
        a_refused_batch_changes_nothing
        a_refused_stage_reserves_nothing
        changes_are_made_in_order
        a_task_is_inserted_once
        a_staged_task_is_not_inserted_by_another
        a_name_is_neither_empty_nor_too_long
        a_record_comes_back_as_it_went_in
    }
    value {
        a_name_may_have_any_character_but_nul
        a_nul_in_a_name_is_refused
        names_that_begin_alike_are_kept_apart
        what_people_and_errors_say_may_have_any_character
        a_time_may_be_as_far_away_as_there_are_numbers
        a_payload_may_be_empty_or_a_mebibyte
    }
    unique {
        a_duplicate_merges_into_the_waiting_task
        a_merged_id_is_an_alias
        a_duplicate_is_refused_on_demand
        a_duplicate_within_a_batch_merges
        a_key_of_a_staged_task_is_a_retryable_conflict
        discarding_frees_a_reserved_key
        a_claimed_task_does_not_hold_its_key
        an_ended_task_does_not_hold_its_key
        a_merge_is_judged_again_at_publish
        a_returning_task_takes_its_key_only_if_it_is_free
        a_task_that_came_back_without_its_key_goes_on_without
        several_staged_tasks_may_merge_into_a_visible_one
        staged_tasks_do_not_block_each_other_when_their_holder_is_claimed
        no_task_merges_into_one_that_is_being_cancelled
        of_a_batch_the_first_that_wants_a_key_gets_it
        of_a_staged_batch_the_first_that_wants_a_key_gets_it
        a_batch_may_take_a_key_that_it_frees
    }
    hold {
        a_running_task_keeps_its_key_if_it_says_so
        a_task_that_is_tried_again_keeps_its_key_until_it_has_ended
        a_batch_may_take_the_key_of_a_running_task_that_it_ends
        a_key_rests_for_a_period_after_its_task_was_enqueued
        a_key_rests_for_a_period_after_its_task_has_ended
        a_task_merges_into_one_that_has_ended_while_its_key_rests
        the_key_of_a_task_that_is_cancelled_or_removed_does_not_rest
        a_merge_into_a_key_that_rests_is_judged_again_at_publish
        a_staged_task_gets_its_key_although_that_rests_by_then
        a_staged_merge_goes_into_a_task_whose_end_is_staged
        a_refused_batch_leaves_keys_at_rest_as_they_were
        of_many_threads_one_gets_a_key_in_its_period
        a_key_rests_over_a_crash
    }
    claim {
        tasks_come_in_the_order_of_publishing
        a_lower_priority_goes_first
        five_minutes_are_worth_a_step_of_priority
        a_step_of_priority_is_worth_what_the_task_says
        where_priorities_are_worth_nothing_tasks_come_in_the_order_of_publishing
        a_step_of_priority_has_a_largest_worth
        a_task_keeps_the_place_that_it_came_with
        equal_tasks_come_in_the_order_of_their_batch
        a_late_commit_stands_where_its_publishing_puts_it
        a_late_commit_that_is_urgent_overtakes_what_waits
        a_delay_and_a_priority_add_up
        a_task_that_comes_again_stands_where_its_time_puts_it
        a_task_is_given_to_one
        a_claim_takes_no_more_than_it_wants
        one_claim_serves_several_queues
        a_task_comes_not_before_its_time
        a_delay_counts_from_publishing
        a_due_task_stands_where_its_time_puts_it
        an_expired_task_is_flagged
        a_claimed_task_says_so
        every_claim_has_a_token_of_its_own
        who_is_not_attended_may_not_claim
        the_claims_of_the_dead_are_reclaimed
        the_claims_of_the_living_are_not_reclaimed
        a_reclaimed_task_keeps_its_place
        a_task_of_the_dead_stays_theirs_until_it_is_claimed
        the_dead_are_named
        extending_names_the_claims_that_were_lost
        no_task_goes_to_two_of_many_threads
    }
    settle {
        a_done_task_leaves
        a_retained_task_leaves_after_its_time
        a_failed_task_comes_again_at_its_time
        a_settlement_keeps_counts_and_account
        a_settlement_that_says_nothing_leaves_the_account
        a_claim_given_back_keeps_its_account
        a_result_is_kept_as_long_as_its_task
        a_staged_result_is_seen_when_it_is_published
        a_buried_task_stays_and_says_why
        a_released_task_keeps_its_place
        a_task_released_for_later_waits
        a_late_settlement_never_touches_the_successor
        the_first_lost_claim_of_a_batch_is_named
        a_claim_is_settled_once
        a_task_that_was_not_claimed_cannot_be_settled
        a_settlement_and_its_children_are_one_step
        a_lost_claim_refuses_the_whole_batch
        a_staged_settlement_settles_when_it_is_published
        a_claim_has_one_staged_settlement
        a_pinned_claim_is_not_reclaimed
        a_pinned_claim_is_not_amended
        a_discarded_settlement_leaves_the_claim
        a_discarded_settlement_of_the_dead_is_reclaimed
    }
    amend {
        a_cancelled_task_is_not_claimed
        a_claimed_task_is_not_cancelled
        a_revived_task_starts_afresh
        a_task_is_rescheduled
        a_scheduled_task_is_brought_forward
        a_moved_task_is_claimed_from_its_new_queue
        a_claimed_task_tells_its_progress
        a_pinned_claim_tells_its_progress
        a_removed_task_is_gone
        an_unexpected_state_is_refused
        a_missing_task_is_refused
        a_task_with_a_staged_amendment_is_not_claimed
        a_discarded_amendment_changes_nothing
    }
    group {
        tasks_of_a_group_come_one_at_a_time
        a_busy_group_blocks_nobody_else
        a_group_is_the_same_in_all_queues
        the_next_of_a_group_comes_when_one_is_done
        the_next_of_a_group_comes_when_one_waits_for_its_retry
        the_next_of_a_group_comes_when_one_is_cancelled
        as_many_tasks_of_a_group_come_as_it_has_places
        a_more_urgent_task_of_a_group_goes_before_one_that_does_not_run_yet
        the_last_of_a_group_gives_way_and_no_other
        a_task_that_runs_keeps_its_place_from_a_more_urgent_one
        an_urgent_task_takes_a_place_of_its_group_when_it_is_due
        an_urgent_task_takes_a_place_of_its_group_when_it_is_published
        a_pinned_task_keeps_its_place_until_its_transaction_ends
        where_tasks_of_a_group_differ_each_goes_by_its_own_limit
        a_place_of_the_dead_goes_over_with_their_task
        what_was_judged_of_a_group_is_made_whatever_came_to_it_meanwhile
        a_group_has_a_place_and_not_too_many
        a_task_waits_for_all_its_prerequisites
        what_is_staged_together_waits_and_arrives_together
        an_arrival_that_nobody_waits_for_changes_nothing
        an_arrival_that_nobody_waits_for_lets_nobody_overtake_who_is_pinned
        an_arrival_takes_effect_when_it_is_published
        a_group_that_is_freed_while_a_task_of_it_is_pinned_is_not_lost
        an_arrival_at_a_pinned_task_is_not_lost
        a_staged_amendment_finds_its_task_as_it_was_judged
        a_discarded_batch_lets_nobody_overtake_whom_it_had_pinned
        a_staged_batch_passes_over_nobody_whom_it_amends_itself
    }
    elsewhere {
        a_task_from_elsewhere_keeps_its_place_and_its_history
        a_task_from_elsewhere_is_not_delayed_again
        a_task_that_ended_elsewhere_stays_as_it_was
        a_task_that_ended_elsewhere_asks_for_no_key
        a_retained_task_from_elsewhere_leaves_after_its_time
    }
    mark {
        a_mark_is_set_changed_and_removed
        a_mark_with_another_value_is_refused
        marks_are_listed_by_prefix
        a_staged_mark_is_a_retryable_conflict
        a_discarded_mark_is_free
    }
    room {
        a_queue_takes_no_more_than_may_be_pending
        a_full_queue_refuses_the_whole_batch
        what_is_waiting_or_scheduled_takes_room_and_what_runs_or_ended_takes_none
        a_task_that_merges_takes_no_room
        what_comes_back_in_a_batch_takes_room
        a_stage_is_refused_if_the_queue_is_full_and_a_publish_is_not
        of_many_threads_no_more_get_in_than_there_is_room_for
    }
    register {
        an_abort_written_first_wins
        a_commit_written_first_wins
        without_an_incarnation_nothing_is_written
        a_closed_incarnation_says_so
        outcomes_are_listed_in_pages
        an_outcome_lists_its_stores
        only_commits_are_forgotten
        an_incarnation_with_a_commit_is_not_dropped
        an_incarnation_goes_with_its_aborts
        incarnations_are_listed
    }
    inspect {
        an_unknown_task_is_not_found
        listings_come_in_pages_and_in_order
        listings_are_filtered
        listings_are_filtered_by_object
        ghosts_are_listed_only_if_asked_for
        stats_count_by_queue_and_state
        stats_name_the_task_that_waits_longest
        stats_count_what_is_in_doubt
        time_never_goes_backwards
    }
    wait {
        a_wait_ends_at_once_if_there_is_something
        a_wait_ends_when_a_task_is_published
        a_wait_ends_when_a_task_is_due
        a_wait_ends_when_the_task_has_ended
        a_wait_follows_an_alias
        a_wait_ends_when_a_mark_changes
        a_wait_ends_when_it_is_interrupted
        a_wait_ends_at_its_timeout
    }
    crash {
        what_was_applied_survives
        what_was_staged_is_still_in_doubt
        what_was_staged_is_published_after_a_crash
        what_its_own_store_decided_stays_staged_until_it_is_published
        a_pinned_claim_stays_pinned
        what_was_forgettable_does_not_come_back
        the_claims_of_the_crashed_are_reclaimed
        a_reserved_key_stays_reserved
        decisions_survive
        marks_survive
        time_does_not_go_backwards_over_a_crash
    }
}
