//! Looking at everything, a page at a time, so that the server serves others in between.

use super::RedisStore;
use super::error::Result;
use super::reply;
use super::script::{self, Arguments};

/// How many members one look at a page goes through.
const PAGE: usize = 500;

impl RedisStore {
    /// Returns what is wrong, a line each. While others change the store a page may be seen before a
    /// change and another after it, so a fault is one that two looks see.
    pub(super) fn complaints(&self) -> Result<Vec<String>> {
        let first = self.look_at_all()?;
        if first.is_empty() {
            return Ok(first);
        }
        let second = self.look_at_all()?;
        Ok(first
            .into_iter()
            .filter(|fault| second.contains(fault))
            .collect())
    }

    fn look_at_all(&self) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        for what in ["tasks", "lines", "names", "staged"] {
            let mut from = 0;
            loop {
                let arguments = Arguments::default().with(what).shown(from).shown(PAGE);
                let answer = reply::texts(self.link.run(&script::CHECK, arguments)?)?;
                let [next, found @ ..] = &answer[..] else {
                    break;
                };
                faults.extend_from_slice(found);
                match next.parse() {
                    Ok(next) if next > from => from = next,
                    _ => break,
                }
            }
        }
        Ok(faults)
    }
}
