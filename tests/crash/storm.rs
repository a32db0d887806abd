//! A child that works while its servers are killed and its connections are cut, until all of that is over.
#![cfg(test)]

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crossbeam_channel::{after, select, tick};

use crate::child::{self, Role};
use crate::site::Site;

/// What nothing that a child does takes as long as, however busy the machine is.
const LONG: Duration = Duration::from_secs(120);

/// How long something that need not happen is waited for.
const SHORT: Duration = Duration::from_secs(2);

pub(crate) struct Storm<'a> {
    site: &'a Site,
    child: Child,
}

impl<'a> Storm<'a> {
    /// Starts the child, and waits until it has committed something.
    pub(crate) fn begin(site: &'a Site) -> Self {
        let mut command = child::command(&[], Role::Endure, site);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let said = fs::File::create(site.file("said")).unwrap();
        let child = command.stderr(said).spawn().unwrap();
        let mut storm = Self { site, child };
        storm.wait_for_commits(1);
        storm
    }

    /// Waits until so many more transactions have committed.
    pub(crate) fn wait_for_commits(&mut self, count: usize) {
        self.wait_for(&self.site.acknowledgements(), count);
    }

    /// Waits until so many more transactions were refused. Some are whatever happens.
    pub(crate) fn wait_for_refusals(&mut self, count: usize) {
        self.wait_for(&self.site.refusals(), count);
    }

    fn wait_for(&mut self, file: &Path, count: usize) {
        let lines = || fs::read_to_string(file).unwrap_or_default().lines().count();
        let enough = lines() + count;
        self.wait_until(|| lines() >= enough);
    }

    /// Waits for something to happen while the child works.
    pub(crate) fn wait_until(&mut self, has_happened: impl Fn() -> bool) {
        let happened = self.wait_at_most(LONG, has_happened);
        assert!(happened, "the child is stuck: {}", self.said());
    }

    /// Waits a little for something that need not happen; returns whether it did.
    pub(crate) fn wait_for_a_while(&mut self, has_happened: impl Fn() -> bool) -> bool {
        self.wait_at_most(SHORT, has_happened)
    }

    fn wait_at_most(&mut self, limit: Duration, has_happened: impl Fn() -> bool) -> bool {
        let (again, late) = (tick(Duration::from_millis(2)), after(limit));
        while !has_happened() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the child ended: {}", self.said());
            select! {
                recv(again) -> _ => {}
                recv(late) -> _ => return false,
            }
        }
        true
    }

    fn said(&self) -> String {
        fs::read_to_string(self.site.file("said")).unwrap_or_default()
    }

    /// Lets the child do what is left, and says what is wrong then, a line each.
    pub(crate) fn end(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let late = after(2 * LONG);
        let again = tick(Duration::from_millis(10));
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            select! {
                recv(again) -> _ => {}
                recv(late) -> _ => return vec![format!("the child never ended: {}", self.said())],
            }
        };
        if !status.success() {
            return vec![format!("the child ended with {status}: {}", self.said())];
        }
        child::inspect(self.site)
    }
}

impl Drop for Storm<'_> {
    fn drop(&mut self) {
        // It has ended already if all went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
