//! The `votive` program, driven as a user drives it, on stores in SQLite files.
#![cfg(test)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a store, and what the program says of it.
struct Desk {
    folder: TempDir,
}

impl Desk {
    /// A folder without a store.
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    /// A folder with an empty store.
    fn new() -> Self {
        let desk = Self::empty();
        assert_eq!(desk.run(&["migrate"]).exit, 0);
        desk
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_votive"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("VOTIVE_URL", "sqlite:tasks.db")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Enqueues a task and returns its id.
    fn enqueue(&self, arguments: &[&str]) -> String {
        let said = self.run(&[&["enqueue"], arguments].concat());
        assert_eq!(said.exit, 0, "{}", said.error);
        said.text.trim().to_owned()
    }

    /// Runs a command for programs and reads its document.
    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said.text).unwrap_or_else(|_| panic!("{}", said.error))
    }

    fn state(&self, task: &str) -> Value {
        self.json(&["show", task])["state"].clone()
    }
}

/// How the program ended, and what it said.
struct Said {
    exit: i32,
    text: String,
    error: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code().unwrap(),
            text: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

const NOBODY: &str = "0197f0c4-6b1e-7b5a-9c39-5d9a1c0f3e21";
const NO_TXN: &str = "0123456789abcdef-0000000000000001";

mod looking {
    use super::*;

    #[test]
    fn stats_count_pending_and_scheduled_tasks() {
        let desk = Desk::new();
        desk.enqueue(&["index", "{}"]);
        desk.enqueue(&["index", "{}", "--delay", "1h", "--queue", "slow"]);
        let stats = desk.json(&["stats"]);
        assert_eq!((&stats["pending"], &stats["scheduled"]), (&1.into(), &1.into()));
        assert_eq!(stats["queues"][1]["counts"]["scheduled"], 1);
        assert_eq!(stats["backend"], "sqlite");
    }

    #[test]
    fn stats_are_a_table_for_people() {
        let desk = Desk::new();
        desk.enqueue(&["index", "{}"]);
        let said = desk.run(&["stats"]);
        assert!(said.text.contains("QUEUE"), "{}", said.text);
        assert!(said.text.contains("default"), "{}", said.text);
    }

    #[test]
    fn a_listing_goes_on_where_its_cursor_says() {
        let desk = Desk::new();
        let ids: Vec<String> = (0..3).map(|_| desk.enqueue(&["index", "{}"])).collect();
        let first = desk.json(&["list", "--limit", "2"]);
        let cursor = first["next"].as_str().unwrap();
        let second = desk.json(&["list", "--limit", "2", "--cursor", cursor]);
        assert_eq!(first["tasks"][1]["id"], *ids[1]);
        assert_eq!(second["tasks"][0]["id"], *ids[2]);
        assert_eq!(second["next"], Value::Null);
    }

    #[test]
    fn a_listing_is_filtered_by_queue_kind_state_and_object() {
        let desk = Desk::new();
        desk.enqueue(&["index", "{}"]);
        let wanted = desk.enqueue(&["mail", "{}", "--queue", "out", "--about", "page-7"]);
        for filter in ["--queue=out", "--kind=mail", "--about=page-7", "--state=dead,ready"] {
            let found = desk.json(&["list", filter, "--kind=mail"]);
            assert_eq!(found["tasks"][0]["id"], *wanted, "{filter}");
            assert_eq!(found["tasks"].as_array().unwrap().len(), 1, "{filter}");
        }
        let old = desk.json(&["list", "--older-than", "1h"]);
        assert_eq!(old["tasks"], Value::Array(vec![]));
    }

    #[test]
    fn show_gives_the_payload_back_as_it_was_typed() {
        let desk = Desk::new();
        let payload = r#"{"b": 1, "a": 12345678901234567890123}"#;
        let task = desk.enqueue(&["index", payload]);
        let said = desk.run(&["show", &task]);
        assert!(said.text.contains(payload), "{}", said.text);
        let said = desk.run(&["show", &task, "--json"]);
        assert!(said.text.contains(payload), "{}", said.text);
    }

    #[test]
    fn a_control_character_is_shown_and_not_obeyed() {
        let desk = Desk::new();
        let task = desk.enqueue(&["evil\u{1b}[2J", "{}"]);
        for arguments in [vec!["list"], vec!["show", &task]] {
            let said = desk.run(&arguments);
            assert!(!said.text.contains('\u{1b}'), "{}", said.text);
        }
    }

    #[test]
    fn a_healthy_store_is_called_healthy() {
        let desk = Desk::new();
        desk.enqueue(&["index", "{}"]);
        assert_eq!(desk.json(&["check"])["healthy"], true);
        assert_eq!(desk.run(&["check"]).text, "healthy\n");
    }
}

mod enqueueing {
    use super::*;

    #[test]
    fn a_file_of_lines_is_a_task_for_each() {
        let desk = Desk::new();
        std::fs::write(desk.path().join("all.jsonl"), "{\"n\":1}\n\n{\"n\":2}\n").unwrap();
        let said = desk.run(&["enqueue", "index", "--file", "all.jsonl", "--lines"]);
        assert_eq!(said.text.lines().count(), 2);
        assert_eq!(desk.json(&["stats"])["pending"], 2);
    }

    #[test]
    fn one_bad_line_keeps_all_from_being_enqueued() {
        let desk = Desk::new();
        let said = desk.run_with_input(&["enqueue", "index", "-", "--lines"], "{}\n{oops\n");
        assert_eq!(said.exit, 2);
        assert!(said.error.contains("not JSON"), "{}", said.error);
        assert_eq!(desk.json(&["stats"])["pending"], 0);
    }

    #[test]
    fn standard_input_is_a_payload() {
        let desk = Desk::new();
        let said = desk.run_with_input(&["enqueue", "index", "-"], "[1, 2]\n");
        let shown = desk.json(&["show", said.text.trim()]);
        assert_eq!(shown["payload"]["json"], serde_json::json!([1, 2]));
    }

    #[test]
    fn what_the_producer_says_is_kept() {
        let desk = Desk::new();
        let said = ["--priority=3", "--group=g", "--about=x", "--about=y", "--user=eva"];
        let more = ["--timeout=90s", "--attempts-max=2", "--not-before=2100-01-01T00:00:00Z"];
        let task = desk.enqueue(&[&["index", "{}"][..], &said, &more].concat());
        let shown = desk.json(&["show", &task]);
        assert_eq!(shown["priority"], 3);
        assert_eq!(shown["about"], serde_json::json!(["x", "y"]));
        assert_eq!((&shown["group"], &shown["user"]), (&"g".into(), &"eva".into()));
        assert_eq!((&shown["timeout_seconds"], &shown["attempts_max"]), (&90.0.into(), &2.into()));
        assert_eq!(shown["state"], "scheduled");
        assert_eq!(shown["not_before"], "2100-01-01T00:00:00.000000Z");
    }

    #[test]
    fn a_second_task_of_a_unique_key_merges_or_is_refused() {
        let desk = Desk::new();
        let first = desk.enqueue(&["index", "{}", "--unique", "page-7"]);
        let merged = desk.json(&["enqueue", "index", "{}", "--unique", "page-7"]);
        assert_eq!(merged["merged"][0]["into"], *first);
        let refused = ["--unique", "page-7", "--on-duplicate", "refuse"];
        let said = desk.run(&[&["enqueue", "index", "{}"][..], &refused].concat());
        assert_eq!(said.exit, 5, "{}", said.error);
        assert_eq!(desk.json(&["stats"])["pending"], 1);
    }

    #[test]
    fn a_payload_over_the_limit_is_refused() {
        let desk = Desk::new();
        let large = format!("\"{}\"", "x".repeat(2 << 20));
        let said = desk.run_with_input(&["enqueue", "index", "-"], &large);
        assert_eq!(said.exit, 2, "{}", said.error);
        assert!(said.error.contains("more than the limit"), "{}", said.error);
    }

    #[test]
    fn the_first_task_makes_the_store() {
        let desk = Desk::empty();
        desk.enqueue(&["index", "{}"]);
        assert_eq!(desk.json(&["stats"])["pending"], 1);
    }
}

mod changing {
    use super::*;

    #[test]
    fn a_cancelled_task_is_retried_by_its_id() {
        let desk = Desk::new();
        let task = desk.enqueue(&["index", "{}"]);
        assert_eq!(desk.json(&["cancel", &task])["changed"], 1);
        assert_eq!(desk.state(&task), "cancelled");
        assert_eq!(desk.json(&["retry", &task])["changed"], 1);
        assert_eq!(desk.state(&task), "ready");
    }

    #[test]
    fn a_scheduled_task_is_retried_at_once() {
        let desk = Desk::new();
        let task = desk.enqueue(&["index", "{}", "--delay", "1h"]);
        assert_eq!(desk.run(&["retry", &task]).exit, 0);
        assert_eq!(desk.state(&task), "ready");
    }

    #[test]
    fn a_task_that_does_not_allow_it_is_skipped_and_named() {
        let desk = Desk::new();
        let task = desk.enqueue(&["index", "{}"]);
        let said = desk.run(&["retry", &task]);
        assert_eq!(said.exit, 5);
        assert!(said.text.contains(&format!("skipped {task}: it is ready")), "{}", said.text);
    }

    #[test]
    fn a_filter_cancels_what_it_means_and_nothing_else() {
        let desk = Desk::new();
        let kept = desk.enqueue(&["index", "{}"]);
        let gone = desk.enqueue(&["mail", "{}"]);
        assert_eq!(desk.json(&["cancel", "--kind", "mail", "--yes"])["changed"], 1);
        assert_eq!(desk.state(&kept), "ready");
        assert_eq!(desk.state(&gone), "cancelled");
    }

    #[test]
    fn tasks_move_to_another_queue() {
        let desk = Desk::new();
        let task = desk.enqueue(&["index", "{}"]);
        assert_eq!(desk.run(&["move", "--queue", "default", "--to", "slow"]).exit, 0);
        assert_eq!(desk.json(&["show", &task])["queue"], "slow");
    }

    #[test]
    fn a_purge_takes_what_has_ended() {
        let desk = Desk::new();
        let ended = desk.enqueue(&["index", "{}"]);
        desk.enqueue(&["index", "{}"]);
        desk.run(&["cancel", &ended]);
        assert_eq!(desk.json(&["purge", "--all", "--older-than", "1h", "--yes"])["changed"], 0);
        assert_eq!(desk.json(&["purge", "--all", "--yes"])["changed"], 1);
        assert_eq!(desk.run(&["show", &ended]).exit, 3);
        assert_eq!(desk.json(&["stats"])["pending"], 1);
    }

    #[test]
    fn more_tasks_than_one_transaction_takes_are_all_changed() {
        let desk = Desk::new();
        let lines = "{}\n".repeat(450);
        desk.run_with_input(&["enqueue", "index", "-", "--lines"], &lines);
        assert_eq!(desk.json(&["cancel", "--all", "--yes"])["changed"], 450);
    }

    #[test]
    fn what_cannot_be_undone_asks_and_without_a_terminal_refuses() {
        let desk = Desk::new();
        let task = desk.enqueue(&["index", "{}"]);
        let said = desk.run(&["cancel", "--all"]);
        assert_eq!(said.exit, 2);
        assert!(said.error.contains("--yes"), "{}", said.error);
        assert_eq!(desk.state(&task), "ready");
    }

    #[test]
    fn a_command_without_a_selection_changes_nothing() {
        let desk = Desk::new();
        let task = desk.enqueue(&["index", "{}"]);
        assert_eq!(desk.run(&["cancel", "--yes"]).exit, 2);
        assert_eq!(desk.state(&task), "ready");
    }

    #[test]
    fn a_state_that_a_command_never_fits_is_wrong_usage() {
        let said = Desk::new().run(&["purge", "--state", "ready", "--yes"]);
        assert_eq!(said.exit, 2, "{}", said.error);
    }

    #[test]
    fn an_unknown_id_stops_the_command_before_anything_changes() {
        let desk = Desk::new();
        let task = desk.enqueue(&["index", "{}"]);
        assert_eq!(desk.run(&["cancel", &task, NOBODY]).exit, 3);
        assert_eq!(desk.state(&task), "ready");
    }
}
