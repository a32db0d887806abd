//! Disks that fail.
#![cfg(test)]

use std::path::Path;
use std::process::Command;

use crate::child::{self, Task};
use crate::fixture::{Client, place};

/// Whether calls can be made to fail here.
fn can_inject() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        votive_testbed::skip("strace is needed, and allowed to trace");
    }
    can
}

/// Has a child enqueue three times while flushes fail. Returns what each came to, and how many tasks there are then.
fn thrice(injected: &str) -> (String, usize) {
    let place = place();
    drop(place.open().unwrap());
    let mut command = child::command(Path::new("strace"), Task::Thrice, &place.path);
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", injected])
        .arg(std::env::current_exe().unwrap())
        .args(child::ARGUMENTS);
    let mut child = command.spawn().unwrap();
    let said = child::said(&mut child);
    child::end(child);
    let client = Client::open(&place.path);
    (said, client.task_count())
}

// The first three flushes are of the log's beginning, of the folder, and of the incarnation; then each task has one.

#[test]
fn after_a_flush_that_failed_the_next_write_is_made_on_a_new_log() {
    if can_inject() {
        let (said, found) = thrice("inject=fsync:error=EIO:when=5");
        assert_eq!((said.as_str(), found), ("Ok Unknown Ok", 2));
    }
}

#[test]
fn nothing_is_written_to_a_log_that_may_have_holes() {
    if can_inject() {
        // The third is refused before it is begun: were it a commit that failed, it would be unknown.
        let (said, found) = thrice("inject=fsync:error=EIO:when=5+");
        assert_eq!(said, "Ok Unknown Other");
        assert!((1..=2).contains(&found), "{found}");
    }
}
