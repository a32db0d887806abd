//! Where we differ from the reference, and which numbered rule says so.
#![cfg(test)]

/// The first event of the reference that does not happen here.
pub(crate) struct Deviation {
    pub(crate) scenario: &'static str,
    pub(crate) event: &'static str,
    /// The number of the rule, as in X1.
    pub(crate) x: u32,
}

const fn row(scenario: &'static str, event: &'static str, x: u32) -> Deviation {
    Deviation { scenario, event, x }
}

/// One row for each scenario that does not end as the reference ends it.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    // X1: what has finished is not aborted.
    row("err_tpc_finish_a", "dm a abort", 1),
    row("err_tpc_finish_b", "dm a abort", 1),
    row("err_tpc_finish_c", "dm a abort", 1),
    row("run_finish_error_transient_retried", "dm a abort", 1),
    // X2: only a refusal is run again, and a panic is none.
    row("attempts_base_should_retry", "dm b should_retry Base", 2),
    // X4: what is refused before the commit is aborted at once.
    row("before_commit_hook_fails", "raise commit Plain", 4),
    row("synch_before_fails_commit", "raise commit Plain", 4),
    // X5: all run, whatever fails.
    row("after_abort_hook_fails", "dm a abort", 5),
    row("synch_before_fails_abort", "dm a abort", 5),
    row("synch_after_fails_commit", "raise commit Plain", 5),
    row("synch_after_fails_abort", "raise abort Plain", 5),
    // X6: everybody is aborted in the order of joining, then the hooks are told.
    row("no_sortkey_all", "raise commit TypeError", 6),
    row("mixed_sortkey", "raise commit TypeError", 6),
    row("sortkey_raises", "hook h false", 6),
    // X7: each is aborted, and once.
    row("cleanup_base_exception", "synch s afterCompletion", 7),
    row("abort_hooks_order", "dm b abort", 7),
    row("sp_dm_savepoint_raises", "dm a abort", 7),
    // X8: an ending ends it: the clean-up is all, and there is no handle left.
    row("err_tpc_begin_a", "op status = Commit failed", 8),
    row("err_tpc_begin_b", "op status = Commit failed", 8),
    row("err_tpc_begin_c", "op status = Commit failed", 8),
    row("err_commit_a", "op status = Commit failed", 8),
    row("err_commit_b", "op status = Commit failed", 8),
    row("err_commit_c", "op status = Commit failed", 8),
    row("err_tpc_vote_a", "op status = Commit failed", 8),
    row("err_tpc_vote_b", "op status = Commit failed", 8),
    row("err_tpc_vote_c", "op status = Commit failed", 8),
    row("ok_order", "op tstatus t = Committed", 8),
    row("tpc_abort_also_fails", "op status = Commit failed", 8),
    row("commit_twice_same_txn", "op tcommit t", 8),
    row("abort_then_reuse", "op tstatus t = Active", 8),
    row("abort_then_setext", "raise text k TypeError", 8),
    row(
        "doom_then_commit_twice_then_abort",
        "raise commit DoomedTransaction",
        8,
    ),
    row("doom_after_commit", "raise tdoom t ValueError", 8),
    row("doom_after_commitfailed", "raise doom ValueError", 8),
    row("savepoint_after_commit", "op tsavepoint t", 8),
    row("commit_fail_with_after_hooks", "dm a abort", 8),
    row("abort_join_order_not_sorted", "op tstatus t = Active", 8),
    row("explicit_attempts_user_aborts_then_raises", "op abort", 8),
    row("explicit_run_user_aborts_then_raises", "op abort", 8),
    row("explicit_run_user_commits_inside", "dm a prepare", 8),
    row("sp_unsupported", "dm a abort", 8),
    row("sp_doomed_rollback", "raise commit DoomedTransaction", 8),
    row("note", "raise data a KeyError", 8),
    // X9: who joins twice is called once.
    row("double_join", "dm a prepare", 9),
    // X10: no participant is called after the hooks, nor lent to one.
    row("after_commit_hooks_clean_abort", "dm b abort", 10),
    row("after_commit_hook_fails", "dm a abort", 10),
    row("after_commit_hook_base_exc", "dm a abort", 10),
    row("after_commit_hook_begin", "dm a abort", 10),
    row("synch_commit", "dm a abort", 10),
    row("data_in_after_commit_hook", "op data a = 5", 10),
    // X11: what a rollback removes is aborted at once, and once.
    row("sp_late_join", "dm b abort", 11),
    row("sp_late_join_twice_rollback", "dm b abort", 11),
    row(
        "sp_unsupported_optimistic_rollback",
        "raise rollback s TypeError",
        11,
    ),
    row("sp_rollback_raises", "raise rollback s Plain", 11),
    row("sp_late_join_abort_fails", r#"op resources = ["a"]"#, 11),
    // X12: the cause is not hidden by what the clean-up failed with.
    row(
        "synch_after_fails_on_failed_commit",
        "raise commit Plain",
        12,
    ),
    row("run_abort_fails_masks", "tries 1", 12),
    // X13: a refused transaction is aborted.
    row("synch_new_fails", "raise begin Plain", 13),
    // X15: there is no current transaction.
    row("join_during_tpc_begin", "raise join b ValueError", 15),
    row("savepoint_during_commit", "dm a savepoint", 15),
    row("reentrant_begin_in_commit", "dm a abort", 15),
    row(
        "after_commit_hook_current_and_join",
        "op is_current t = true",
        15,
    ),
    row("before_abort_hook_fails", "op has_current = false", 15),
    row("synch_late_register", "synch s1 newTransaction", 15),
    row("synch_implicit_get_no_new", "op get", 15),
    row(
        "synch_register_then_abort_no_begin",
        "synch s1 beforeCompletion",
        15,
    ),
    row("synch_current_in_after_commit", "op has_current = true", 15),
    row("synch_current_in_after_abort", "op has_current = false", 15),
    row("synch_begin_in_after_abort", "op get u", 15),
    row(
        "abort_errors_continue_first_raised",
        "op has_current = false",
        15,
    ),
    row("begin_aborts_existing", "dm a abort", 15),
    row("begin_existing_abort_fails", "dm a abort !", 15),
    row("begin_on_commitfailed", "dm a abort", 15),
    row("explicit", "raise get NoTransaction", 15),
    row("explicit_run_with_existing", "tries 0", 15),
    row("attempts_ok", "op has_current = false", 15),
    row("attempts_transient_app", "op has_current = false", 15),
    row(
        "attempts_commit_transient_then_ok",
        "op has_current = false",
        15,
    ),
    row("attempts_plain", "op has_current = false", 15),
    row("attempts_should_retry", "op has_current = false", 15),
    row("attempts_doomed", "op has_current = false", 15),
    row("run_ok", "op has_current = false", 15),
    row("run_transient", "op has_current = false", 15),
    row(
        "run_last_commit_fails_aborted",
        "op has_current = false",
        15,
    ),
    row("run_base_not_retried", "op has_current = false", 15),
    row("run_doomed", "op has_current = false", 15),
    row(
        "attempts_last_commit_fails_not_aborted",
        "op has_current = true",
        15,
    ),
    row("run_user_begins_inside", "dm a abort", 15),
];
