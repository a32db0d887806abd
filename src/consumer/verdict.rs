//! What counts as what: from how a run ended to the settlement that says so. Pure.

use std::error::Error as StdError;
use std::time::Duration;

use crate::store::{Arrival, Claim, Settlement, Verdict};
use crate::task::{Counts, DeadReason, Failure};
use crate::time::Timestamp;

/// How a claim ends, as the consumer sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// The handler succeeded.
    Done,
    /// An error, a panic, a timeout, or more conflicts than are allowed; with the chain of errors.
    Failed(Vec<String>),
    /// Given back, not before this delay: it was not run, or its run counts for nothing.
    Released(Option<Duration>),
    /// Its time to start had passed.
    Expired,
    /// Its consumers died under it too often.
    Worn,
}

/// Judges a claim before it is run; `None` is to run it.
pub(super) fn before_run(claim: &Claim, reclaims_max: u32, now: Timestamp) -> Option<End> {
    let record = &claim.record;
    let expired = record.options.expires_at.is_some_and(|at| at <= now);
    if expired || claim.arrival == Arrival::Expired {
        return Some(End::Expired);
    }
    (record.counts.reclaims >= reclaims_max).then_some(End::Worn)
}

/// Writes the settlement of a claim that ended at `now` after `conflicts` conflicts. `jitter` is drawn
/// evenly from `0.0..1.0`.
pub(super) fn settlement(
    claim: &Claim,
    end: End,
    conflicts: u32,
    now: Timestamp,
    jitter: f64,
) -> Settlement {
    let mut counts = Counts {
        conflicts,
        ..claim.record.counts
    };
    let verdict = match end {
        End::Done => Verdict::Done,
        End::Failed(chain) => {
            counts.attempts = counts.attempts.saturating_add(1);
            counts.conflicts = 0;
            failed(claim, counts.attempts, Failure { chain, at: now }, jitter)
        }
        End::Released(delay) => Verdict::Release {
            at: delay.map(|delay| now.saturating_add(delay)),
        },
        End::Expired => bury(DeadReason::Expired, claim.record.failure.clone()),
        End::Worn => bury(DeadReason::Reclaimed, Some(worn(counts.reclaims, now))),
    };
    Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict,
        counts,
    }
}

fn failed(claim: &Claim, attempts: u32, failure: Failure, jitter: f64) -> Verdict {
    match claim.record.options.retry.delay(attempts, jitter) {
        Some(delay) => Verdict::Retry {
            at: failure.at.saturating_add(delay),
            failure,
        },
        None => bury(DeadReason::Failed, Some(failure)),
    }
}

fn bury(reason: DeadReason, failure: Option<Failure>) -> Verdict {
    Verdict::Bury { reason, failure }
}

fn worn(reclaims: u32, at: Timestamp) -> Failure {
    let chain = vec![format!("its consumer died {reclaims} times")];
    Failure { chain, at }
}

/// Returns an error and its chain of sources, outermost first.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut lines = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        lines.push(error.to_string());
        next = error.source();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, TaskId, Token};
    use crate::task::{Format, Options, Payload, Record, RetryPolicy};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn claim(counts: Counts) -> Claim {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        let retry = RetryPolicy {
            attempts_max: 3,
            ..RetryPolicy::default()
        };
        let options = Options {
            retry,
            ..Options::default()
        };
        let record = Record::new(TaskId::new(NOW), "default", "kind", payload, NOW);
        Claim {
            record: Record {
                counts,
                ..record.with_options(options)
            },
            token: Token::next(Incarnation::random()),
            arrival: Arrival::Fresh,
        }
    }

    fn counts(attempts: u32, conflicts: u32, reclaims: u32) -> Counts {
        Counts {
            attempts,
            conflicts,
            reclaims,
        }
    }

    fn failure(text: &str) -> Failure {
        Failure {
            chain: vec![text.to_owned()],
            at: NOW,
        }
    }

    #[test]
    fn a_failure_counts_one_attempt_resets_conflicts_and_backs_off() {
        let claim = claim(counts(1, 0, 2));
        let settled = settlement(&claim, End::Failed(vec!["no".into()]), 7, NOW, 1.0);
        let at = NOW.saturating_add(Duration::from_secs(2));
        let failure = failure("no");
        assert_eq!(settled.verdict, Verdict::Retry { at, failure });
        assert_eq!(settled.counts, counts(2, 0, 2));
    }

    #[test]
    fn the_last_attempt_is_buried_with_its_failure() {
        let claim = claim(counts(2, 0, 0));
        let settled = settlement(&claim, End::Failed(vec!["no".into()]), 0, NOW, 0.5);
        let failure = Some(failure("no"));
        let reason = DeadReason::Failed;
        assert_eq!(settled.verdict, Verdict::Bury { reason, failure });
        assert_eq!(settled.counts.attempts, 3);
    }

    #[test]
    fn a_release_keeps_every_count_and_the_conflicts_so_far() {
        let claim = claim(counts(1, 2, 3));
        let delay = Duration::from_secs(5);
        let settled = settlement(&claim, End::Released(Some(delay)), 4, NOW, 0.5);
        let at = Some(NOW.saturating_add(delay));
        assert_eq!(settled.verdict, Verdict::Release { at });
        assert_eq!(settled.counts, counts(1, 4, 3));
    }

    #[test]
    fn the_fifth_death_of_a_consumer_is_the_last() {
        assert_eq!(before_run(&claim(counts(0, 0, 4)), 5, NOW), None);
        let claim = claim(counts(0, 0, 5));
        assert_eq!(before_run(&claim, 5, NOW), Some(End::Worn));
        let settled = settlement(&claim, End::Worn, 0, NOW, 0.5);
        let failure = Some(failure("its consumer died 5 times"));
        let reason = DeadReason::Reclaimed;
        assert_eq!(settled.verdict, Verdict::Bury { reason, failure });
    }

    #[test]
    fn a_task_whose_time_passed_while_it_was_held_back_is_not_run() {
        let mut claim = claim(Counts::default());
        std::sync::Arc::make_mut(&mut claim.record.options).expires_at = Some(NOW);
        assert_eq!(before_run(&claim, 5, NOW), Some(End::Expired));
    }

    #[test]
    fn a_chain_has_every_source() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::fmt::Error);
        let lines = chain(&Outer(std::fmt::Error));
        assert_eq!(lines[0], "outer");
        assert_eq!(lines.len(), 2);
    }
}
