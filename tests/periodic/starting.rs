//! What is wrong with a timetable is told before anything starts.
#![cfg(test)]

use std::sync::Arc;

use votive::CatchUp;
use votive::Periodic;
use votive::consumer::StartError;
use votive::store::memory::MemoryStore;

use crate::scene::{Scene, entry};

fn scene() -> Scene {
    Scene::of(|_| Arc::new(MemoryStore::new()), None)
}

/// Says why a consumer with this entry does not start, the causes included.
fn refusal(entry: Periodic) -> String {
    let error = scene().builder().periodic(entry).start().unwrap_err();
    assert!(matches!(error, StartError::Periodic(_)), "{error:?}");
    let source = std::error::Error::source(&error).unwrap();
    format!("{error}: {source}")
}

#[test]
fn a_name_is_used_once() {
    let builder = scene().builder().periodic(entry("report", "@daily"));
    let error = builder
        .periodic(entry("report", "@hourly"))
        .start()
        .unwrap_err();
    assert!(
        error.to_string().contains("`report` is named twice"),
        "{error}"
    );
}

#[test]
fn names_and_queues_that_no_store_takes_are_refused() {
    assert!(refusal(entry("", "@daily")).contains("the name of a periodic entry is empty"));
    assert!(refusal(entry(&"x".repeat(250), "@daily")).contains("more than the 255 allowed"));
    assert!(refusal(entry("report", "@daily").queue("")).contains("the name of a queue is empty"));
}

#[test]
fn to_make_up_for_nothing_has_another_name() {
    let none = entry("report", "@daily").catch_up(CatchUp::Bounded(0));
    assert!(refusal(none).contains("use `CatchUp::Skip`"));
}

#[test]
fn who_keeps_no_timetable_checks_it_all_the_same() {
    let builder = scene().builder().periodic(entry("", "@daily"));
    assert!(builder.no_periodic().start().is_err());
}
