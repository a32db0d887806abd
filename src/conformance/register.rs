//! The register: the first writer wins, and garbage goes only when nobody can ask for it.

use super::scene::Scene;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, Standing};

fn decide(scene: &Scene<'_>, txn: TxnId, want: Decision) -> Answer {
    scene.store().decide(txn, want, &[]).unwrap()
}

fn first_of(incarnation: Incarnation) -> TxnId {
    TxnId {
        incarnation,
        sequence: 1,
    }
}

fn outcomes(scene: &Scene<'_>) -> Vec<TxnId> {
    let rows = scene.store().outcomes(None, 100).unwrap();
    rows.into_iter().map(|row| row.txn).collect()
}

pub(super) fn an_abort_written_first_wins(scene: &mut Scene<'_>) {
    let txn = scene.txn();
    for want in [Decision::Aborted, Decision::Committed, Decision::Aborted] {
        let answer = decide(scene, txn, want);
        assert_eq!(answer.decision, Some(Decision::Aborted));
        assert_eq!(answer.standing, Standing::Open);
    }
}

pub(super) fn a_commit_written_first_wins(scene: &mut Scene<'_>) {
    let txn = scene.txn();
    for want in [Decision::Committed, Decision::Aborted] {
        let answer = decide(scene, txn, want);
        assert_eq!(answer.decision, Some(Decision::Committed));
    }
}

pub(super) fn without_an_incarnation_nothing_is_written(scene: &mut Scene<'_>) {
    let txn = first_of(Incarnation::random());
    let answer = decide(scene, txn, Decision::Aborted);
    assert_eq!((answer.decision, answer.standing), (None, Standing::Gone));
    assert!(outcomes(scene).is_empty());
}

pub(super) fn a_closed_incarnation_says_so(scene: &mut Scene<'_>) {
    let incarnation = scene.enroll();
    for _ in 0..2 {
        scene.store().close(incarnation).unwrap();
    }
    let answer = decide(scene, first_of(incarnation), Decision::Aborted);
    assert_eq!(answer.decision, Some(Decision::Aborted));
    assert_eq!(answer.standing, Standing::Closed);
}

pub(super) fn outcomes_are_listed_in_pages(scene: &mut Scene<'_>) {
    let txns: Vec<_> = (0..5).map(|_| scene.txn()).collect();
    for txn in &txns {
        decide(scene, *txn, Decision::Aborted);
    }
    let mut listed = Vec::new();
    loop {
        let page = scene.store().outcomes(listed.last().copied(), 2).unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|row| row.txn));
    }
    assert_eq!(listed, txns);
}

pub(super) fn an_outcome_lists_its_stores(scene: &mut Scene<'_>) {
    let stores = [ResourceId::random(), ResourceId::random()];
    let txn = scene.txn();
    let decided = scene.store().decide(txn, Decision::Committed, &stores);
    decided.unwrap();
    let row = &scene.store().outcomes(None, 1).unwrap()[0];
    assert_eq!((row.txn, row.decision), (txn, Decision::Committed));
    assert_eq!(row.stores, stores);
}

pub(super) fn only_commits_are_forgotten(scene: &mut Scene<'_>) {
    let (commit, abort, unknown) = (scene.txn(), scene.txn(), scene.txn());
    decide(scene, commit, Decision::Committed);
    decide(scene, abort, Decision::Aborted);
    let all = [commit, abort, unknown];
    assert_eq!(scene.store().forget(&all).unwrap(), 1);
    assert_eq!(outcomes(scene), [abort]);
}

pub(super) fn an_incarnation_with_a_commit_is_not_dropped(scene: &mut Scene<'_>) {
    let incarnation = scene.enroll();
    let commit = first_of(incarnation);
    decide(scene, commit, Decision::Committed);
    scene.store().close(incarnation).unwrap();
    assert!(!scene.store().drop_incarnation(incarnation).unwrap());
    assert_eq!(outcomes(scene), [commit]);
    scene.store().forget(&[commit]).unwrap();
    assert!(scene.store().drop_incarnation(incarnation).unwrap());
}

pub(super) fn an_incarnation_goes_with_its_aborts(scene: &mut Scene<'_>) {
    let incarnation = scene.enroll();
    let abort = first_of(incarnation);
    decide(scene, abort, Decision::Aborted);
    scene.store().close(incarnation).unwrap();
    assert!(scene.store().drop_incarnation(incarnation).unwrap());
    assert!(outcomes(scene).is_empty());
    let answer = decide(scene, abort, Decision::Committed);
    assert_eq!((answer.decision, answer.standing), (None, Standing::Gone));
}

pub(super) fn incarnations_are_listed(scene: &mut Scene<'_>) {
    let (open, closed) = (scene.enroll(), scene.enroll());
    scene.store().close(closed).unwrap();
    let rows = scene.store().incarnations().unwrap();
    let find = |incarnation| rows.iter().find(|row| row.incarnation == incarnation).unwrap();
    assert!(!find(open).closed && find(closed).closed);
    assert_eq!(find(open).started_at, scene.now());
    assert!(!find(open).host.is_empty());
}
