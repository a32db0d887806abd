//! A process of the fleet: this test program once more, told by its environment to be a consumer.
#![cfg(test)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};
use votive::Task;
use votive::consumer::Consumer;
use votive::handler::{Context, Registry};
use votive::task::Options;
use votive::txn::BoxError;

const STORE: &str = "VOTIVE_TEST_STORE";
const NAME: &str = "VOTIVE_TEST_NAME";
const HANGS: &str = "VOTIVE_TEST_HANGS";

/// What no test takes as long as.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How long a consumer is missed in stores where leases are timed.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// A task that takes so long.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) number: u32,
    /// If none, until its process is told to [go on](Member::go_on).
    pub(crate) millis: Option<u64>,
}

impl Task for Step {
    const KIND: &'static str = "step";

    fn options() -> Options {
        Options {
            retention: Some(LONG * 60),
            ..Options::default()
        }
    }
}

/// What the child process does; nothing in the parent.
#[test]
fn a_child_process_is_a_consumer() {
    let Ok(url) = std::env::var(STORE) else {
        return;
    };
    let hangs = std::env::var_os(HANGS).is_some();
    let (tell, told) = crossbeam_channel::unbounded();
    let mut registry = Registry::new();
    registry
        .register(move |step: Step, _: &mut Context<'_>| run(&step, hangs, &told))
        .unwrap();
    let running = Consumer::builder(votive::open(&url).unwrap(), registry)
        .name(std::env::var(NAME).unwrap())
        .concurrent_limit(4)
        .lease(LEASE)
        .start()
        .unwrap();
    say(&format!("is {}", running.id().name));
    while std::io::stdin().read(&mut [0]).unwrap() > 0 {
        tell.send(()).unwrap();
    }
    say(&format!("lost {}", running.stop().stats.lost));
}

fn run(step: &Step, hangs: bool, told: &Receiver<()>) -> Result<(), BoxError> {
    say(&format!("begins {}", step.number));
    if hangs {
        loop {
            std::thread::park();
        }
    }
    match step.millis {
        Some(millis) => std::thread::park_timeout(Duration::from_millis(millis)),
        None => told.recv()?,
    }
    say(&format!("ran {}", step.number));
    Ok(())
}

fn say(what: &str) {
    println!("\nchild: {what}");
}

/// A consumer in a process of its own; killed when it is dropped.
pub(crate) struct Member {
    pub(crate) child: Child,
    said: Receiver<String>,
}

impl Member {
    pub(crate) fn start(url: &str, name: &str) -> Self {
        Self::spawn(command(url, name))
    }

    /// Starts a consumer whose tasks never end.
    pub(crate) fn start_hanging(url: &str, name: &str) -> Self {
        let mut command = command(url, name);
        command.env(HANGS, "1");
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (says, said) = crossbeam_channel::unbounded();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listen = move || {
            let said = lines.map_while(Result::ok);
            let said = said.filter_map(|line| line.strip_prefix("child: ").map(str::to_owned));
            said.for_each(|line| drop(says.send(line)));
        };
        std::thread::Builder::new().spawn(listen).unwrap();
        Self { child, said }
    }

    /// Lets one task go on that waits for it.
    pub(crate) fn go_on(&mut self) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(b"!").unwrap();
    }

    /// Waits for the next thing that the process says, and that begins with `what`; returns the rest.
    pub(crate) fn says(&self, what: &str) -> String {
        loop {
            let said = self.said.recv_timeout(LONG).expect("a child that speaks");
            if let Some(rest) = said.strip_prefix(what) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Counts what an ended process has still said that begins with `what`.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.said
            .iter()
            .filter(|said| said.starts_with(what))
            .count()
    }

    /// Kills the process where it stands.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends the process a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// Has the consumer stop.
    pub(crate) fn close(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Has the consumer stop, and waits until the process has ended well.
    pub(crate) fn stop(&mut self) {
        self.close();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

fn command(url: &str, name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "child::a_child_process_is_a_consumer",
            "--exact",
            "--nocapture",
        ])
        .env(STORE, url)
        .env(NAME, name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// The store that a child opens, opened here.
pub(crate) fn open(url: &str) -> Arc<dyn votive::store::Store> {
    votive::open(url).unwrap()
}
