//! Another process: this test program once more, told by its environment what to do.
#![cfg(test)]

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use votive::resource::rusqlite::Options;

use crate::inspection;
use crate::layout::Layout;
use crate::work;
use crate::world::{World, options};

const ROLE: &str = "VOTIVE_CRASH_ROLE";
const FOLDER: &str = "VOTIVE_CRASH_FOLDER";
const LAYOUT: &str = "VOTIVE_CRASH_LAYOUT";
const FAILPOINT: &str = "VOTIVE_FAILPOINT";
const COMPLAINT: &str = "complaint: ";
const SIGABRT: i32 = 6;

/// What a child process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Recover, produce and consume.
    Work,
    /// The same, with an application whose commits do not wait for the disk.
    WorkCarelessly,
    /// Say what is wrong with the files. Nobody else may have them open: this is why it is done in a
    /// process of its own.
    Inspect,
}

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
fn a_child_process_does_as_it_is_told() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let layout = Layout::from_name(&std::env::var(LAYOUT).unwrap());
    let work = |options| {
        let world = World::open_with(&folder, layout, &options).unwrap();
        work::run(&world, &folder).unwrap();
    };
    match role.as_str() {
        "Work" => work(options()),
        "WorkCarelessly" => work(careless()),
        "Inspect" => inspection::complaints(&folder, layout)
            .iter()
            .for_each(|complaint| println!("\n{COMPLAINT}{complaint}")),
        other => panic!("`{other}` is nothing that a child does"),
    }
}

fn careless() -> Options {
    options().setup(|connection| connection.pragma_update(None, "synchronous", "OFF"))
}

/// A child of its own for the files in `folder`, under the program `under` if any is given.
pub(crate) fn command(under: &[OsString], role: Role, folder: &Path, layout: Layout) -> Command {
    let program = std::env::current_exe().unwrap().into_os_string();
    let mut words = under.iter().cloned().chain([program]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["child::a_child_process_does_as_it_is_told", "--exact"])
        .args(["--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{role:?}"))
        .env(FOLDER, folder)
        .env(LAYOUT, layout.to_string());
    command
}

/// Has the child die at its `visit`-th visit of `point`.
pub(crate) fn arm(command: &mut Command, point: &str, visit: usize) {
    command.env(FAILPOINT, format!("{point}:{visit}"));
}

/// Runs a child to its end.
pub(crate) fn run(command: &mut Command) -> End {
    ended(&command.output().unwrap())
}

/// Has a child recover the files and say what is wrong with them, a line each.
pub(crate) fn inspect(folder: &Path, layout: Layout) -> Vec<String> {
    let output = command(&[], Role::Inspect, folder, layout)
        .output()
        .unwrap();
    let end = ended(&output);
    if end != End::Finished {
        return vec![format!("{end:?}")];
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = said.lines().filter_map(|line| line.strip_prefix(COMPLAINT));
    complaints.map(str::to_owned).collect()
}

fn ended(output: &Output) -> End {
    if output.status.success() {
        return End::Finished;
    }
    if output.status.signal() == Some(SIGABRT) {
        return End::Crashed;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    End::Failed(format!("a child ended with {}: {said}", output.status))
}
