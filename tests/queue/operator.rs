//! What a person can do about transactions in doubt.
#![cfg(test)]

use std::sync::Arc;

use votive::id::TxnId;
use votive::queue::{OperatorError, Settled, Wish, forget_heuristic, heuristics, in_doubt, settle};
use votive::register::{Decision, Register, Tier};
use votive::store::Kind;
use votive::txn::TransactionManager;

use crate::faulty::{Fault, Faulty};
use crate::fixture::{as_store, durable, orphan, stage, visible};

/// A greeting in doubt, and the register that will know.
struct Doubt {
    store: Arc<Faulty>,
    register: Arc<Faulty>,
    manager: TransactionManager,
    txn: TxnId,
}

impl Doubt {
    fn new() -> Self {
        let (store, _, manager) = durable();
        let register = Faulty::new(Tier::Enlisted);
        let txn = orphan(&*register);
        stage(&store, &*register, txn, "ann");
        Self {
            store,
            register,
            manager,
            txn,
        }
    }

    fn connect(&self) {
        self.manager.registers().insert(self.register.clone());
    }

    fn settle(&self, decision: Decision, force: bool) -> Result<Settled, OperatorError> {
        let wish = Wish {
            decision,
            reason: "the disk of the application is lost",
            force,
        };
        settle(&as_store(&self.store), &self.manager, self.txn, wish)
    }
}

#[test]
fn what_is_in_doubt_is_listed() {
    let doubt = Doubt::new();
    let listed = in_doubt(&*doubt.store).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].txn, doubt.txn);
    assert_eq!(listed[0].register, doubt.register.resource());
}

#[test]
fn the_register_is_asked_first() {
    let doubt = Doubt::new();
    doubt.connect();
    let stores = [doubt.store.resource()];
    doubt
        .register
        .decide(doubt.txn, Decision::Committed, &stores)
        .unwrap();
    let settled = doubt.settle(Decision::Committed, true).unwrap();
    assert_eq!(settled, Settled::ByRegister);
    assert_eq!(visible(&*doubt.store), ["ann"]);
    assert!(heuristics(&*doubt.store).unwrap().is_empty());
}

#[test]
fn the_register_wins_over_the_operator_even_by_force() {
    let doubt = Doubt::new();
    doubt.connect();
    let error = doubt.settle(Decision::Committed, true).unwrap_err();
    assert!(matches!(
        error,
        OperatorError::Contradicted {
            decision: Decision::Aborted,
            ..
        }
    ));
    assert!(visible(&*doubt.store).is_empty());
    assert!(in_doubt(&*doubt.store).unwrap().is_empty());
}

#[test]
fn without_force_nothing_is_settled_while_the_register_cannot_be_asked() {
    let doubt = Doubt::new();
    let error = doubt.settle(Decision::Committed, false).unwrap_err();
    assert!(matches!(
        error,
        OperatorError::Unreachable { source: None, .. }
    ));
    assert_eq!(in_doubt(&*doubt.store).unwrap().len(), 1);
}

#[test]
fn a_transaction_that_may_be_committing_is_not_settled_even_by_force() {
    let doubt = Doubt::new();
    doubt.connect();
    doubt
        .register
        .fail("decide", Fault::Refused(Kind::Conflict));
    let error = doubt.settle(Decision::Aborted, true).unwrap_err();
    assert!(matches!(error, OperatorError::StillInDoubt(_)));
    assert_eq!(in_doubt(&*doubt.store).unwrap().len(), 1);
}

#[test]
fn force_decides_and_is_remembered_with_its_reason() {
    let doubt = Doubt::new();
    let settled = doubt.settle(Decision::Committed, true).unwrap();
    assert_eq!(settled, Settled::ByForce);
    assert_eq!(visible(&*doubt.store), ["ann"]);
    let kept = heuristics(&*doubt.store).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].txn, kept[0].decision),
        (doubt.txn, Decision::Committed)
    );
    assert_eq!(kept[0].reason, "the disk of the application is lost");
}

#[test]
fn a_heuristic_outcome_is_listed_until_it_is_forgotten() {
    let doubt = Doubt::new();
    doubt.settle(Decision::Aborted, true).unwrap();
    let store = as_store(&doubt.store);
    assert!(forget_heuristic(&store, &doubt.manager, doubt.txn).unwrap());
    assert!(heuristics(&*doubt.store).unwrap().is_empty());
    assert!(!forget_heuristic(&store, &doubt.manager, doubt.txn).unwrap());
}

#[test]
fn a_reason_is_needed() {
    let doubt = Doubt::new();
    let wish = Wish {
        decision: Decision::Aborted,
        reason: " ",
        force: true,
    };
    let store = as_store(&doubt.store);
    let refused = settle(&store, &doubt.manager, doubt.txn, wish);
    assert!(matches!(refused, Err(OperatorError::NoReason)));
}

#[test]
fn a_transaction_that_is_not_in_doubt_is_not_settled() {
    let doubt = Doubt::new();
    doubt.settle(Decision::Aborted, true).unwrap();
    let again = doubt.settle(Decision::Committed, true);
    assert!(matches!(again, Err(OperatorError::NotInDoubt(_))));
    assert!(visible(&*doubt.store).is_empty());
}
