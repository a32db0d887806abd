//! Another process: this test program once more, told by its environment what to do.
#![cfg(test)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use votive::store::sqlite::{Options, SqliteStore};

use crate::fixture::Client;

const TASK: &str = "VOTIVE_TEST_TASK";
const STORE: &str = "VOTIVE_TEST_STORE";

/// What a child process is to do. It says how it went in a line that begins with `child: `.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    /// Open the store, and say what kind of error that gave.
    Open,
    /// Enqueue 50 tasks.
    Enqueue,
    /// Enqueue until it fails; say how many there were and what kind of error it was.
    Fill,
    /// Claim a task, and live until standard input ends.
    Claim,
    /// Enqueue three times; say what each came to.
    Thrice,
}

/// What the child process does; nothing in the parent.
#[test]
fn a_child_process_does_as_it_is_told() {
    let (Ok(task), Ok(store)) = (std::env::var(TASK), std::env::var(STORE)) else {
        return;
    };
    let path = PathBuf::from(store);
    let said = match task.as_str() {
        "Open" => match SqliteStore::open(&path, Options::default()) {
            Ok(_) => "opened".to_owned(),
            Err(error) => format!("{:?}", error.kind),
        },
        "Enqueue" => enqueue(&path),
        "Fill" => fill(&path),
        "Claim" => claim(&path),
        "Thrice" => thrice(&path),
        other => panic!("`{other}` is nothing that a child does"),
    };
    println!("\nchild: {said}");
}

fn enqueue(path: &Path) -> String {
    let client = Client::open(path);
    client.enqueue_many(50);
    "enqueued".to_owned()
}

fn fill(path: &Path) -> String {
    let client = Client::open(path);
    for count in 0.. {
        if let Err(error) = client.enqueue() {
            return format!("{count} {:?}", error.kind);
        }
    }
    unreachable!("no disk is without end")
}

fn claim(path: &Path) -> String {
    let client = Client::open(path);
    println!("\nchild: claimed {}", client.claim().len());
    let waited = std::io::stdin().read(&mut [0]);
    assert_eq!(waited.unwrap(), 0);
    "stopped".to_owned()
}

fn thrice(path: &Path) -> String {
    let client = Client::open(path);
    let kinds = [(); 3].map(|()| match client.enqueue() {
        Ok(_) => "Ok".to_owned(),
        Err(error) => format!("{:?}", error.kind),
    });
    kinds.join(" ")
}

/// Prepares a child process.
pub(crate) fn command(program: &Path, task: Task, store: &Path) -> Command {
    let mut command = Command::new(program);
    command.env(TASK, format!("{task:?}")).env(STORE, store);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The arguments with which this test program is a child.
pub(crate) const ARGUMENTS: [&str; 3] = [
    "child::a_child_process_does_as_it_is_told",
    "--exact",
    "--nocapture",
];

pub(crate) fn start(task: Task, store: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = command(&program, task, store);
    command.args(ARGUMENTS).spawn().unwrap()
}

/// Waits for the next thing that a child says.
pub(crate) fn said(child: &mut Child) -> String {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let mut said =
        lines.filter_map(|line| line.unwrap().strip_prefix("child: ").map(str::to_owned));
    said.next().expect("a child that says how it went")
}

/// Waits until a child has ended well.
pub(crate) fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
