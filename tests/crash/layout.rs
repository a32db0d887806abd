//! Where tasks, notes and effects are, and where a process may die there.
#![cfg(test)]

use std::fmt;

use votive::failpoint;

/// A durable store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    Sqlite,
    File,
    Redis,
    Postgres,
}

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Redis,
    Postgres,
}

impl Program {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Postgres];
}

/// Where something is written, in the same transaction that does something to tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Enlisted: in the database of the tasks, by a participant that commits.
    Ours,
    /// Enlisted: in the database of the tasks, by an application that commits by itself.
    Yours,
    /// Prepared: in a SQLite file of its own.
    Sqlite,
    /// Prepared: in a Postgres database of its own, which decides.
    Postgres,
    /// Prepared: in a Postgres database of its own, which promises, so that the store of the tasks
    /// decides.
    Preparing,
    /// Prepared: as tasks in a second store.
    Queue(Backend),
}

/// What children do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// Tasks that enqueue another one each.
    Answers,
    /// Tasks of many items, chords and the tasks of a timetable.
    Errands,
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Layout {
    /// The store of the tasks.
    pub(crate) tasks: Backend,
    /// Where the producer notes each task that it enqueues.
    pub(crate) notes: Place,
    /// Where a handler writes, in the transaction that its task's settlement joins.
    pub(crate) effects: Place,
    /// What is done there.
    pub(crate) load: Load,
}

/// The steps that only a transaction over several stores takes.
const TWO_PHASE: [&str; 4] = ["stage", "publish", "discard", "forgettable"];

impl Layout {
    /// The points that this layout comes to.
    pub(crate) fn points(self) -> Vec<&'static str> {
        let of_places = [self.notes, self.effects].map(|place| self.points_of(place));
        let is_taken = |point: &&str| {
            (self.is_prepared() || !is_one_of(point, &TWO_PHASE))
                && (self.has_garbage() || !is_one_of(point, &["forget"]))
        };
        let of_tasks = self.tasks.points().into_iter().filter(is_taken);
        let mut points: Vec<_> = of_tasks.chain(of_places.concat()).collect();
        points.sort_unstable();
        points.dedup();
        points
    }

    fn points_of(self, place: Place) -> Vec<&'static str> {
        match place {
            Place::Ours => steps_of(self.database(), &["commit"]),
            Place::Yours => [
                &steps_of(self.database(), &["commit"]),
                failpoint::APPLICATION,
            ]
            .concat(),
            Place::Sqlite => failpoint::RUSQLITE.to_vec(),
            Place::Postgres => steps_of(
                failpoint::POSTGRES_RESOURCE,
                &["commit", "decide", "forget"],
            ),
            Place::Preparing => steps_of(failpoint::POSTGRES_RESOURCE, &["prepare", "finish"]),
            Place::Queue(backend) => {
                let points = backend.points().into_iter();
                points
                    .filter(|point| !is_one_of(point, &["claim"]))
                    .collect()
            }
        }
    }

    /// The points of an application in the database of the tasks.
    fn database(self) -> &'static [&'static str] {
        match self.tasks {
            Backend::Postgres => failpoint::POSTGRES_RESOURCE,
            _ => failpoint::RUSQLITE,
        }
    }

    /// Whether the store of the tasks has outcomes to forget that its process has not forgotten. Where
    /// only a lease tells who is dead, that takes longer than a child lives; a SQLite file knows at once.
    fn has_garbage(self) -> bool {
        let decides = |place| matches!(place, Place::Preparing | Place::Queue(_));
        let places = [self.notes, self.effects];
        match self.tasks {
            Backend::Sqlite | Backend::File => true,
            Backend::Redis => places.contains(&Place::Sqlite) || places.into_iter().any(decides),
            Backend::Postgres => places.into_iter().any(decides),
        }
    }

    /// The store that has notes or effects, if one has.
    pub(crate) fn second(self) -> Option<Backend> {
        [self.notes, self.effects]
            .into_iter()
            .find_map(|place| match place {
                Place::Queue(backend) => Some(backend),
                _ => None,
            })
    }

    /// Whether something is in a server of this kind.
    pub(crate) fn needs(self, program: Program) -> bool {
        let backends = [Some(self.tasks), self.second()];
        match program {
            Program::Redis => backends.contains(&Some(Backend::Redis)),
            Program::Postgres => {
                let is_there = |place| [Place::Postgres, Place::Preparing].contains(&place);
                backends.contains(&Some(Backend::Postgres))
                    || [self.notes, self.effects].into_iter().any(is_there)
            }
        }
    }

    /// Whether something is in a server.
    pub(crate) fn is_in_server(self) -> bool {
        Program::ALL.into_iter().any(|program| self.needs(program))
    }

    /// Whether all is in SQLite files.
    pub(crate) fn is_in_sqlite(self) -> bool {
        let is_there = |place| {
            let here = [Place::Ours, Place::Yours, Place::Sqlite];
            here.contains(&place) || place == Place::Queue(Backend::Sqlite)
        };
        self.tasks == Backend::Sqlite && [self.notes, self.effects].into_iter().all(is_there)
    }

    /// Whether some transaction spans several stores.
    pub(crate) fn is_prepared(self) -> bool {
        [self.notes, self.effects]
            .iter()
            .any(|place| !place.is_enlisted())
    }
}

impl Backend {
    fn points(self) -> Vec<&'static str> {
        match self {
            Self::Sqlite => failpoint::SQLITE.to_vec(),
            Self::File => [failpoint::FILE, failpoint::FILE_COMPACT].concat(),
            Self::Redis => failpoint::REDIS.to_vec(),
            Self::Postgres => failpoint::POSTGRES.to_vec(),
        }
    }
}

impl Place {
    pub(crate) fn is_enlisted(self) -> bool {
        matches!(self, Self::Ours | Self::Yours)
    }
}

/// Those of the points that belong to one of `steps`.
fn steps_of(points: &[&'static str], steps: &[&str]) -> Vec<&'static str> {
    let taken = points.iter().copied();
    taken.filter(|point| is_one_of(point, steps)).collect()
}

/// Whether a point, such as `sqlite.stage.before_commit`, belongs to one of `steps`.
fn is_one_of(point: &str, steps: &[&str]) -> bool {
    point
        .split('.')
        .nth(1)
        .is_some_and(|step| steps.contains(&step))
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tasks,
            notes,
            effects,
            load,
        } = self;
        write!(f, "{tasks:?}, {notes:?}, {effects:?}, {load:?}")
    }
}
