//! What the runs of a task left behind: why they failed, how far it came, what it gave. The store
//! keeps this as bytes that it never reads; who settles a claim writes it anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::task::Payload;
use crate::time::Timestamp;

/// The largest number of failures that an account remembers; the older ones are forgotten.
pub const FAILURES_MAX: usize = 10;

/// The longest text that is kept of one error of a chain, in bytes.
const TEXT_MAX: usize = 4096;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The error and its chain of sources, outermost first.
    pub chain: Vec<String>,
    /// When it happened.
    pub at: Timestamp,
    /// How long the attempt took, repetitions after conflicts included.
    pub duration: Duration,
}

/// How far a task of many items has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// How many items are done, counted from the first.
    pub done: u64,
    /// How many items there are.
    pub total: u64,
    /// How many items the next chunk has at most.
    pub size: u64,
    /// How often a chunk took too long; each time gives the next ones more time.
    pub timeouts: u32,
}

/// What the runs of a task left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// Why the last attempts failed, oldest first; at most [`FAILURES_MAX`].
    pub failures: Vec<Failure>,
    /// What the task gave when it was done.
    pub result: Option<Payload>,
    /// How far it is, if it runs in chunks.
    pub position: Option<Position>,
}

impl Account {
    /// Notes a failure, forgetting the oldest one if there are too many, and the end of long texts.
    pub fn note(&mut self, mut failure: Failure) {
        for text in &mut failure.chain {
            if text.len() > TEXT_MAX {
                let cut = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at));
                text.truncate(cut.unwrap_or_default());
                text.push('…');
            }
        }
        self.failures.push(failure);
        let surplus = self.failures.len().saturating_sub(FAILURES_MAX);
        self.failures.drain(..surplus);
    }

    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(attempt: u32, text: String) -> Failure {
        Failure {
            attempt,
            chain: vec![text],
            at: Timestamp::default(),
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn only_the_last_failures_are_remembered() {
        let mut account = Account::default();
        (1..=12).for_each(|attempt| account.note(failure(attempt, "no".to_owned())));
        let attempts: Vec<_> = account.failures.iter().map(|each| each.attempt).collect();
        assert_eq!(attempts, (3..=12).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut account = Account::default();
        account.note(failure(1, format!("x{}", "é".repeat(TEXT_MAX))));
        let text = &account.failures[0].chain[0];
        assert!(text.ends_with("é…") && text.len() < TEXT_MAX + 4);
    }
}
