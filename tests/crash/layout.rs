//! The matrix: who enqueues, where the effects of tasks go, and where a process may die.
#![cfg(test)]

use std::fmt;

/// How notes and their tasks are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Producer {
    /// Enlisted: one file, and a participant that commits.
    Ours,
    /// Enlisted: one file, and the application commits by itself.
    Yours,
    /// Prepared: notes in one file, tasks in another.
    Prepared,
}

/// Where a handler writes, in the transaction that its task's settlement joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effects {
    /// In the file of the tasks.
    Beside,
    /// In another file.
    Apart,
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Layout {
    pub(crate) producer: Producer,
    pub(crate) effects: Effects,
}

impl Layout {
    pub(crate) const ALL: [Self; 6] = [
        Self::new(Producer::Ours, Effects::Beside),
        Self::new(Producer::Ours, Effects::Apart),
        Self::new(Producer::Yours, Effects::Beside),
        Self::new(Producer::Yours, Effects::Apart),
        Self::new(Producer::Prepared, Effects::Beside),
        Self::new(Producer::Prepared, Effects::Apart),
    ];

    pub(crate) const fn new(producer: Producer, effects: Effects) -> Self {
        Self { producer, effects }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        let named = |layout: &Self| layout.to_string() == name;
        Self::ALL.into_iter().find(named).expect("a layout")
    }

    /// The durable steps that this layout takes.
    pub(crate) fn steps(self) -> Vec<&'static str> {
        let always: &[_] = &[
            "rusqlite.commit",
            "sqlite.apply",
            "sqlite.claim",
            "sqlite.decide",
            "sqlite.forget",
        ];
        let yours: &[_] = match self.producer {
            Producer::Yours => &["application"],
            Producer::Ours | Producer::Prepared => &[],
        };
        let two_files: &[_] = if self.is_prepared() {
            &[
                "sqlite.stage",
                "sqlite.publish",
                "sqlite.discard",
                "sqlite.forgettable",
                "rusqlite.decide",
                "rusqlite.forget",
            ]
        } else {
            &[]
        };
        [always, yours, two_files].concat()
    }

    /// Whether some transaction spans two files.
    fn is_prepared(self) -> bool {
        self.producer == Producer::Prepared || self.effects == Effects::Apart
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}-{:?}", self.producer, self.effects)
    }
}
