//! Exit codes and errors: what a script and a person learn from a failure.
#![cfg(test)]

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::process::Stdio;

use crate::desk::{Desk, NOBODY, Said};
use serde_json::Value;

#[test]
fn an_unknown_task_is_not_found() {
    let said = Desk::new().run(&["show", NOBODY]);
    assert_eq!(said.exit, 3);
    assert!(said.error.contains(NOBODY), "{}", said.error);
}

#[test]
fn a_missing_store_is_not_found_and_not_made() {
    let desk = Desk::empty();
    let said = desk.run(&["stats"]);
    assert_eq!(said.exit, 3, "{}", said.error);
    assert!(!desk.path().join("tasks.db").exists());
}

#[test]
fn a_missing_application_database_is_not_found_and_not_made() {
    let desk = Desk::new();
    let said = desk.run(&["recover", "--app", "sqlite:app.db"]);
    assert_eq!(said.exit, 3, "{}", said.error);
    assert!(!desk.path().join("app.db").exists());
}

#[test]
fn a_url_that_is_none_says_what_would_be_one() {
    let said = Desk::new().run(&["stats", "--url", "sqlte:tasks.db"]);
    assert_eq!(said.exit, 2, "{}", said.error);
    assert!(
        said.error.contains("did you mean `sqlite`?"),
        "{}",
        said.error
    );
}

#[test]
fn no_url_at_all_is_wrong_usage() {
    let desk = Desk::new();
    let said: Said = desk
        .command(&["stats"])
        .env_remove("VOTIVE_URL")
        .output()
        .unwrap()
        .into();
    assert_eq!(said.exit, 2);
    assert!(said.error.contains("VOTIVE_URL"), "{}", said.error);
}

#[test]
fn a_password_is_never_printed() {
    let desk = Desk::new();
    let url = "redis://eva:s3cret@localhost/0";
    for arguments in [
        &["stats", "--url", url][..],
        &["--help"],
        &["migrate", "--register", url],
    ] {
        let output = desk
            .command(arguments)
            .env("VOTIVE_URL", url)
            .output()
            .unwrap();
        let said = Said::from(output);
        assert!(!said.error.contains("s3cret") && !said.text.contains("s3cret"));
    }
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let desk = Desk::empty();
    std::fs::write(desk.path().join("tasks.db"), "no database at all, but text").unwrap();
    let said = desk.run(&["stats"]);
    assert_ne!(said.exit, 0);
    assert!(said.error.contains("because: "), "{}", said.error);
    let kept = std::fs::read_to_string(desk.path().join("tasks.db")).unwrap();
    assert_eq!(kept, "no database at all, but text");
}

#[test]
fn an_error_is_a_document_for_programs() {
    let said = Desk::new().run(&["show", NOBODY, "--json"]);
    let error: Value = serde_json::from_str(&said.error).unwrap();
    assert_eq!(error["error"]["exit"], 3);
    assert!(
        error["error"]["chain"][0]
            .as_str()
            .unwrap()
            .contains(NOBODY)
    );
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let desk = Desk::new();
    let lines = "{}\n".repeat(2_000);
    desk.run_with_input(&["enqueue", "index", "-", "--lines"], &lines);
    let mut command = desk.command(&["list", "--limit", "2000"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn the_statements_of_a_register_can_be_printed_without_a_database() {
    let desk = Desk::empty();
    let said = desk.run(&["migrate", "--register", "sqlite:app.db", "--print"]);
    assert!(said.text.contains("votive_outcome"), "{}", said.text);
    assert!(!desk.path().join("app.db").exists());
}

#[test]
fn help_lists_the_exit_codes() {
    let said = Desk::empty().run(&["--help"]);
    assert!(said.text.contains("Exit codes:"));
}

#[test]
fn a_copy_of_a_store_takes_no_tasks_until_it_is_adopted() {
    let desk = Desk::new();
    std::fs::copy(desk.path().join("tasks.db"), desk.path().join("copy.db")).unwrap();
    let enqueue = ["enqueue", "index", "{}", "--url", "sqlite:copy.db"];
    let said = desk.run(&enqueue);
    assert_eq!(said.exit, 1);
    assert!(
        said.error.contains("votive migrate --adopt"),
        "{}",
        said.error
    );
    assert_eq!(
        desk.run(&["migrate", "--adopt", "--url", "sqlite:copy.db"])
            .exit,
        0
    );
    assert_eq!(desk.run(&enqueue).exit, 0);
}

#[test]
fn a_damaged_store_is_unhealthy() {
    let desk = Desk::new();
    let lines = "{}\n".repeat(500);
    desk.run_with_input(&["enqueue", "index", "-", "--lines"], &lines);
    let mut file = OpenOptions::new()
        .write(true)
        .open(desk.path().join("tasks.db"))
        .unwrap();
    file.seek(SeekFrom::Start(16 * 4096)).unwrap();
    file.write_all(&vec![0xA5; 8 * 4096]).unwrap();
    assert_eq!(desk.run(&["check"]).exit, 4);
}

#[test]
fn a_copy_of_a_folder_decides_when_it_is_adopted() {
    let desk = Desk::empty();
    let url = ["--url", "file:tasks"];
    assert_eq!(desk.run(&[&["migrate"], &url[..]].concat()).exit, 0);
    std::fs::create_dir(desk.path().join("copy")).unwrap();
    let segment = "0000000001.journal";
    let paths = ["tasks", "copy"].map(|folder| desk.path().join(folder).join(segment));
    std::fs::copy(&paths[0], &paths[1]).unwrap();
    let enqueue = ["enqueue", "noop", "{}", "--url", "file:copy"];
    assert!(desk.run(&enqueue).error.contains("votive migrate --adopt"));
    assert_eq!(
        desk.run(&["migrate", "--adopt", "--url", "file:copy"]).exit,
        0
    );
    assert_eq!(desk.run(&enqueue).exit, 0);
}
