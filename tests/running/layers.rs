//! Every setting by its switch, its variable and its key; and who outdoes whom.
#![cfg(test)]

use std::time::Duration;

use votive::Registry;
use votive::consume::Consumers;
use votive::queue::Periodic;
use votive::schedule::Schedule;

use crate::child::{Order, until};
use crate::said::{banners, file, refusal, row, settings};

/// A setting, a value, and the row of the banner in which it shows.
const SHOWN: [(&str, &str, &str, &str); 8] = [
    ("name", "web-7", "consumer", "web-7"),
    ("queue", "mail", "queue", "mail, 1 at once"),
    ("queue", "mail=3", "queue", "mail, 3 at once"),
    ("threads", "7", "threads", "7"),
    ("concurrent-limit", "5", "queue", "default, 5 at once"),
    ("retry-max-count", "3", "limits", "3 conflicts an attempt"),
    ("timeout", "90s", "timeout", "90s, grace"),
    ("stop-timeout", "2m", "stop", "within 120s"),
];

fn shows(row_name: &str, expected: &str, switches: &[&str], variables: &[(&str, &str)]) {
    let found = row(row_name, switches, variables);
    assert!(
        found.iter().any(|row| row.contains(expected)),
        "{row_name}: {found:?}"
    );
}

#[test]
fn every_switch_is_followed() {
    for (setting, value, row, expected) in SHOWN {
        shows(row, expected, &[&format!("--{setting}"), value], &[]);
    }
}

#[test]
fn every_variable_is_followed() {
    for (setting, value, row, expected) in SHOWN {
        let variable = format!("VOTIVE_{}", setting.to_uppercase().replace('-', "_"));
        shows(row, expected, &[], &[(&variable, value)]);
    }
}

#[test]
fn every_key_of_a_file_is_followed_for_all_consumers_and_for_one() {
    let folder = tempfile::tempdir().unwrap();
    for (setting, value, row, expected) in SHOWN {
        let entry = format!("{} = {value:?}\n", setting.replace('-', "_"));
        for text in [entry.clone(), format!("[[consumer]]\n{entry}")] {
            let config = file(folder.path(), &text);
            shows(row, expected, &[&config[0], &config[1]], &[]);
        }
    }
}

#[test]
fn a_switch_outdoes_a_variable_and_that_a_file_and_that_hueys_variables() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "threads = 3");
    let config = [config[0].as_str(), config[1].as_str()];
    let (own, huey) = (("VOTIVE_THREADS", "2"), ("HUEY_WORKERS", "4"));
    let switches = [&config[..], &["--threads", "1"]].concat();
    assert_eq!(row("threads", &switches, &[own, huey]), ["1"]);
    assert_eq!(row("threads", &config, &[own, huey]), ["2"]);
    assert_eq!(row("threads", &config, &[huey]), ["3"]);
    assert_eq!(row("threads", &[], &[huey]), ["4"]);
}

#[test]
fn what_a_consumer_says_for_itself_outdoes_what_is_said_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "threads = 3\n[consumer]\nthreads = 5\n");
    assert_eq!(row("threads", &[&config[0], &config[1]], &[]), ["5"]);
}

#[test]
fn several_queues_are_served_by_one_consumer() {
    let expected = ["mail, 4 at once", "images, 2 at once"];
    let switches = [
        "--queue",
        "mail=4",
        "--queue",
        "images",
        "--concurrent-limit",
        "2",
    ];
    // What is said as loudly for one queue outdoes what is said for all of them.
    assert_eq!(row("queue", &switches, &[]), expected);
    let variables = [
        ("VOTIVE_QUEUE", "mail=4, images"),
        ("VOTIVE_CONCURRENT_LIMIT", "2"),
    ];
    assert_eq!(row("queue", &[], &variables), expected);
    // And what is said louder for all outdoes both.
    let louder = row("queue", &["--concurrent-limit", "9"], &variables);
    assert_eq!(louder, ["mail, 9 at once", "images, 9 at once"]);
}

#[test]
fn the_default_is_one_consumer_of_the_default_queue() {
    let banner = &banners(&[], &[])[0];
    assert!(
        banner.contains("default, 1 at once") && banner.contains("threads  1"),
        "{banner}"
    );
}

#[test]
fn an_empty_variable_says_nothing() {
    assert_eq!(row("threads", &[], &[("VOTIVE_THREADS", "")]), ["1"]);
}

#[test]
fn what_cannot_be_followed_is_refused_by_its_place() {
    let said = refusal(&["--threads", "many"], &[]);
    assert_eq!(
        said,
        "--threads: `threads` cannot be `many`: it must be a number from 1"
    );
    let said = refusal(&[], &[("VOTIVE_STOP_TIMEOUT", "soon")]);
    assert!(
        said.starts_with("$VOTIVE_STOP_TIMEOUT: `stop_timeout` cannot be `soon`"),
        "{said}"
    );
    for (switch, value) in [
        ("--queue", "mail=0"),
        ("--queue", "=3"),
        ("--log-level", "loud"),
    ] {
        let said = refusal(&[switch, value], &[]);
        assert!(said.starts_with(&format!("{switch}: ")), "{said}");
    }
}

#[test]
fn a_variable_that_is_probably_misspelt_is_warned_of() {
    let settings = settings(&[], &[("VOTIVE_THREDS", "4"), ("VOTIVE_ELSEWHERE_42", "x")]).unwrap();
    let expected = "the variable `VOTIVE_THREDS` says nothing: did you mean `VOTIVE_THREADS`?";
    assert_eq!(settings.warnings(), [expected]);
}

#[test]
fn whether_a_process_consumes_can_be_said() {
    let consumes = |name, value| settings(&[], &[(name, value)]).unwrap().is_consumer();
    for yes in ["1", "True", "true", "on"] {
        assert!(consumes("HUEY_CONSUMER", yes) && consumes("VOTIVE_CONSUME", yes));
    }
    assert!(!consumes("HUEY_CONSUMER", "yes") && !consumes("VOTIVE_CONSUME", "off"));
    assert!(settings(&[], &[]).unwrap().is_consumer());
    let both = [("HUEY_CONSUMER", "0"), ("VOTIVE_CONSUME", "1")];
    assert!(settings(&[], &both).unwrap().is_consumer());
    assert!(refusal(&[], &[("VOTIVE_CONSUME", "maybe")]).contains("true or false"));
}

/// Comes again as long as anybody keeps a timetable.
#[votive::periodic("every 1h", queue = "nightly")]
fn sweep() {}

#[test]
fn declared_periodic_tasks_are_entered_where_their_queue_is() {
    let folder = tempfile::tempdir().unwrap();
    let (day, night) = (folder.path().join("day.db"), folder.path().join("night.db"));
    let text = format!(
        "[queues.daily]\nurl = \"sqlite:{}\"\n[queues.nightly]\nurl = \"sqlite:{}\"\n\
         [[consumer]]\nname = \"day\"\nqueue = \"daily\"\n\
         [[consumer]]\nname = \"night\"\nqueue = \"nightly\"\n",
        day.display(),
        night.display()
    );
    let config = file(folder.path(), &text);
    let opened = settings(&[&config[0], &config[1]], &[])
        .unwrap()
        .open()
        .unwrap();
    let running = opened
        .start(Registry::discovered().unwrap(), |builder| builder)
        .unwrap();
    let names = |path: &std::path::Path| {
        let store = votive::open(&format!("sqlite:{}", path.display())).unwrap();
        let entries = votive::queue::periodic(&*store).unwrap();
        entries
            .into_iter()
            .map(|entry| entry.name)
            .collect::<Vec<_>>()
    };
    for _ in 0..6_000 {
        if names(&night) == ["sweep"] {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    drop(running);
    assert_eq!(names(&night), ["sweep"]);
    assert!(names(&day).is_empty());
}

#[test]
fn periodic_tasks_can_be_left_to_others() {
    let start = |variables: &[(&str, &str)], switches: &[&str]| {
        let settings = settings(&[&["--url", "memory://"], switches].concat(), variables).unwrap();
        let entry = || {
            let schedule = Schedule::every(Duration::from_secs(1)).unwrap();
            Periodic::new("tick", schedule, &Order::Simple)
        };
        let opened = settings.open().unwrap();
        let started = opened.start(Registry::new(), |builder| builder.periodic(entry()));
        started.unwrap()
    };
    let quiet = start(&[], &["--no-periodic"]);
    let silent = start(&[("VOTIVE_NO_PERIODIC", "true")], &[]);
    let busy = start(&[], &[]);
    let count = |consumers: &Consumers| consumers.running()[0].stats().fired;
    until(|| count(&busy) >= 2);
    assert_eq!((count(&quiet), count(&silent)), (0, 0));
}
