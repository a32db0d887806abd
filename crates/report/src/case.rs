//! One piece of work on one store, by votive or by a peer, with its rounds.

use serde::{Deserialize, Serialize};

use crate::figure::{figure, median};
use crate::work::Work;

/// A piece of work, measured in rounds of which each ran the raw loop and then the other side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Who did it: `votive 0.1.0`, or a peer and its version.
    pub by: String,
    /// `sqlite`, `memory`, `file`, `redis` or `postgres`.
    pub store: String,
    /// The kind of work.
    pub work: Work,
    /// What tells it from others of its kind, such as `4 workers`; a peer's is compared with ours of this name.
    pub name: String,
    /// Of ours, what the raw loop does; of a peer, how it was set.
    pub note: String,
    /// What it is to reach.
    #[serde(default)]
    pub goals: Vec<Goal>,
    /// In order of time.
    pub rounds: Vec<Round>,
}

/// One turn of both sides.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Round {
    /// The raw limit, where there is one.
    #[serde(default)]
    pub raw: Option<Sample>,
    /// Whose figure this is.
    pub own: Sample,
}

/// What one side did in one round.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Sample {
    /// In the unit of the work; of times the median.
    pub value: f64,
    /// Of times, what 99 of a hundred stay below.
    #[serde(default)]
    pub p99: Option<f64>,
    /// Waits for the disk per task.
    #[serde(default)]
    pub flushes: Option<f64>,
    /// Times per task that a server had something to read.
    #[serde(default)]
    pub trips: Option<f64>,
}

/// What a case is to reach, by the medians of its rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// So much of the raw limit at least.
    Ratio(f64),
    /// So many flushes per task at most.
    Flushes(f64),
    /// So many flushes per task more than the raw loop at most.
    ExtraFlushes(f64),
    /// Less than this, in the unit of the work.
    Below(f64),
    /// So many times the raw limit's 99th percentile at most.
    P99(f64),
}

impl Case {
    /// The middle of what `of` finds in the rounds.
    #[must_use]
    pub fn median_of(&self, of: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(of).collect())
    }

    /// The quotients of the two sides, in ascending order; what took no time has none.
    #[must_use]
    pub fn ratios(&self) -> Vec<f64> {
        let ratio = |round: &Round| Some(round.own.value / round.raw?.value);
        let ratios = self.rounds.iter().filter_map(ratio);
        let mut ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// Whether `goal` is reached; `None` if what it is about was not measured.
    #[must_use]
    pub fn reaches(&self, goal: Goal) -> Option<bool> {
        let flushes = self.median_of(|round| round.own.flushes);
        Some(match goal {
            Goal::Ratio(least) => median(self.ratios())? >= least,
            Goal::Flushes(most) => flushes? <= most,
            Goal::ExtraFlushes(most) => {
                flushes? - self.median_of(|round| round.raw?.flushes)? <= most
            }
            Goal::Below(most) => self.median_of(|round| Some(round.own.value))? < most,
            Goal::P99(most) => self.p99_ratio()? <= most,
        })
    }

    /// How many times the raw limit's 99th percentile ours is.
    fn p99_ratio(&self) -> Option<f64> {
        Some(self.median_of(|round| round.own.p99)? / self.median_of(|round| round.raw?.p99)?)
    }

    /// The case as a line of a table in a terminal.
    #[must_use]
    pub fn line(&self) -> String {
        let goals: Vec<String> = self.goals.iter().map(|goal| self.judged(*goal)).collect();
        format!(
            "{:<9}{} {:<38} raw {:>9} own {:>9}  ratio {:<18} flushes {:>13}  trips {:>13}  {}",
            self.store,
            self.work,
            self.name,
            figure(self.median_of(|round| Some(round.raw?.value))),
            figure(self.median_of(|round| Some(round.own.value))),
            self.ratio_text(),
            self.both(|sample| sample.flushes),
            self.both(|sample| sample.trips),
            goals.join(", "),
        )
    }

    /// Whether votive did it.
    pub(crate) fn is_ours(&self) -> bool {
        self.by.starts_with("votive ")
    }

    /// The ratio's median and spread.
    pub(crate) fn ratio_text(&self) -> String {
        let ratios = self.ratios();
        match (ratios.first(), median(ratios.clone()), ratios.last()) {
            (Some(low), Some(middle), Some(high)) => format!("{middle:.2} ({low:.2}–{high:.2})"),
            _ => "–".to_owned(),
        }
    }

    /// A figure of the raw side and of the other.
    pub(crate) fn both(&self, of: impl Fn(&Sample) -> Option<f64>) -> String {
        let raw = self.median_of(|round| of(&round.raw?));
        let own = self.median_of(|round| of(&round.own));
        match (raw, own) {
            (None, None) => "–".to_owned(),
            (raw, own) => format!("{} / {}", figure(raw), figure(own)),
        }
    }

    /// The goal, and whether it is reached.
    pub(crate) fn judged(&self, goal: Goal) -> String {
        let verdict = match self.reaches(goal) {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "not measured",
        };
        let asked = match goal {
            Goal::Ratio(least) => format!("ratio ≥ {least}"),
            Goal::Flushes(most) => format!("flushes ≤ {most}"),
            Goal::ExtraFlushes(most) => format!("flushes ≤ raw + {most}"),
            Goal::Below(most) => format!("< {most} {}", self.work.unit().name()),
            Goal::P99(most) => format!("p99 ≤ {most} × raw, is {} ×", figure(self.p99_ratio())),
        };
        format!("{asked}: {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(rounds: &[(f64, f64)]) -> Case {
        let sample = |value| Sample {
            value,
            flushes: Some(value / 100.0),
            ..Sample::default()
        };
        let round = |(raw, own): &(f64, f64)| Round {
            raw: Some(sample(*raw)),
            own: sample(*own),
        };
        Case {
            by: "votive".into(),
            store: "memory".into(),
            work: Work::W1,
            name: "one producer".into(),
            note: "by hand".into(),
            goals: Vec::new(),
            rounds: rounds.iter().map(round).collect(),
        }
    }

    #[test]
    fn a_ratio_is_the_middle_one_of_the_rounds_and_not_that_of_the_middle_figures() {
        let case = case(&[(100.0, 90.0), (10.0, 4.0), (1000.0, 500.0)]);
        assert_eq!(case.reaches(Goal::Ratio(0.5)), Some(true));
        assert_eq!(case.reaches(Goal::Ratio(0.51)), Some(false));
        assert_eq!(case.ratio_text(), "0.50 (0.40–0.90)");
    }

    #[test]
    fn flushes_are_judged_alone_and_beside_the_raw_loop() {
        let case = case(&[(100.0, 103.0)]);
        assert_eq!(case.reaches(Goal::Flushes(1.03)), Some(true));
        assert_eq!(case.reaches(Goal::Flushes(1.02)), Some(false));
        assert_eq!(case.reaches(Goal::ExtraFlushes(0.04)), Some(true));
        assert_eq!(case.reaches(Goal::ExtraFlushes(0.02)), Some(false));
    }

    #[test]
    fn what_took_no_time_has_no_ratio() {
        let case = case(&[(0.0, 0.0), (0.0, 1.0)]);
        assert_eq!(case.ratio_text(), "–");
        assert_eq!(case.reaches(Goal::Ratio(0.5)), None);
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_missed() {
        assert_eq!(case(&[]).reaches(Goal::Ratio(0.5)), None);
        assert_eq!(case(&[(1.0, 1.0)]).reaches(Goal::P99(3.0)), None);
    }
}
