//! A piece of work that is yet to be measured.

use votive_report::{Case, Goal, Round, Sample, Work};

use crate::setting::{Result, Setting};

/// A side that is made once, and then measured in each round.
pub(crate) type Side = Box<dyn FnMut(&Setting) -> Result<Sample>>;

/// Both sides, the raw one first.
pub(crate) type Both = (Side, Side);

type Make = Box<dyn Fn(&Setting) -> Result<Both>>;
type Fresh = Box<dyn Fn(&Setting) -> Result<Sample>>;

enum Sides {
    /// Both are made anew for each round.
    Fresh(Fresh, Fresh),
    /// There is no raw limit.
    Alone(Fresh),
    /// Both are made before the first round: they take long to make.
    Kept(Make),
}

/// A case and how it is measured.
pub(crate) struct Job {
    /// What it is; without rounds.
    pub case: Case,
    sides: Sides,
}

/// Describes a case; `note` says what the raw loop does.
pub(crate) fn describe(store: &str, work: Work, name: &str, note: &str) -> Described {
    Described(Case {
        by: concat!("votive ", env!("CARGO_PKG_VERSION")).to_owned(),
        store: store.to_owned(),
        work,
        name: name.to_owned(),
        note: note.to_owned(),
        goals: Vec::new(),
        rounds: Vec::new(),
    })
}

/// A case that needs no more than its sides.
pub(crate) struct Described(Case);

impl Described {
    /// Both sides, each made anew for each round.
    pub(crate) fn fresh(
        self,
        raw: impl Fn(&Setting) -> Result<Sample> + 'static,
        own: impl Fn(&Setting) -> Result<Sample> + 'static,
    ) -> Job {
        self.with(Sides::Fresh(Box::new(raw), Box::new(own)))
    }

    /// One side only.
    pub(crate) fn alone(self, own: impl Fn(&Setting) -> Result<Sample> + 'static) -> Job {
        self.with(Sides::Alone(Box::new(own)))
    }

    /// Both sides, made once for all rounds.
    pub(crate) fn kept(self, make: impl Fn(&Setting) -> Result<Both> + 'static) -> Job {
        self.with(Sides::Kept(Box::new(make)))
    }

    fn with(self, sides: Sides) -> Job {
        Job {
            case: self.0,
            sides,
        }
    }
}

impl Job {
    /// The same under another name, beside another loop.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.case.name);
        self
    }

    /// What the case is to reach.
    pub(crate) fn reach(mut self, goals: impl Into<Vec<Goal>>) -> Self {
        self.case.goals = goals.into();
        self
    }

    /// Runs all rounds.
    pub(crate) fn run(mut self, setting: &Setting) -> Result<Case> {
        let mut kept = match &self.sides {
            Sides::Kept(make) => Some(make(setting)?),
            _ => None,
        };
        for _ in 0..setting.rounds_of(self.case.work) {
            let (raw, own) = match (&self.sides, &mut kept) {
                (Sides::Fresh(raw, own), _) => (Some(raw(setting)?), own(setting)?),
                (Sides::Alone(own), _) => (None, own(setting)?),
                (Sides::Kept(_), Some((raw, own))) => (Some(raw(setting)?), own(setting)?),
                (Sides::Kept(_), None) => return Err("sides that were not made".into()),
            };
            self.case.rounds.push(Round { raw, own });
        }
        Ok(self.case)
    }
}
