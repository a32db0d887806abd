//! The commit protocol, checked in every state that it can reach; and that each known way to get it
//! wrong is noticed by the same check.
#![cfg(test)]

mod commit_point;
mod prepared;
mod rules;
mod settlement;

use votive::id::TxnId;
use votive::queue::decision::{self, Action};
use votive::register::{Decision, Standing};

use commit_point::CommitPoint;
use prepared::{ATOMIC, Flaw, Prepared, REFUSED, VISIBLE};
use rules::{Rules, assert_caught, assert_holds};
use settlement::Settlement;

/// One transaction in two stores.
type TwoStores = Prepared<1, 2>;

/// Two transactions under one incarnation, in one store.
type TwoTransactions = Prepared<2, 1>;

#[test]
fn a_transaction_over_two_stores_is_visible_in_both_or_neither() {
    assert_holds(TwoStores::sound());
}

#[test]
fn two_transactions_under_one_incarnation_do_not_disturb_each_other() {
    assert_holds(TwoTransactions::sound());
}

#[test]
fn two_transactions_with_the_same_unique_key_are_never_both_visible() {
    assert_holds(TwoTransactions {
        unique: true,
        ..TwoTransactions::sound()
    });
}

#[test]
fn a_key_that_is_not_reserved_while_it_is_staged_is_caught() {
    let model = TwoTransactions {
        unique: true,
        ..TwoTransactions::with_flaw(Flaw::KeyNotReserved)
    };
    assert_caught(model, prepared::UNIQUE);
}

#[test]
fn recovery_that_only_selects_is_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::RecoverySelects), ATOMIC);
}

#[test]
fn records_without_an_incarnation_key_are_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::NoIncarnationKey), ATOMIC);
}

#[test]
fn a_janitor_that_asks_one_store_is_caught() {
    let rules = Rules {
        released_by_all: |rows, released| {
            let by_one = |txn: &TxnId| released.values().any(|of| of.contains(txn));
            rows.iter().map(|row| row.txn).filter(by_one).collect()
        },
        ..Rules::REAL
    };
    assert_caught(TwoStores::with_rules(rules), ATOMIC);
}

#[test]
fn deleting_a_set_difference_is_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::SetDifference), ATOMIC);
}

#[test]
fn forgetting_before_the_publish_is_flushed_is_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::ForgettableUnflushed), ATOMIC);
}

#[test]
fn dropping_commit_records_with_their_incarnation_is_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::Cascade), ATOMIC);
}

#[test]
fn forgetting_a_record_while_its_owner_may_still_ask_is_caught() {
    let rules = Rules {
        candidates: |rows, _closed, _knows| rows,
        ..Rules::REAL
    };
    assert_caught(TwoStores::with_rules(rules), REFUSED);
}

#[test]
fn an_owner_that_believes_an_abort_after_its_incarnation_was_closed_is_caught() {
    let rules = Rules {
        as_owner: |answer| answer.decision.or(Some(Decision::Aborted)),
        ..Rules::REAL
    };
    assert_caught(TwoStores::with_rules(rules), REFUSED);
}

#[test]
fn deciding_from_what_is_not_on_disk_is_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::DecideUnflushed), VISIBLE);
}

#[test]
fn closing_that_is_not_on_disk_is_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::CloseUnflushed), REFUSED);
}

#[test]
fn an_owner_that_asks_with_a_select_is_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::OwnerSelects), REFUSED);
}

#[test]
fn enrolling_an_incarnation_again_is_caught() {
    assert_caught(TwoStores::with_flaw(Flaw::EnrolledAgain), ATOMIC);
}

#[test]
fn a_holder_that_waits_for_a_gone_incarnation_is_caught() {
    let rules = Rules {
        action: |answer, unfinished| match answer.standing {
            Standing::Gone => Action::Wait,
            _ => decision::action(answer, unfinished),
        },
        ..Rules::REAL
    };
    assert_caught(TwoStores::with_rules(rules), ATOMIC);
}

#[test]
fn tasks_decided_by_their_own_store_wait_for_every_database() {
    assert_holds(CommitPoint::<1>::sound());
    assert_holds(CommitPoint::<2>::sound());
}

#[test]
fn a_batch_applied_in_one_step_is_committed_exactly_if_its_owner_may_say_so() {
    assert_holds(CommitPoint::<0>::sound());
}

#[test]
fn recovery_that_publishes_before_commit_prepared_is_caught() {
    let rules = Rules {
        action: |answer, _unfinished| decision::action(answer, false),
        ..Rules::REAL
    };
    assert_caught(CommitPoint::<2>::with_rules(rules), commit_point::VISIBLE);
}

#[test]
fn publishing_once_any_database_has_committed_is_caught() {
    let rules = Rules {
        unfinished: |_listed, finished| finished.is_empty(),
        ..Rules::REAL
    };
    assert_caught(CommitPoint::<2>::with_rules(rules), commit_point::VISIBLE);
}

#[test]
fn forgetting_a_record_while_its_batch_is_staged_is_caught() {
    let rules = Rules {
        released_by_all: |rows, _released| rows.iter().map(|row| row.txn).collect(),
        ..Rules::REAL
    };
    assert_caught(CommitPoint::<2>::with_rules(rules), commit_point::ATOMIC);
}

#[test]
fn a_commit_point_without_incarnations_is_caught() {
    use commit_point::{ATOMIC, Flaw, REFUSED};
    assert_caught(CommitPoint::<2>::with_flaw(Flaw::NoIncarnationKey), ATOMIC);
    assert_caught(CommitPoint::<0>::with_flaw(Flaw::NoIncarnationKey), REFUSED);
}

#[test]
fn recovery_of_prepared_databases_that_only_selects_is_caught() {
    use commit_point::{ATOMIC, Flaw};
    assert_caught(CommitPoint::<2>::with_flaw(Flaw::RecoverySelects), ATOMIC);
}

#[test]
fn a_commit_point_that_answers_from_what_is_not_on_disk_is_caught() {
    use commit_point::{COMMITTED, DECIDED, Flaw};
    assert_caught(CommitPoint::<2>::with_flaw(Flaw::DecideUnflushed), DECIDED);
    assert_caught(
        CommitPoint::<0>::with_flaw(Flaw::DecideUnflushed),
        COMMITTED,
    );
}

#[test]
fn an_owner_that_asks_its_own_store_with_a_select_is_caught() {
    use commit_point::{Flaw, REFUSED};
    assert_caught(CommitPoint::<0>::with_flaw(Flaw::OwnerSelects), REFUSED);
}

#[test]
fn an_apply_that_is_sent_twice_is_caught() {
    use commit_point::{Flaw, ONCE};
    assert_caught(CommitPoint::<0>::with_flaw(Flaw::SentTwice), ONCE);
}

#[test]
fn a_store_that_forgets_an_apply_whose_owner_may_still_ask_is_caught() {
    let rules = Rules {
        candidates: |rows, _closed, _knows| rows,
        ..Rules::REAL
    };
    assert_caught(CommitPoint::<0>::with_rules(rules), commit_point::REFUSED);
}

#[test]
fn a_claim_that_changes_hands_while_it_is_settled_is_settled_once() {
    assert_holds(Settlement::sound());
}

#[test]
fn settling_without_a_look_at_the_token_is_caught() {
    use settlement::{Flaw, ONCE};
    assert_caught(Settlement::with_flaw(Flaw::TokenIgnored), ONCE);
}

#[test]
fn taking_over_a_claim_whose_settlement_is_staged_is_caught() {
    use settlement::{Flaw, ONCE};
    assert_caught(Settlement::with_flaw(Flaw::PinIgnored), ONCE);
}

#[test]
fn recovery_of_settlements_that_only_selects_is_caught() {
    use settlement::{Flaw, ONCE};
    assert_caught(Settlement::with_flaw(Flaw::RecoverySelects), ONCE);
}
