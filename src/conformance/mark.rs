//! Marks: named values that change by compare-and-set.

use super::scene::{Scene, kind, mark};
use crate::store::Kind;

pub(super) fn a_mark_is_set_changed_and_removed(scene: &mut Scene<'_>) {
    let steps = [
        (None, Some("one")),
        (Some("one"), Some("two")),
        (Some("two"), None),
    ];
    for (expect, value) in steps {
        scene.apply(vec![mark("key", expect, value)]).unwrap();
        let expected = value.map(|value| value.as_bytes().to_vec());
        assert_eq!(scene.store().mark("key").unwrap(), expected);
    }
}

pub(super) fn a_mark_with_another_value_is_refused(scene: &mut Scene<'_>) {
    scene.apply(vec![mark("key", None, Some("one"))]).unwrap();
    for expect in [None, Some("two")] {
        let refused = scene.apply(vec![mark("key", expect, Some("three"))]);
        assert_eq!(kind(refused), Kind::MarkChanged("key".to_owned()));
    }
    assert_eq!(scene.store().mark("key").unwrap(), Some(b"one".to_vec()));
}

pub(super) fn marks_are_listed_by_prefix(scene: &mut Scene<'_>) {
    let keys = ["queue/b", "queue/a", "queue0", "queu", "queue/%"];
    let marks = keys.map(|key| mark(key, None, Some(key)));
    scene.apply(marks.to_vec()).unwrap();
    let listed = scene.store().marks("queue/").unwrap();
    let listed: Vec<_> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(listed, ["queue/%", "queue/a", "queue/b"]);
    assert_eq!(scene.store().marks("").unwrap().len(), keys.len());
}

pub(super) fn a_staged_mark_is_a_retryable_conflict(scene: &mut Scene<'_>) {
    let txn = scene.staged(vec![mark("key", None, Some("one"))]);
    let refused = scene.apply(vec![mark("key", None, Some("two"))]).unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    scene.publish(txn);
    assert_eq!(scene.store().mark("key").unwrap(), Some(b"one".to_vec()));
}

pub(super) fn a_discarded_mark_is_free(scene: &mut Scene<'_>) {
    let txn = scene.staged(vec![mark("key", None, Some("one"))]);
    scene.discard(txn);
    scene.apply(vec![mark("key", None, Some("two"))]).unwrap();
    assert_eq!(scene.store().mark("key").unwrap(), Some(b"two".to_vec()));
}
