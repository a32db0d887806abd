//! What counts as what: from how a run ended to the settlement that says so. Pure.

use std::error::Error as StdError;
use std::time::Duration;

use crate::handler::{Outcome, Rest};
use crate::store::{Arrival, Claim, Settlement, Verdict};
use crate::task::{Account, Counts, DeadReason, Failure, Position};
use crate::time::Timestamp;

/// The most that timeouts of chunks are counted, so that what they lead to stays within bounds.
const TIMEOUTS_MAX: u32 = 10;

/// What the time of an attempt is multiplied by for each time that a chunk took too long.
const TIMEOUT_FACTOR: f64 = 1.5;

/// How a claim ends, as the consumer sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// The handler succeeded, with all or with a part.
    Done(Outcome),
    /// An error, a panic, a timeout, or more conflicts than are allowed.
    Failed(Mishap),
    /// Given back, not before this delay: it was not run, or its run counts for nothing.
    Released(Option<Duration>),
    /// Its time to start had passed.
    Expired,
    /// Its consumers died under it too often.
    Worn,
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Mishap {
    /// The error and its sources, outermost first.
    pub(super) chain: Vec<String>,
    pub(super) timed_out: bool,
    pub(super) duration: Duration,
    /// The largest chunk of tasks of this kind, if they run in chunks.
    pub(super) chunk_size: Option<u64>,
    /// How far the task was when the handler began, if that has said so.
    pub(super) position: Option<Position>,
}

impl End {
    pub(super) fn failed(chain: Vec<String>) -> Self {
        Self::Failed(Mishap::new(chain))
    }

    /// Notes how far the task was, if that is of interest.
    pub(super) fn in_chunk(mut self, position: Option<Position>) -> Self {
        if let Self::Failed(mishap) = &mut self {
            mishap.position = position;
        }
        self
    }

    /// Notes how long the run took, if that is of interest.
    pub(super) fn lasting(mut self, duration: Duration) -> Self {
        if let Self::Failed(mishap) = &mut self {
            mishap.duration = duration;
        }
        self
    }
}

impl Mishap {
    /// Where the chunk began that failed. A handler that has said nothing never began one, or is still at it: then
    /// there may be many items.
    fn position(&self, before: Option<Position>, size_max: u64) -> Option<Position> {
        let unknown = Position {
            done: 0,
            total: u64::MAX,
            size: size_max,
            timeouts: 0,
        };
        let said = before.or(self.position);
        said.or_else(|| self.timed_out.then_some(unknown))
    }

    pub(super) fn new(chain: Vec<String>) -> Self {
        Self {
            chain,
            ..Self::default()
        }
    }
}

/// Returns how long an attempt may take: longer after chunks that took too long.
pub(super) fn timeout(timeout: Duration, position: Option<Position>) -> Duration {
    let timeouts = position.map_or(0, |position| position.timeouts);
    let exponent = i32::try_from(timeouts.min(TIMEOUTS_MAX)).unwrap_or_default();
    let seconds = timeout.as_secs_f64() * TIMEOUT_FACTOR.powi(exponent);
    Duration::try_from_secs_f64(seconds).unwrap_or(timeout)
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
    let counts = Counts {
        conflicts,
        ..claim.record.counts
    };
    let mut settlement = Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Done,
        counts,
        account: None,
    };
    match end {
        End::Done(outcome) => done(&mut settlement, claim, outcome, now),
        End::Failed(mishap) => failed(&mut settlement, claim, mishap, (now, jitter)),
        End::Released(delay) => {
            let at = delay.map(|delay| now.saturating_add(delay));
            settlement.verdict = Verdict::Release { at };
        }
        End::Expired => settlement.verdict = bury(DeadReason::Expired),
        End::Worn => {
            settlement.verdict = bury(DeadReason::Reclaimed);
            settlement.account = Some(Box::new(noting(claim, worn(counts, now))));
        }
    }
    settlement
}

/// Done, or with a part of it: then the task goes to the end of the line, and starts afresh there.
fn done(settlement: &mut Settlement, claim: &Claim, outcome: Outcome, now: Timestamp) {
    let record = &claim.record;
    let mut account = account(claim);
    let is_part = outcome.is_part();
    account.result = outcome.result.filter(|_| !is_part);
    if let Some(Rest { position, pause }) = outcome.rest {
        account.position = Some(position);
        if is_part {
            let at = Some(now.saturating_add(pause));
            settlement.verdict = Verdict::Release { at };
            settlement.counts = Counts::default();
        }
    }
    let is_kept = settlement.verdict != Verdict::Done || record.options.retention.is_some();
    let is_new = self::account(claim) != account;
    settlement.account = (is_kept && is_new).then(|| Box::new(account));
}

fn failed(
    settlement: &mut Settlement,
    claim: &Claim,
    mishap: Mishap,
    (now, jitter): (Timestamp, f64),
) {
    let attempt = claim.record.counts.attempts.saturating_add(1);
    let retry = claim.record.options.retry;
    let before = account(claim).position;
    let chunk = mishap.chunk_size.and_then(|size_max| {
        let position = mishap.position(before, size_max)?;
        Some((position, size_max))
    });
    let timed_out = mishap.timed_out;
    let mut account = noting(
        claim,
        Failure {
            attempt,
            chain: mishap.chain,
            at: now,
            duration: mishap.duration,
        },
    );
    let is_halved = chunk.is_some_and(|(position, size_max)| {
        let (position, size) = halved(position, size_max, timed_out);
        account.position = Some(position);
        size > 1
    });
    settlement.account = Some(Box::new(account));
    settlement.counts.conflicts = 0;
    let delay = if is_halved {
        Some(retry.delay(1, jitter).unwrap_or_default())
    } else {
        settlement.counts.attempts = attempt;
        retry.delay(attempt, jitter)
    };
    settlement.verdict = match delay {
        Some(delay) => Verdict::Retry {
            at: now.saturating_add(delay),
        },
        None => bury(DeadReason::Failed),
    };
}

/// Makes the next chunk half as large as the one that failed; returns how large that was.
///
/// Only what fails by itself counts as an attempt: which of many items is at fault is not known yet.
fn halved(mut position: Position, size_max: u64, timed_out: bool) -> (Position, u64) {
    let left = position.total.saturating_sub(position.done);
    let size = position.size.min(size_max).min(left).max(1);
    position.size = (size / 2).max(1);
    position.timeouts = (position.timeouts + u32::from(timed_out)).min(TIMEOUTS_MAX);
    (position, size)
}

fn bury(reason: DeadReason) -> Verdict {
    Verdict::Bury { reason }
}

fn account(claim: &Claim) -> Account {
    claim.record.account.as_deref().cloned().unwrap_or_default()
}

/// Returns the account of a task with one failure more.
fn noting(claim: &Claim, failure: Failure) -> Account {
    let mut account = account(claim);
    account.note(failure);
    account
}

fn worn(counts: Counts, at: Timestamp) -> Failure {
    Failure {
        attempt: counts.attempts.saturating_add(1),
        chain: vec![format!("its consumer died {} times", counts.reclaims)],
        at,
        duration: Duration::ZERO,
    }
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

    fn said(settlement: &Settlement) -> Vec<&str> {
        let failures = settlement.account.iter().flat_map(|each| &each.failures);
        failures.map(|failure| &*failure.chain[0]).collect()
    }

    fn no() -> End {
        End::Failed(Mishap::new(vec!["no".to_owned()]))
    }

    fn chunk_fails(claim: &Claim, timed_out: bool) -> Settlement {
        let mishap = Mishap {
            timed_out,
            chunk_size: Some(8),
            position: Some(position(0, 8)),
            ..Mishap::default()
        };
        settlement(claim, End::Failed(mishap), 0, NOW, 0.5)
    }

    fn position(done: u64, size: u64) -> Position {
        Position {
            done,
            total: 20,
            size,
            timeouts: 0,
        }
    }

    fn part(position: Position) -> End {
        End::Done(Outcome {
            result: None,
            rest: Some(Rest {
                position,
                pause: Duration::from_secs(3),
            }),
        })
    }

    #[test]
    fn a_failure_counts_one_attempt_resets_conflicts_and_backs_off() {
        let claim = claim(counts(1, 0, 2));
        let settled = settlement(&claim, no(), 7, NOW, 1.0);
        let at = NOW.saturating_add(Duration::from_secs(2));
        assert_eq!(settled.verdict, Verdict::Retry { at });
        assert_eq!(said(&settled), ["no"]);
        assert_eq!(settled.counts, counts(2, 0, 2));
    }

    #[test]
    fn the_last_attempt_is_buried_with_its_failure() {
        let claim = claim(counts(2, 0, 0));
        let settled = settlement(&claim, no(), 0, NOW, 0.5);
        let reason = DeadReason::Failed;
        assert_eq!(settled.verdict, Verdict::Bury { reason });
        assert_eq!(said(&settled), ["no"]);
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
        let reason = DeadReason::Reclaimed;
        assert_eq!(settled.verdict, Verdict::Bury { reason });
        assert_eq!(said(&settled), ["its consumer died 5 times"]);
    }

    #[test]
    fn a_task_whose_time_passed_while_it_was_held_back_is_not_run() {
        let mut claim = claim(Counts::default());
        std::sync::Arc::make_mut(&mut claim.record.options).expires_at = Some(NOW);
        assert_eq!(before_run(&claim, 5, NOW), Some(End::Expired));
    }

    #[test]
    fn a_chunk_that_fails_is_halved_and_counts_no_attempt_until_it_has_one_item() {
        let mut claim = claim(counts(0, 0, 0));
        for size in [4, 2, 1] {
            let settled = chunk_fails(&claim, false);
            assert!(matches!(settled.verdict, Verdict::Retry { .. }));
            assert_eq!(settled.counts.attempts, 0);
            assert_eq!(
                settled.account.as_ref().unwrap().position.unwrap().size,
                size
            );
            claim.record.account = settled.account;
        }
        assert_eq!(chunk_fails(&claim, false).counts.attempts, 1);
    }

    #[test]
    fn what_fails_before_its_first_chunk_counts_at_once_unless_it_took_too_long() {
        let fails = |timed_out| {
            let mishap = Mishap {
                timed_out,
                chunk_size: Some(8),
                ..Mishap::new(vec!["no".to_owned()])
            };
            let claim = claim(counts(0, 0, 0));
            settlement(&claim, End::Failed(mishap), 0, NOW, 0.5)
                .counts
                .attempts
        };
        assert_eq!([fails(false), fails(true)], [1, 0]);
    }

    #[test]
    fn a_chunk_that_timed_out_gives_the_next_half_as_much_time_again() {
        let mut claim = claim(counts(0, 0, 0));
        claim.record.account = chunk_fails(&claim, true).account;
        let settled = chunk_fails(&claim, true);
        let position = settled.account.unwrap().position;
        let longer = timeout(Duration::from_secs(4), position);
        assert_eq!(longer, Duration::from_secs(9));
        assert_eq!(
            timeout(Duration::from_secs(4), None),
            Duration::from_secs(4)
        );
    }

    #[test]
    fn a_part_gives_the_claim_back_with_its_counts_at_zero() {
        let claim = claim(counts(2, 1, 3));
        let settled = settlement(&claim, part(position(5, 10)), 4, NOW, 0.5);
        let at = Some(NOW.saturating_add(Duration::from_secs(3)));
        assert_eq!(settled.verdict, Verdict::Release { at });
        assert_eq!(settled.counts, Counts::default());
        assert_eq!(settled.account.unwrap().position, Some(position(5, 10)));
    }

    #[test]
    fn the_last_part_is_the_end() {
        let claim = claim(counts(0, 0, 0));
        let settled = settlement(&claim, part(position(20, 10)), 0, NOW, 0.5);
        assert_eq!((settled.verdict, settled.account), (Verdict::Done, None));
    }

    #[test]
    fn a_result_is_kept_only_with_a_retention() {
        let mut claim = claim(counts(0, 0, 0));
        let result = Some(claim.record.payload.clone());
        let outcome = Outcome { result, rest: None };
        let done = || End::Done(outcome.clone());
        assert_eq!(settlement(&claim, done(), 0, NOW, 0.5).account, None);
        std::sync::Arc::make_mut(&mut claim.record.options).retention =
            Some(Duration::from_secs(1));
        let account = settlement(&claim, done(), 0, NOW, 0.5).account.unwrap();
        assert_eq!(account.result, outcome.result);
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
