//! Disks that are full, and disks that fail.
#![cfg(test)]

use std::io::Write as _;
use std::process::Command;

use crate::child::{self, Task};
use crate::fixture::{Client, place};

#[test]
fn a_limit_on_the_size_of_files_loses_nothing() {
    let place = place();
    drop(place.open().unwrap());
    let limited = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    let mut child = child::start_by(&["sh", "-c", limited], Task::Fill, &place.path);
    let said = child::said(&mut child);
    child::end(child);
    let [count, kind, seen] = said.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    assert_eq!((kind, seen), ("Full", count));
    let client = Client::open(&place.path);
    assert_eq!(client.task_count(), count.parse::<usize>().unwrap());
    client.enqueue().unwrap();
    client.is_healthy();
}

/// Whether calls can be made to fail here; they must be where servers are required.
fn can_inject() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        let is_required = std::env::var("VOTIVE_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!is_required, "strace is needed, and allowed to trace");
        // Past the test harness, which hides what a test that passes prints.
        let said = writeln!(
            std::io::stderr(),
            "skipped: strace is needed, and allowed to trace"
        );
        said.unwrap();
    }
    can
}

/// Has a child enqueue three times while the second flush after it was opened fails.
fn thrice(injected: &str) -> (String, usize) {
    let place = place();
    drop(place.open().unwrap());
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", injected];
    let mut child = child::start_by(&words, Task::Thrice, &place.path);
    let said = child::said(&mut child);
    child::end(child);
    let client = Client::open(&place.path);
    client.is_healthy();
    (said, client.task_count())
}

#[test]
fn a_failed_flush_poisons_the_store_until_it_is_opened_again() {
    if can_inject() {
        // The first flush is that of the incarnation.
        let (said, found) = thrice("inject=fdatasync:error=EIO:when=3");
        assert_eq!(said, "Ok Unknown Poisoned");
        assert!((1..=2).contains(&found), "{found}");
    }
}

#[test]
fn a_write_that_finds_no_room_changes_nothing() {
    if can_inject() {
        let (said, found) = thrice("inject=pwrite64:error=ENOSPC:when=3");
        assert_eq!(said, "Ok Full Ok");
        assert_eq!(found, 2);
    }
}
