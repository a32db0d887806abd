//! How many runs of a line a claim is likely to need: it locks that many.
//!
//! One too few costs another round trip; one too many is written again, and is passed over by others meanwhile.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::line;

/// What the last claims have shown of the runs of each line.
#[derive(Default)]
pub(super) struct Runs(Mutex<BTreeMap<String, Front>>);

/// What is known of the runs at the front of a line.
#[derive(Clone, Copy)]
struct Front {
    /// How many tasks the last claim left of a run.
    left: usize,
    /// How many tasks a whole run has.
    length: usize,
}

impl Default for Front {
    fn default() -> Self {
        Self {
            left: 0,
            length: line::RUN_MAX,
        }
    }
}

/// The place of a task in its line, by rank and sequence, and whether the one behind it may be in the same run.
pub(super) type Place = ((i64, i64), bool);

impl Runs {
    /// How many runs are likely to hold so many tasks, the first of them what was left by the last claim.
    pub(super) fn needed(&self, queue: &str, tasks: usize) -> usize {
        let fronts = self.0.lock();
        let Front { left, length } = fronts.get(queue).copied().unwrap_or_default();
        let more = tasks.saturating_sub(left).div_ceil(length);
        (usize::from(left > 0) + more).max(1)
    }

    /// Notes which places the tasks had, in their order, that a claim has found, and how many it `left` of a run.
    pub(super) fn found(&self, queue: &str, places: impl IntoIterator<Item = Place>, left: usize) {
        let mut fronts = self.0.lock();
        let before = fronts.get(queue).copied().unwrap_or_default();
        let length = length(before, &parts(places), left);
        fronts.insert(queue.to_owned(), Front { left, length });
    }
}

/// The lengths of the runs that tasks were in, or of the parts of them that were found. Where one goes on in the next,
/// both look like one.
fn parts(places: impl IntoIterator<Item = Place>) -> Vec<usize> {
    let mut parts: Vec<usize> = Vec::new();
    let mut next = None;
    for ((rank, seq), shares) in places {
        match parts.last_mut() {
            Some(last) if shares && next == Some((rank, seq)) => *last += 1,
            _ => parts.push(1),
        }
        next = shares.then_some((rank, seq + 1));
    }
    parts
}

/// How many tasks a whole run has, by these parts: of the first some were taken before if the claim before left any,
/// and of the last some are left. If none is whole, they only say how many there are at least.
fn length(before: Front, parts: &[usize], left: usize) -> usize {
    let end = parts.len().saturating_sub(usize::from(left > 0));
    let whole = parts.get(usize::from(before.left > 0)..end);
    let whole = whole.unwrap_or_default();
    let average = whole.iter().sum::<usize>().checked_div(whole.len());
    let least = || parts.iter().copied().max().unwrap_or(0).max(before.length);
    average.unwrap_or_else(least).clamp(1, line::RUN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claims so many tasks of the runs of one line, and notes how many runs were needed and how many were expected.
    fn claim(runs: &Runs, line: &mut Vec<(i64, i64)>, count: i64) -> (usize, usize) {
        let expected = runs.needed("queue", usize::try_from(count).unwrap());
        let (mut places, mut needed, mut left) = (Vec::new(), 0, 0);
        while let Some((first, last)) = line.first().copied()
            && i64::try_from(places.len()).unwrap() < count
        {
            let more = count - i64::try_from(places.len()).unwrap();
            let end = last.min(first + more - 1);
            places.extend((first..=end).map(|seq| ((first / 1_000, seq), true)));
            needed += 1;
            left = usize::try_from(last - end).unwrap();
            line.remove(0);
            if left > 0 {
                line.insert(0, (end + 1, last));
            }
        }
        runs.found("queue", places, left);
        (needed, expected)
    }

    #[test]
    fn what_a_claim_leaves_of_a_run_is_known_to_the_next() {
        let runs = Runs::default();
        let mut line: Vec<_> = (0..50)
            .map(|run| (1_000 * run, 1_000 * run + 127))
            .collect();
        for _ in 0..40 {
            let (needed, expected) = claim(&runs, &mut line, 100);
            assert_eq!(needed, expected);
        }
    }

    #[test]
    fn the_length_of_whole_runs_is_found_out() {
        let runs = Runs::default();
        let mut line: Vec<_> = (0..50).map(|run| (1_000 * run, 1_000 * run + 59)).collect();
        claim(&runs, &mut line, 60);
        for _ in 0..20 {
            let (needed, expected) = claim(&runs, &mut line, 100);
            assert_eq!(needed, expected);
        }
    }

    #[test]
    fn tasks_that_share_no_run_have_one_each() {
        let runs = Runs::default();
        assert_eq!(
            (runs.needed("queue", 100), runs.needed("queue", 129)),
            (1, 2)
        );
        runs.found("queue", (1..=10).map(|seq| ((7, seq), false)), 0);
        assert_eq!(
            (runs.needed("queue", 100), runs.needed("other", 100)),
            (100, 1)
        );
        runs.found("queue", [], 0);
        assert_eq!(runs.needed("queue", 100), 100);
        runs.found("queue", (1..=10).map(|seq| ((7, seq), true)), 0);
        assert_eq!(runs.needed("queue", 100), 10);
    }
}
