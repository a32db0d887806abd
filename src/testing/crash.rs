//! Kills an application at random instants, again and again on the same data, and has what it left
//! compared with its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{after, never, select, tick};

use crate::id::Incarnation;
use crate::queue::recover_older_than;
use crate::store::{self, Store};
use crate::time::{Clock as _, SystemClock};
use crate::txn::{BoxError, TransactionManager};

/// How often a child is looked at.
const PAUSE: Duration = Duration::from_millis(1);

/// Kills a program at random instants. Made for the tests of an application; the program is the
/// application itself, or the test's own executable with an argument that makes it do the work.
///
/// ```no_run
/// use std::process::Command;
/// use votive::testing::{CrashTest, compare, settle};
/// # fn orders() -> Result<Vec<String>, votive::txn::BoxError> { Ok(Vec::new()) }
/// # fn mails(_: &dyn votive::store::Store) -> Result<Vec<String>, votive::txn::BoxError> { Ok(Vec::new()) }
///
/// let report = CrashTest::new().rounds(50).run(
///     || Command::new("target/debug/shop"),
///     || {
///         let store = votive::open("sqlite:tasks.db")?;
///         let manager = votive::TransactionManager::new(); // that knows the register of the shop
///         settle(&store, &manager)?;
///         Ok(compare(orders()?, mails(&*store)?))
///     },
/// )?;
/// assert!(report.killed > 10);
/// # Ok::<(), votive::testing::CrashError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is killed before it is run"]
pub struct CrashTest {
    rounds: usize,
}

/// What came of a crash test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashReport {
    /// How often the program was killed before it ended.
    pub killed: usize,
    /// How often it ended first.
    pub finished: usize,
}

/// Why a crash test failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrashError {
    /// The program could not be started, or not be killed.
    #[error("the program could not be started or killed")]
    Process(#[from] io::Error),
    /// The program ended by itself, and not well.
    #[error("in round {round} the program ended with {status} by itself")]
    #[non_exhaustive]
    Failed {
        /// Which round, from 0: nothing was killed before the first.
        round: usize,
        /// How it ended.
        status: ExitStatus,
    },
    /// What the program left could not be looked at.
    #[error("after round {round} the check failed")]
    #[non_exhaustive]
    Check {
        /// Which round, from 0.
        round: usize,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Something is wrong with what the program left.
    #[error("after round {round}:\n{}", complaints.join("\n"))]
    #[non_exhaustive]
    Broken {
        /// Which round, from 0.
        round: usize,
        /// What, a line each.
        complaints: Vec<String>,
    },
    /// The program always ended before it was killed, so that nothing is shown.
    #[error("the program was never killed in {rounds} rounds: have it work for longer")]
    #[non_exhaustive]
    NeverKilled {
        /// How many rounds there were.
        rounds: usize,
    },
}

impl Default for CrashTest {
    fn default() -> Self {
        Self::new()
    }
}

impl CrashTest {
    /// A test of 20 rounds.
    pub fn new() -> Self {
        Self { rounds: 20 }
    }

    /// Sets how many processes are killed.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds;
        self
    }

    /// Runs the program once to its end, to see how long it takes. Then, for each round, starts it anew on
    /// what is there, kills it at an instant of that time, and calls `check`, which returns what is wrong, a
    /// line each.
    ///
    /// # Blocking
    /// For about half as long as all the rounds would take.
    ///
    /// # Errors
    /// At the first thing that is wrong, as [`CrashError`] says; what the program left is as it was then.
    pub fn run(
        self,
        mut program: impl FnMut() -> Command,
        mut check: impl FnMut() -> Result<Vec<String>, BoxError>,
    ) -> Result<CrashReport, CrashError> {
        let mut report = CrashReport {
            killed: 0,
            finished: 0,
        };
        let begun = SystemClock.now();
        attempt(&mut program, 0, None)?;
        let whole = SystemClock.now().since(begun);
        judge(0, &mut check)?;
        for round in 1..=self.rounds {
            let delay = whole.mul_f64(random());
            if attempt(&mut program, round, Some(delay))? {
                report.killed += 1;
            } else {
                report.finished += 1;
            }
            judge(round, &mut check)?;
        }
        if report.killed == 0 {
            let rounds = self.rounds;
            return Err(CrashError::NeverKilled { rounds });
        }
        Ok(report)
    }
}

/// Runs the program once, and kills it after `delay`; returns whether it had to be killed.
fn attempt(
    program: &mut impl FnMut() -> Command,
    round: usize,
    delay: Option<Duration>,
) -> Result<bool, CrashError> {
    let mut child = program().spawn()?;
    match ended_within(&mut child, delay)? {
        Some(status) if status.success() => Ok(false),
        Some(status) => Err(CrashError::Failed { round, status }),
        None => {
            child.kill()?;
            child.wait()?;
            Ok(true)
        }
    }
}

/// Waits for the end of a child, for at most `delay`.
fn ended_within(child: &mut Child, delay: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let (again, late) = (tick(PAUSE), delay.map_or_else(never, after));
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        select! {
            recv(again) -> _ => {}
            recv(late) -> _ => return Ok(None),
        }
    }
}

fn judge(
    round: usize,
    check: &mut impl FnMut() -> Result<Vec<String>, BoxError>,
) -> Result<(), CrashError> {
    let complaints = check().map_err(|source| CrashError::Check { round, source })?;
    if complaints.is_empty() {
        return Ok(());
    }
    Err(CrashError::Broken { round, complaints })
}

/// Draws from `0.0..1.0`.
fn random() -> f64 {
    let bits = Incarnation::random().to_u64() >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
}

/// Compares what was committed with what was enqueued for it, by names that belong to both: returns what
/// differs, a line each.
pub fn compare(
    committed: impl IntoIterator<Item = String>,
    enqueued: impl IntoIterator<Item = String>,
) -> Vec<String> {
    let committed: BTreeSet<_> = committed.into_iter().collect();
    let mut counts = BTreeMap::<_, usize>::new();
    for name in enqueued {
        *counts.entry(name).or_default() += 1;
    }
    let lost = committed.iter().filter(|name| !counts.contains_key(*name));
    let lost = lost.map(|name| format!("`{name}` was committed, but not enqueued"));
    let wrong = counts.iter().filter_map(|(name, count)| {
        if !committed.contains(name) {
            Some(format!("`{name}` was enqueued, but not committed"))
        } else if *count > 1 {
            Some(format!("`{name}` was enqueued {count} times"))
        } else {
            None
        }
    });
    lost.chain(wrong).collect()
}

/// Settles at once what a crash left in doubt, as recovery would do after its grace period. The manager
/// must know the registers of the application.
///
/// # Errors
/// The store failed, or something stays in doubt because its register cannot be asked.
pub fn settle(store: &Arc<dyn Store>, manager: &TransactionManager) -> store::Result<()> {
    let recovered = recover_older_than(store, manager, Duration::ZERO)?;
    if recovered.in_doubt == 0 {
        return Ok(());
    }
    let text = format!("{} transactions stay in doubt", recovered.in_doubt);
    let backend = store.capabilities().backend;
    Err(store::Error::new(
        store::Kind::Invalid(text),
        backend,
        "settle what is in doubt",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_undead_or_doubled_is_named() {
        let names = |of: &[&str]| of.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(compare(names(&["a", "b"]), names(&["b", "a"])).is_empty());
        let complaints = compare(names(&["a", "b"]), names(&["b", "b", "c"]));
        let expected = [
            "`a` was committed, but not enqueued",
            "`b` was enqueued 2 times",
            "`c` was enqueued, but not committed",
        ];
        assert_eq!(complaints, expected);
    }
}
