//! A folder with a store, and the program run in it.
#![cfg(test)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use votive::store::Store;

/// A folder with a store, and what the program says of it.
pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    /// A folder without a store.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    /// A folder with an empty store.
    pub(crate) fn new() -> Self {
        let desk = Self::empty();
        assert_eq!(desk.run(&["migrate"]).exit, 0);
        desk
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The store itself, opened by the test.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        let file = self.path().join("tasks.db");
        votive::open(&format!("sqlite://{}", file.display())).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_votive"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("VOTIVE_URL", "sqlite:tasks.db")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        let pipes = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Enqueues a task and returns its id.
    pub(crate) fn enqueue(&self, arguments: &[&str]) -> String {
        let said = self.run(&[&["enqueue"], arguments].concat());
        assert_eq!(said.exit, 0, "{}", said.error);
        said.text.trim().to_owned()
    }

    /// Runs a command for programs and reads its document.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said.text).unwrap_or_else(|_| panic!("{}", said.error))
    }

    pub(crate) fn state(&self, task: &str) -> Value {
        self.json(&["show", task])["state"].clone()
    }
}

/// How the program ended, and what it said.
pub(crate) struct Said {
    pub(crate) exit: i32,
    pub(crate) text: String,
    pub(crate) error: String,
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

pub(crate) const NOBODY: &str = "0197f0c4-6b1e-7b5a-9c39-5d9a1c0f3e21";
pub(crate) const NO_TXN: &str = "0123456789abcdef-0000000000000001";
