//! Another process: this test program once more, told by its environment what to do.
#![cfg(test)]

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::layout::Layout;
use crate::work;
use crate::world::{World, options};

const FOLDER: &str = "VOTIVE_CRASH_FOLDER";
const LAYOUT: &str = "VOTIVE_CRASH_LAYOUT";
const CARELESS: &str = "VOTIVE_CRASH_CARELESS";
const FAILPOINT: &str = "VOTIVE_FAILPOINT";
const SIGABRT: i32 = 6;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It died where it was told to.
    Crashed,
    /// It did all its work: it did not come to that point often enough.
    Finished,
    /// Something is wrong.
    Failed(String),
}

/// What the child process does; nothing in the parent.
#[test]
fn a_child_process_works_until_it_dies() {
    let (Ok(folder), Ok(layout)) = (std::env::var(FOLDER), std::env::var(LAYOUT)) else {
        return;
    };
    let options = match std::env::var(CARELESS) {
        Ok(_) => options().setup(|connection| connection.pragma_update(None, "synchronous", "OFF")),
        Err(_) => options(),
    };
    let folder = PathBuf::from(folder);
    let world = World::open_with(&folder, Layout::from_name(&layout), &options).unwrap();
    work::run(&world, &folder).unwrap();
}

/// A child that works in `folder`, under the program `under` if any is given.
pub(crate) fn command(under: &[OsString], folder: &Path, layout: Layout) -> Command {
    let program = std::env::current_exe().unwrap().into_os_string();
    let mut words = under.iter().cloned().chain([program]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["child::a_child_process_works_until_it_dies", "--exact"])
        .args(["--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(LAYOUT, layout.to_string());
    command
}

/// Has the application's connections not wait for the disk.
pub(crate) fn careless(mut command: Command) -> Command {
    command.env(CARELESS, "1");
    command
}

/// Runs a child that dies at its `count`-th call of `point`.
pub(crate) fn run(folder: &Path, layout: Layout, point: &str, count: usize) -> End {
    let output = command(&[], folder, layout)
        .env(FAILPOINT, format!("{point}:{count}"))
        .output()
        .unwrap();
    if output.status.signal() == Some(SIGABRT) {
        return End::Crashed;
    }
    ended(&output)
}

/// How a child ended that was not to die.
pub(crate) fn ended(output: &Output) -> End {
    if output.status.success() {
        return End::Finished;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    End::Failed(format!("a child ended with {}: {said}", output.status))
}
