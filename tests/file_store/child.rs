//! Another process: this test program once more, told by its environment what to do.
#![cfg(test)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use votive::store::file::{FileStore, Options};

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
    /// Enqueue and work off tasks, so that the journal is cleaned.
    Churn,
    /// Open the store; say by how many bytes that made the process larger.
    Weigh,
    /// Enqueue three times; say what each came to.
    Thrice,
}

/// Segments are short, so that little work fills many.
pub(crate) fn short_segments() -> Options {
    Options::default().segment_size(20_000)
}

/// What the child process does; nothing in the parent.
#[test]
fn a_child_process_does_as_it_is_told() {
    let (Ok(task), Ok(store)) = (std::env::var(TASK), std::env::var(STORE)) else {
        return;
    };
    let path = PathBuf::from(store);
    let said = match task.as_str() {
        "Open" => match FileStore::open(&path, Options::default()) {
            Ok(_) => "opened".to_owned(),
            Err(error) => format!("{:?}", error.kind),
        },
        "Enqueue" => enqueue(&path),
        "Fill" => fill(&path),
        "Claim" => claim(&path),
        "Churn" => churn(&path),
        "Weigh" => weigh(&path),
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
            let found = client.task_count();
            return format!("{count} {:?} {found}", error.kind);
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

fn churn(path: &Path) -> String {
    let client = Client::open_with(path, short_segments());
    for _ in 0..200 {
        client.enqueue().unwrap();
        client.work();
    }
    "churned".to_owned()
}

fn thrice(path: &Path) -> String {
    let client = Client::open(path);
    let kinds = [(); 3].map(|()| match client.enqueue() {
        Ok(_) => "Ok".to_owned(),
        Err(error) => format!("{:?}", error.kind),
    });
    kinds.join(" ")
}

fn weigh(path: &Path) -> String {
    let before = resident();
    let store = FileStore::open(path, Options::default()).unwrap();
    let bytes = resident() - before;
    drop(store);
    bytes.to_string()
}

/// How many bytes of memory this process has, as the kernel counts.
fn resident() -> usize {
    let counts = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = counts.split(' ').nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4_096
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

/// Starts a child through another program, whose last argument is to run it.
pub(crate) fn start_by(words: &[&str], task: Task, store: &Path) -> Child {
    let mut command = command(Path::new(words[0]), task, store);
    command.args(&words[1..]);
    command.arg(std::env::current_exe().unwrap());
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
