//! A process that keeps a timetable: this test program once more, told by its environment where its store is.
#![cfg(test)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use votive::{CatchUp, Consumer, Registry};

use crate::scene::entry;

const STORE: &str = "VOTIVE_TEST_STORE";

/// The entry that the process keeps.
pub(crate) const NAME: &str = "ticks";
pub(crate) const SCHEDULE: &str = "every 1s";

/// What the child process does; nothing in the parent.
#[test]
fn a_child_process_keeps_a_timetable() {
    let Ok(url) = std::env::var(STORE) else {
        return;
    };
    let ticks = entry(NAME, SCHEDULE).catch_up(CatchUp::All);
    let consumer = Consumer::builder(votive::open(&url).unwrap(), Registry::new());
    let running = consumer.queue("idle").periodic(ticks).start().unwrap();
    println!("\nchild: keeps");
    assert_eq!(std::io::stdin().read(&mut [0]).unwrap(), 0);
    running.stop();
}

/// A process that keeps the timetable; killed when it is dropped.
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Starts a process and waits until its consumer has started.
    pub(crate) fn start(url: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "child::a_child_process_keeps_a_timetable",
                "--exact",
                "--nocapture",
            ])
            .env(STORE, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut said = lines.map_while(Result::ok);
        assert!(
            said.any(|line| line == "child: keeps"),
            "the child has died"
        );
        Self(child)
    }

    /// Kills the process where it stands.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Has the consumer stop, and waits until the process has ended well.
    pub(crate) fn stop(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}
