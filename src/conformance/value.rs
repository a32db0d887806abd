//! Values at the edge of what they may be.

use std::time::Duration;

use super::scene::{Scene, amend, failure, insert, kind, mark, settlement};
use crate::store::{Amendment, Change, Filter, Kind, Verdict};
use crate::task::{Format, OnDuplicate, Options, State, Unique};
use crate::time::Timestamp;

/// Characters that mean something in the keys, statements or patterns of some store.
const ODD: &str = "a:b;c,d{e}f%g_h*i?j[k]l\\m'n\"o`p q\nr$1\u{1f980}\u{7f}";

pub(super) fn a_name_may_have_any_character_but_nul(scene: &mut Scene<'_>) {
    let options = Options {
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
..Unique::new(ODD)
}),
        group: Some(ODD.to_owned()),
        user: Some(ODD.to_owned()),
        retention: Some(Duration::from_secs(9)),
        ..Options::default()
    };
    let mut record = scene.record_with(options);
    (record.queue, record.kind) = (ODD.into(), ODD.into());
    let task = record.id;
    let mark = mark(ODD, None, Some(ODD));
    scene.apply(vec![insert(record), mark]).unwrap();
    let claims = scene.claim_from(&scene.worker(), ODD, 1);
    assert_eq!(claims[0].record.kind, ODD);
    scene.done(&claims[0]);
    assert_eq!(scene.state(task), Some(State::Done));
    let marks = scene.store().marks(&ODD[..9]).unwrap();
    assert_eq!(marks, [(ODD.to_owned(), ODD.as_bytes().to_vec())]);
}

pub(super) fn a_nul_in_a_name_is_refused(scene: &mut Scene<'_>) {
    let mut record = scene.record();
    record.queue = "nul\0".into();
    for change in [insert(record), mark("nul\0", None, Some("value"))] {
        let refused = kind(scene.apply(vec![change]));
        assert!(matches!(refused, Kind::Invalid(_)), "{refused:?}");
    }
}

pub(super) fn names_that_begin_alike_are_kept_apart(scene: &mut Scene<'_>) {
    let names = ["a", "a:", "a:1", "a:1:b", "A", "a;", "\u{e9}", "e\u{301}"];
    for name in names {
        let about = vec![name.to_owned()];
        let mut record = scene.record_with(Options {
            about,
            ..Options::default()
        });
        record.queue = name.into();
        scene.enqueue(record);
    }
    let worker = scene.worker();
    for name in names {
        let about = Filter {
            about: Some(name.to_owned()),
            ..Filter::default()
        };
        let page = scene.store().scan(&about, None, 10).unwrap();
        let claims = scene.claim_from(&worker, name, 10);
        assert_eq!((page.tasks.len(), claims.len()), (1, 1), "{name}");
        assert_eq!(claims[0].record.queue, name);
    }
}

pub(super) fn what_people_and_errors_say_may_have_any_character(scene: &mut Scene<'_>) {
    let said = format!("{ODD}\0\u{1}");
    let mut record = scene.record();
    record.payload.format = Format::Json;
    record.payload.bytes = b"\0\xff\"{"[..].into();
    let task = scene.enqueue(record);
    let claim = scene.claim_one(&scene.worker());
    let progress = Amendment::Progress(said.clone());
    scene.apply(vec![amend(task, progress)]).unwrap();
    let at = scene.now();
    let account = failure(&[&said, ""], at);
    let retry = settlement(&claim, Verdict::Retry { at }, Some(account.clone()));
    scene.apply(vec![Change::Settle(retry)]).unwrap();
    let found = scene.found(task).unwrap();
    assert_eq!(found.progress.as_ref(), Some(&said));
    assert_eq!(found.account.as_deref(), Some(&account));
    assert_eq!(found.payload, claim.record.payload);
}

pub(super) fn a_time_may_be_as_far_away_as_there_are_numbers(scene: &mut Scene<'_>) {
    let end = Timestamp::from_micros(i64::MAX);
    let far = scene.record_with(Options {
        not_before: Some(end),
        expires_at: Some(end),
        retention: Some(Duration::MAX),
        timeout: Some(Duration::MAX),
        priority: u8::MAX,
        ..Options::default()
    });
    let past = scene.record_with(Options {
        not_before: Some(Timestamp::from_micros(i64::MIN)),
        priority: u8::MAX,
        ..Options::default()
    });
    let expected = far.options.clone();
    let (far, past) = (scene.enqueue(far), scene.enqueue(past));
    assert_eq!(scene.claimed_ids(&scene.worker()), [past]);
    let found = scene.found(far).unwrap();
    let times = (found.not_before, found.state);
    assert_eq!(times, (Some(end), State::Scheduled));
    assert_eq!(found.options, expected);
}

pub(super) fn a_payload_may_be_empty_or_a_mebibyte(scene: &mut Scene<'_>) {
    for size in [0, 1 << 20] {
        let mut record = scene.record();
        record.payload.bytes = vec![0xe9; size].into();
        let task = scene.enqueue(record);
        let claim = scene.claim_one(&scene.worker());
        let bytes = claim.record.payload.bytes.len();
        assert_eq!((claim.record.id, bytes), (task, size));
        scene.done(&claim);
    }
}
