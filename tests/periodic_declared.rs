//! Periodic tasks that are declared by their functions.
#![cfg(test)]

use std::time::Duration;

use votive::handler::{PeriodicDeclaration, Recurring, periodic_declarations};
use votive::{CatchUp, Consumer, Registry};

#[votive::periodic(
    "0 5 * * *",
    tz = "Europe/Rome",
    catch_up = "bounded 24",
    expires_after = "10m",
    queue = "nightly",
    kind = "files.clean",
    priority = 3
)]
fn clean() {}

#[votive::periodic("every 1h", name = "hourly", args(whom = "office", days = 7))]
fn report(days: u32, whom: String) {
    println!("{days} {whom}");
}

fn declared(kind: &str) -> PeriodicDeclaration {
    let all = periodic_declarations();
    all.into_iter().find(|it| it.kind == kind).unwrap()
}

#[test]
fn a_declaration_says_when_and_how_a_task_comes_again() {
    let clean = declared("files.clean");
    assert_eq!(
        (clean.name, clean.queue, clean.schedule),
        ("files.clean", "nightly", "0 5 * * *")
    );
    assert_eq!(clean.catch_up, CatchUp::Bounded(24));
    assert_eq!(clean.expires_after, Some(Duration::from_secs(600)));
    let entry = clean.entry().unwrap();
    assert_eq!(entry.schedule().to_string(), "0 5 * * * in Europe/Rome");
    assert_eq!(
        (entry.name(), entry.queue_name()),
        ("files.clean", "nightly")
    );
}

#[test]
fn the_task_has_the_arguments_and_the_options_of_its_declaration() {
    let (task, _) = report::recurring().into_parts();
    assert_eq!((task.days, &*task.whom), (7, "office"));
    let (_, options) = clean::recurring().into_parts();
    assert_eq!(options.priority, 3);
    assert_eq!(declared("report").name, "hourly");
}

#[test]
fn a_schedule_that_cannot_be_read_is_an_error_that_names_the_function() {
    let wrong = PeriodicDeclaration::of::<clean>("61 5 * * *")
        .entry()
        .unwrap_err();
    let text = wrong.to_string();
    assert!(
        text.contains("periodic_declared::clean` (tests/periodic_declared.rs:"),
        "{text}"
    );
    let nowhere = PeriodicDeclaration::of::<clean>("0 5 * * *").zone("Europe/Roma");
    assert!(nowhere.entry().is_err());
}

#[test]
fn a_consumer_enters_what_is_declared_into_the_timetable() {
    let store = votive::open("memory://").unwrap();
    let running = Consumer::builder(store.clone(), Registry::discovered().unwrap())
        .periodic_discovered()
        .unwrap()
        .start()
        .unwrap();
    let entered = || votive::queue::periodic(&*store).unwrap().len();
    for _ in 0..6_000 {
        if entered() == 2 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    running.stop();
    assert_eq!(entered(), 2);
}
