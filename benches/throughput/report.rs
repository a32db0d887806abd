//! Medians, ratios, and how they are printed.

use serde_json::{Value, json};

/// One run of one side.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// Tasks per second.
    pub rate: f64,
    /// Waits for the disk per task.
    pub flushes: Option<f64>,
}

/// All rounds of one piece of work; each round ran both sides, one after the other.
pub(crate) struct Work {
    /// Its name.
    pub name: &'static str,
    /// What the raw loop does.
    pub raw_name: &'static str,
    /// The ratio that the project promises; `None` where none is promised.
    pub goal: Option<f64>,
    /// (raw, votive) by round.
    pub rounds: Vec<(Run, Run)>,
}

impl Work {
    fn median(&self, of: impl Fn(&(Run, Run)) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(of).collect())
    }

    fn ratios(&self) -> Vec<f64> {
        let mut ratios: Vec<f64> = self
            .rounds
            .iter()
            .map(|(raw, own)| own.rate / raw.rate)
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// Prints the work as a line of the table.
    pub(crate) fn print(&self) {
        let rate = |value: Option<f64>| value.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
        let flushes = |value: Option<f64>| value.map_or("-".to_owned(), |n| format!("{n:.3}"));
        let ratios = self.ratios();
        let ratio = median(ratios.clone()).unwrap_or(f64::NAN);
        let spread = match (ratios.first(), ratios.last()) {
            (Some(low), Some(high)) => format!("{low:.2}–{high:.2}"),
            _ => String::new(),
        };
        println!(
            "{:<34} {:>10} {:>10}  {:>5.2} ({spread})  goal {:<5} flushes raw {:>6} votive {:>6}  raw: {}",
            self.name,
            rate(self.median(|(raw, _)| Some(raw.rate))),
            rate(self.median(|(_, own)| Some(own.rate))),
            ratio,
            self.goal.map_or("-".to_owned(), |goal| format!("≥{goal}")),
            flushes(self.median(|(raw, _)| raw.flushes)),
            flushes(self.median(|(_, own)| own.flushes)),
            self.raw_name,
        );
    }

    /// Returns the work as JSON.
    pub(crate) fn json(&self) -> Value {
        let run = |run: &Run| json!({ "rate": run.rate, "flushes_per_task": run.flushes });
        let rounds = self.rounds.iter();
        let rounds: Vec<Value> = rounds
            .map(|(raw, own)| json!({ "raw": run(raw), "votive": run(own) }))
            .collect();
        json!({
            "work": self.name, "raw": self.raw_name, "goal": self.goal, "rounds": rounds,
            "ratio_median": median(self.ratios()),
        })
    }
}

/// Returns the middle value.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Returns the value below which `share` of the values lie.
pub(crate) fn percentile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    #[expect(clippy::cast_precision_loss, reason = "far fewer values than 2^52")]
    let index = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(index).copied()
}
