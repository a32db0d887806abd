//! The task of the crash tests.
#![cfg(test)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::Task;
use votive::task::{self, RetryPolicy};

/// What is to be done about a note; then, as an echo, what is to be done about that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) run: u64,
    pub(crate) number: u32,
    pub(crate) is_echo: bool,
}

impl Task for Answer {
    const KIND: &'static str = "answer";

    /// Tried again at once, and kept when it is done.
    fn options() -> task::Options {
        task::Options {
            retry: RetryPolicy {
                attempts_max: 1_000,
                backoff_min: Duration::from_millis(1),
                backoff_max: Duration::from_millis(2),
                ..RetryPolicy::default()
            },
            retention: Some(Duration::from_secs(86_400)),
            ..task::Options::default()
        }
    }
}

impl Answer {
    pub(crate) fn name(&self) -> String {
        let echo = if self.is_echo { "+" } else { "" };
        format!("{:016x}-{}{echo}", self.run, self.number)
    }

    pub(crate) fn echo(&self) -> Self {
        Self {
            is_echo: true,
            ..self.clone()
        }
    }
}
