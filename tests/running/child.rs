//! An application in a process of its own: this test program once more.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use votive::handler::{Context, DuplicateKind, Registry};
use votive::id::TaskId;
use votive::store::Store;
use votive::task::{Options, Record, State};
use votive::txn::{BoxError, TransactionManager};
use votive::{Queue, Task};

/// What no test takes as long as.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The switches of the child, a line each; a child is a process where this is set.
const SWITCHES: &str = "RUNNING_SWITCHES";

/// What the application's tasks do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// They are done.
    Simple,
    /// They wait for this file, unless they are told to stop.
    WaitFor(PathBuf),
    /// They do not end, whatever they are told.
    Hang,
}

impl Task for Order {
    const KIND: &'static str = "order";

    fn options() -> Options {
        Options {
            retention: Some(LONG * 100),
            ..Options::default()
        }
    }
}

fn registry() -> Result<Registry, DuplicateKind> {
    let mut registry = Registry::new();
    registry.register(fulfil)?;
    Ok(registry)
}

fn fulfil(order: Order, context: &mut Context<'_>) -> Result<(), BoxError> {
    let pause = || std::thread::park_timeout(Duration::from_millis(5));
    match order {
        Order::Simple => {
            tracing::info!("fulfilled");
            Ok(())
        }
        Order::Hang => loop {
            pause();
        },
        Order::WaitFor(file) => {
            while !file.exists() {
                if context.cancellation().is_cancelled() {
                    return Err("told to stop".into());
                }
                pause();
            }
            Ok(())
        }
    }
}

#[test]
fn a_child_process_is_an_application() {
    let Ok(switches) = std::env::var(SWITCHES) else {
        return; // this is no child
    };
    let arguments = ["application"].into_iter().chain(switches.lines());
    let exit = votive::consume::main(arguments, registry);
    std::process::exit(exit.code().into());
}

/// A folder in which children run, with a store in it.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The store that children use who are told nothing else.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        open(&self.path("votive.db"))
    }

    pub(crate) fn enqueue(&self, queue: &str, order: &Order) -> TaskId {
        let queue = Queue::new(self.store(), queue).unwrap();
        let manager = TransactionManager::new();
        manager.run(3, |txn| queue.enqueue(txn, order)).unwrap().0
    }

    pub(crate) fn record(&self, task: TaskId) -> Record {
        self.store().get(task).unwrap().expect("it is kept").record
    }

    /// Waits until the task is in this state.
    pub(crate) fn reaches(&self, task: TaskId, state: State) -> Record {
        let store = self.store();
        let record = || store.get(task).unwrap().expect("it is kept").record;
        until(|| record().state == state);
        record()
    }

    /// Starts a child with these switches and variables.
    pub(crate) fn start(&self, switches: &[&str], variables: &[(&str, &str)]) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = "child::a_child_process_is_an_application";
        command
            .args([test, "--exact", "--nocapture"])
            .current_dir(self.folder.path())
            .env(SWITCHES, [&["consume"], switches].concat().join("\n"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Process::of(command.spawn().unwrap())
    }

    /// Starts a child, and waits until it says that it is ready.
    pub(crate) fn ready(&self, switches: &[&str], variables: &[(&str, &str)]) -> Process {
        let process = self.start(switches, variables);
        process.says("votive: ready");
        process
    }
}

pub(crate) fn open(file: &Path) -> Arc<dyn Store> {
    votive::open(&format!("sqlite://{}", file.display())).unwrap()
}

/// Looks again and again until `done`, and fails if that takes long.
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..LONG.as_millis() / 5 {
        if done() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("it takes too long");
}

/// A running child; it is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    said: Receiver<String>,
}

impl Process {
    fn of(mut child: Child) -> Self {
        let (say, said) = crossbeam_channel::unbounded();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listen = move || {
            let lines = lines.map_while(Result::ok);
            lines.for_each(|line| drop(say.send(line)));
        };
        std::thread::Builder::new().spawn(listen).unwrap();
        Self { child, said }
    }

    /// Waits until it says a line with this text on standard error, and returns that.
    pub(crate) fn says(&self, text: &str) -> String {
        let mut before = Vec::new();
        while let Ok(line) = self.said.recv_timeout(LONG) {
            if line.contains(text) {
                return line;
            }
            before.push(line);
        }
        panic!("it does not say `{text}`, but {before:#?}");
    }

    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; returns the exit code, and what it said since it was last listened to.
    pub(crate) fn end(mut self) -> (i32, String) {
        let said = self.said.iter().collect::<Vec<_>>().join("\n");
        let status = self.child.wait().unwrap();
        (status.code().unwrap_or(-1), said)
    }

    /// Asks it to stop, and expects that it ends well.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        let (exit, said) = self.end();
        assert_eq!(exit, 0, "{said}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
