//! Another process: this test program once more, told by its environment what to do.
#![cfg(test)]

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use crate::endurance;
use crate::inspection;
use crate::site::Site;
use crate::work;
use crate::world::World;

const ROLE: &str = "VOTIVE_CRASH_ROLE";
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
    /// Produce and consume whatever fails, until standard input ends.
    Endure,
    /// Say what is wrong with the site. Nobody else may have its files open: this is why it is done in a
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
    let (Ok(role), Some(site)) = (std::env::var(ROLE), Site::told()) else {
        return;
    };
    log();
    let work = |is_careless| {
        let world = World::open_with(&site, is_careless).unwrap();
        work::run(&world, &site).unwrap();
    };
    match role.as_str() {
        "Work" => work(false),
        "WorkCarelessly" => work(true),
        "Endure" => {
            let world = World::open(&site).unwrap();
            endurance::run(&world, &site).unwrap();
        }
        "Inspect" => inspection::complaints(&site)
            .iter()
            .for_each(|complaint| println!("\n{COMPLAINT}{complaint}")),
        other => panic!("`{other}` is nothing that a child does"),
    }
}

/// Has what the library logs go where the parent finds it if something is wrong.
fn log() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
}

/// A child of its own for a site, under the program `under` if any is given.
pub(crate) fn command(under: &[OsString], role: Role, site: &Site) -> Command {
    let program = std::env::current_exe().unwrap().into_os_string();
    let mut words = under.iter().cloned().chain([program]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["child::a_child_process_does_as_it_is_told", "--exact"])
        .args(["--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{role:?}"));
    site.tell(&mut command);
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

/// Has a child recover a site and say what is wrong with it, a line each.
pub(crate) fn inspect(site: &Site) -> Vec<String> {
    let output = command(&[], Role::Inspect, site).output().unwrap();
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
