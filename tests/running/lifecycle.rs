//! A process from its start to its end: what it says, what signals do, and its exit code.
#![cfg(test)]

use std::fs;

use votive::task::{Counts, State};

use crate::child::{Order, Site, until};

#[test]
fn a_stop_lets_what_runs_end() {
    let site = Site::new();
    let sign = site.path("sign");
    let task = site.enqueue("default", &Order::WaitFor(sign.clone()));
    let process = site.ready(&[], &[]);
    site.reaches(task, State::Claimed);
    process.signal("TERM");
    process.says("votive: stopping");
    fs::write(sign, "").unwrap();
    let (exit, said) = process.end();
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("votive: stopped"));
    assert_eq!(site.record(task).state, State::Done);
}

#[test]
fn a_second_signal_stops_at_once_and_gives_back_what_runs() {
    let site = Site::new();
    let task = site.enqueue("default", &Order::Hang);
    let process = site.ready(&["--stop-timeout", "1h"], &[]);
    site.reaches(task, State::Claimed);
    process.signal("INT");
    process.says("votive: stopping");
    process.signal("TERM");
    process.says("votive: stopping at once");
    let (exit, said) = process.end();
    assert_eq!(exit, 0, "{said}");
    let record = site.record(task);
    assert_eq!(
        (record.state, record.counts),
        (State::Ready, Counts::default())
    );
}

#[test]
fn a_stop_that_takes_too_long_gives_back_what_runs() {
    let site = Site::new();
    let task = site.enqueue("default", &Order::WaitFor(site.path("never")));
    let process = site.ready(&["--stop-timeout", "1ms"], &[]);
    site.reaches(task, State::Claimed);
    process.stop();
    assert_eq!(site.record(task).state, State::Ready);
}

#[test]
fn a_hangup_opens_the_log_file_anew() {
    let site = Site::new();
    let (log, old) = (site.path("votive.log"), site.path("votive.log.1"));
    let process = site.ready(&["--logfile", "votive.log", "--log-level", "INFO"], &[]);
    fs::rename(&log, &old).unwrap();
    process.signal("HUP");
    until(|| fs::read_to_string(&log).is_ok_and(|text| text.contains("in a new file")));
    process.stop();
    assert!(
        fs::read_to_string(&old)
            .unwrap()
            .contains("default, 1 at once")
    );
    assert!(fs::read_to_string(&log).unwrap().contains("stopped"));
}

#[test]
fn the_log_has_each_run_in_a_span_and_each_failure_with_its_causes() {
    let site = Site::new();
    let good = site.enqueue("default", &Order::Simple);
    let bad = site.enqueue("default", &Order::WaitFor(site.path("never")));
    let process = site.ready(&["--timeout", "10ms", "--logfile", "log"], &[]);
    site.reaches(good, State::Done);
    until(|| site.record(bad).failure().is_some());
    process.stop();
    let log = fs::read_to_string(site.path("log")).unwrap();
    let line = |text: &str| log.lines().find(|line| line.contains(text)).expect(&log);
    let (span, failed) = (line("fulfilled"), line("an attempt failed"));
    for field in [
        "task{txn=",
        &format!("task={good}"),
        "kind=\"order\"",
        "attempt=1",
    ] {
        assert!(span.contains(field), "{span}");
    }
    assert!(
        failed.contains(&bad.to_string()) && failed.contains("timed out after 10ms"),
        "{failed}"
    );
}

#[test]
fn the_level_of_the_log_is_followed() {
    let site = Site::new();
    let process = site.ready(&["--logfile", "log"], &[("HUEY_LOG_LEVEL", "CRITICAL")]);
    process.stop();
    assert_eq!(fs::read_to_string(site.path("log")).unwrap(), "");
}

#[test]
fn two_consumers_run_in_one_process() {
    let site = Site::new();
    let text = "[[consumer]]\nname = \"one\"\nqueue = \"a\"\n[[consumer]]\nname = \"two\"\nqueue = \"b=2\"\n";
    site.write("votive.toml", text);
    let tasks = ["a", "b"].map(|queue| site.enqueue(queue, &Order::Simple));
    let process = site.start(&[], &[("VOTIVE_CONFIG", "votive.toml")]);
    let line = process.says("votive: ready");
    assert!(
        line.contains("one serves a (1) of sqlite; two serves b (2) of sqlite"),
        "{line}"
    );
    for task in tasks {
        site.reaches(task, State::Done);
    }
    process.stop();
}

#[test]
fn a_process_that_is_no_consumer_says_so_and_ends_well() {
    let site = Site::new();
    let (exit, said) = site.start(&[], &[("HUEY_CONSUMER", "0")]).end();
    assert_eq!(exit, 0);
    assert!(
        said.contains("votive: not a consumer: $HUEY_CONSUMER says so"),
        "{said}"
    );
    assert!(!site.path("votive.db").exists());
}

#[test]
fn the_exit_code_says_why_it_did_not_start() {
    let site = Site::new();
    site.write("bad.toml", "\nquue = \"mail\"\n");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--help"], 0, ""),
        (&["--nonsense"], 2, "--nonsense"),
        (&["--threads", "0"], 2, "--threads: `threads` cannot be `0`"),
        (
            &["--config", "bad.toml"],
            2,
            "bad.toml:2: there is no setting `quue` here: did you mean `queue`?",
        ),
        (
            &["--config", "none.toml"],
            3,
            "--config: the file `none.toml` cannot be read",
        ),
        (
            &["--url", "sqlite:///no/such/folder/x.db"],
            1,
            "--url: the store cannot be opened",
        ),
    ];
    for (switches, code, text) in cases {
        let (exit, said) = site.start(switches, &[]).end();
        assert_eq!(exit, code, "{switches:?}: {said}");
        assert!(said.contains(text), "{switches:?}: {said}");
    }
}
