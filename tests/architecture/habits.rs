//! Habits: what a test file begins with, where threads and clocks live, what is left nowhere.
#![cfg(test)]

use crate::source::{self, Source};

const TIMER: &str = "Instant::now";
const WALL_CLOCK: &str = "SystemTime::now";
const SPAWNS: [&str; 3] = ["thread::spawn", "thread::Builder", "thread::scope"];

fn is_test(file: &Source) -> bool {
    file.in_folder("tests/")
}

/// Whether threads and timers may live here. The suite for stores is a test, and tests may have them.
fn is_home(path: &str) -> bool {
    let in_backend = path.starts_with("src/store/");
    let is_notify = path.ends_with("/notify.rs") || path.contains("/notify/");
    let is_suite = path.starts_with("src/conformance/");
    path.starts_with("src/consumer/") || is_suite || (in_backend && is_notify)
}

/// Where `pattern` is in `code`, as `path:line`.
fn places(file: &Source, code: &str, pattern: &str) -> Vec<String> {
    let place = |(at, _)| format!("{}:{}: {pattern}", file.path, source::line_at(code, at));
    code.match_indices(pattern).map(place).collect()
}

fn begins_well(file: &Source) -> bool {
    file.text.starts_with("//!") && file.text.lines().any(|line| line == "#![cfg(test)]")
}

/// Threads, timers and clocks that are not at home.
fn strays(file: &Source) -> Vec<String> {
    let code = file.product();
    let mut found = Vec::new();
    if !is_home(&file.path) {
        found.extend(
            SPAWNS
                .iter()
                .flat_map(|pattern| places(file, &code, pattern)),
        );
    }
    if !is_home(&file.path) && file.path != "src/time.rs" {
        found.extend(places(file, &code, TIMER));
    }
    if file.path != "src/time.rs" {
        found.extend(places(file, &code, WALL_CLOCK));
    }
    found
}

/// Signs of work that is not done. Put together here, so that this file does not hold them.
fn unfinished(file: &Source) -> Vec<String> {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("```", "ignore"),
    ];
    let calls = ["todo!", "unimplemented!", "#[ignore"];
    let in_text = words.iter().flat_map(|word| places(file, &file.text, word));
    let in_code = calls.iter().flat_map(|call| places(file, &file.code, call));
    in_text.chain(in_code).collect()
}

fn all(check: impl Fn(&Source) -> Vec<String>, files: &[Source]) {
    let found: Vec<_> = files.iter().flat_map(check).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_test_file_begins_with_what_it_is_about() {
    let files = source::files("tests", "rs");
    let bad: Vec<_> = files
        .iter()
        .filter(|file| !begins_well(file))
        .map(|file| &file.path)
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn no_test_sleeps() {
    let files = [source::files("src", "rs"), source::files("tests", "rs")].concat();
    all(|file| places(file, &file.code, "thread::sleep"), &files);
}

#[test]
fn threads_and_clocks_are_at_home() {
    all(strays, &source::files("src", "rs"));
}

#[test]
fn nothing_is_left_unfinished() {
    all(unfinished, &source::rust_files());
}

#[test]
fn a_folder_has_no_file_of_odds_and_ends() {
    let names = ["util", "utils", "common", "helpers", "misc"];
    let is_odd = |file: &&Source| {
        file.path
            .split(['/', '.'])
            .any(|part| names.contains(&part))
    };
    let files = source::rust_files();
    let found: Vec<_> = files
        .iter()
        .filter(|file| !is_test(file))
        .filter(is_odd)
        .map(|file| &file.path)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_stray_thread_or_clock_is_found() {
    let text = "fn f() {\n std::thread::spawn(g);\n Instant::now() }";
    assert_eq!(strays(&Source::new("src/queue/mod.rs", text)).len(), 2);
    assert_eq!(strays(&Source::new("src/consumer/fetch.rs", text)).len(), 0);
    assert_eq!(
        strays(&Source::new("src/consumer/fetch.rs", "SystemTime::now()")).len(),
        1
    );
}

#[test]
fn unfinished_work_is_found_in_code_and_in_comments() {
    let text = concat!(
        "// TO",
        "DO: later\nfn f() { unimplemented!() }\nlet s = \"todo!()\";"
    );
    assert_eq!(unfinished(&Source::new("src/x.rs", text)).len(), 2);
}
