//! A claim is settled at most once: one task, whose application writes elsewhere. Consumer A claims it,
//! runs it, and after a conflict runs it again under the same claim; consumer B may take the claim over
//! at any time, also while A is alive.
#![cfg(test)]

use stateright::{Model, Property};
use votive::queue::decision::Action as Verdict;
use votive::register::{Answer, Decision, Standing};

use crate::rules::{End, Fate, Rules, Stored};

pub(crate) const ONCE: &str = "the effects of a task are committed at most once";
pub(crate) const DONE: &str = "a task that is done has its effects";
pub(crate) const ATOMIC: &str = "effects and settlement end together, with nothing in doubt";
const RUN_BY_A: &str = "done by A";
const RUN_BY_B: &str = "done by B";

/// A's first attempt, A's second one, B's.
const ATTEMPTS: usize = 3;

/// The fencing token that each attempt holds.
const TOKEN: [usize; ATTEMPTS] = [0, 0, 1];

/// A mistake in what the store or a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A settlement is staged without a look at its token.
    TokenIgnored,
    /// A claim is taken over although its settlement is staged.
    PinIgnored,
    /// Recovery looks for an outcome and takes none for an abort.
    RecoverySelects,
}

/// What is checked, and with which mistake.
#[derive(Clone, Copy)]
pub(crate) struct Settlement {
    pub(crate) rules: Rules,
    pub(crate) flaw: Option<Flaw>,
}

/// What the store has of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    /// The token of the present claim.
    holder: Option<usize>,
    /// By token, the attempt whose settlement is staged: it pins the claim.
    staged: [Option<usize>; 2],
    is_done: bool,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    NotBegun,
    Running,
    Voted,
    /// Its effects and its record are written in a transaction that is not committed yet.
    Open,
    /// Has sent COMMIT and got no answer.
    Asking,
    Committed,
    Refused,
    Dead,
}

/// The application's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Register {
    records: [Option<Decision>; ATTEMPTS],
    committed: [bool; ATTEMPTS],
}

/// One run of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Recoverer {
    Idle,
    Listed(usize),
    Knows(usize, Verdict),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    task: Stored<Held>,
    attempts: [Attempt; ATTEMPTS],
    register: Register,
    /// COMMITs that are under way without anybody waiting for them.
    orphans: [bool; ATTEMPTS],
    /// Stage messages that are still under way.
    late: [bool; ATTEMPTS],
    recoverer: Recoverer,
}

/// One step of somebody; the number is an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Claim(usize),
    RunAgain,
    Stage(usize),
    StageTimesOut(usize),
    StageArrivesLate(usize),
    WriteRecord(usize),
    Commit(usize),
    CommitLosesAnswer(usize),
    OrphanEnds(usize, bool),
    Ask(usize),
    Finish(usize),
    Crash(usize),
    Flush,
    LosePower,
    List(usize),
    Decide,
    CarryOut,
    RecovererCrashes,
}

impl World {
    /// Whether the attempt's token is the one of the present claim.
    fn holds_claim(&self, attempt: usize) -> bool {
        let task = &self.task.seen;
        !task.is_done && task.holder == Some(TOKEN[attempt])
    }

    fn carry_out(&mut self, attempt: usize, verdict: Verdict) {
        let task = &mut self.task.seen;
        let staged = &mut task.staged[TOKEN[attempt]];
        if *staged == Some(attempt) && verdict != Verdict::Wait {
            *staged = None;
            task.is_done |= verdict == Verdict::Publish;
        }
    }

    fn commit(&mut self, attempt: usize) {
        self.register.records[attempt] = Some(Decision::Committed);
        self.register.committed[attempt] = true;
    }

    fn crash(&mut self, attempt: usize) {
        self.orphans[attempt] |= self.attempts[attempt] == Attempt::Open;
        self.attempts[attempt] = Attempt::Dead;
    }

    fn is_alive(&self, attempt: usize) -> bool {
        !matches!(self.attempts[attempt], Attempt::NotBegun | Attempt::Dead)
    }

    /// Whether the attempt has steps of its own left, whose outcomes are checked anyway.
    fn is_busy(&self, attempt: usize) -> bool {
        let of = self.attempts[attempt];
        matches!(of, Attempt::Running | Attempt::Voted | Attempt::Open)
    }

    fn count_committed(&self) -> usize {
        let committed = self.register.committed.iter();
        committed.filter(|&&is_committed| is_committed).count()
    }

    /// The register's `decide(attempt, Aborted)`; `None` where an uncommitted record is in the way.
    fn decide(&mut self, attempt: usize) -> Option<Answer> {
        if self.attempts[attempt] == Attempt::Open || self.orphans[attempt] {
            return None;
        }
        let record = self.register.records[attempt].get_or_insert(Decision::Aborted);
        Some(Answer {
            decision: Some(*record),
            standing: Standing::Open,
        })
    }
}

impl Settlement {
    /// The protocol as it is.
    pub(crate) fn sound() -> Self {
        Self {
            rules: Rules::REAL,
            flaw: None,
        }
    }

    pub(crate) fn with_flaw(flaw: Flaw) -> Self {
        Self {
            flaw: Some(flaw),
            ..Self::sound()
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// One settlement of a claim is staged at a time, and only by who holds the claim.
    fn stage(&self, world: &mut World, attempt: usize) -> bool {
        let staged = world.task.seen.staged[TOKEN[attempt]];
        let is_fenced = world.holds_claim(attempt) || self.has(Flaw::TokenIgnored);
        if staged.is_some() || !is_fenced {
            return false;
        }
        world.task.seen.staged[TOKEN[attempt]] = Some(attempt);
        world.task.flush();
        true
    }

    /// A takes a task that nobody has; B also takes one whose holder it believes dead.
    fn may_claim(&self, world: &World, attempt: usize) -> bool {
        let task = &world.task.seen;
        let is_pinned = task.staged != [None; 2] && !self.has(Flaw::PinIgnored);
        let is_takeover = attempt == 2 && task.holder == Some(0);
        !task.is_done && !is_pinned && (task.holder.is_none() || is_takeover)
    }

    fn recover(&self, world: &mut World, attempt: usize) -> Option<Verdict> {
        let answer = if self.has(Flaw::RecoverySelects) {
            let record = world.register.records[attempt].unwrap_or(Decision::Aborted);
            Answer {
                decision: Some(record),
                standing: Standing::Open,
            }
        } else {
            world.decide(attempt)?
        };
        Some((self.rules.action)(answer, false))
    }

    fn ask(&self, world: &mut World, attempt: usize) {
        let decision = world.decide(attempt).and_then(self.rules.as_owner);
        world.attempts[attempt] = match decision {
            Some(Decision::Committed) => Attempt::Committed,
            Some(Decision::Aborted) => Attempt::Refused,
            None => Attempt::Asking,
        };
    }

    fn finish(world: &mut World, attempt: usize) {
        match world.attempts[attempt] {
            Attempt::Committed => world.carry_out(attempt, Verdict::Publish),
            Attempt::Refused => world.carry_out(attempt, Verdict::Discard),
            _ => {}
        }
    }

    /// Lets faults stop in every possible way, and recovery run to its end.
    fn ends(&self, world: &World) -> End {
        let mut end = End::GOOD;
        Fate::each(|fate| {
            let mut world = *world;
            for attempt in 0..ATTEMPTS {
                if world.is_alive(attempt) && fate.decides() {
                    world.crash(attempt);
                }
                if std::mem::take(&mut world.orphans[attempt]) && fate.decides() {
                    world.commit(attempt);
                }
                if std::mem::take(&mut world.late[attempt]) && fate.decides() {
                    self.stage(&mut world, attempt);
                }
            }
            if !(0..ATTEMPTS).any(|attempt| world.is_busy(attempt)) {
                end.is_atomic &= self.run_out(&mut world);
            }
        });
        end
    }

    fn run_out(&self, world: &mut World) -> bool {
        for attempt in 0..ATTEMPTS {
            if world.attempts[attempt] == Attempt::Asking {
                self.ask(world, attempt);
            }
            Self::finish(world, attempt);
        }
        if let Recoverer::Knows(attempt, verdict) = world.recoverer {
            world.carry_out(attempt, verdict);
        }
        for attempt in world.task.seen.staged.into_iter().flatten() {
            let verdict = self.recover(world, attempt).unwrap_or(Verdict::Wait);
            world.carry_out(attempt, verdict);
        }
        let task = &world.task.seen;
        task.staged == [None; 2] && task.is_done == (world.count_committed() > 0)
    }

    fn attempt_steps(&self, world: &World, attempt: usize, steps: &mut Vec<Step>) {
        match world.attempts[attempt] {
            Attempt::NotBegun if attempt == 1 => {
                if world.attempts[0] == Attempt::Refused && world.task.seen.staged[0].is_none() {
                    steps.push(Step::RunAgain);
                }
                return;
            }
            Attempt::NotBegun => {
                if self.may_claim(world, attempt) {
                    steps.push(Step::Claim(attempt));
                }
                return;
            }
            Attempt::Running => {
                steps.extend([Step::Stage(attempt), Step::StageTimesOut(attempt)]);
            }
            Attempt::Voted => steps.push(Step::WriteRecord(attempt)),
            Attempt::Open => {
                steps.extend([Step::Commit(attempt), Step::CommitLosesAnswer(attempt)]);
            }
            Attempt::Asking => steps.push(Step::Ask(attempt)),
            Attempt::Committed | Attempt::Refused => steps.push(Step::Finish(attempt)),
            Attempt::Dead => return,
        }
        steps.push(Step::Crash(attempt));
    }

    fn attempt_step(&self, world: &mut World, step: Step) {
        match step {
            Step::Claim(attempt) => {
                world.task.seen.holder = Some(TOKEN[attempt]);
                world.attempts[attempt] = Attempt::Running;
            }
            Step::RunAgain => world.attempts[1] = Attempt::Running,
            Step::Stage(attempt) => {
                let is_staged = self.stage(world, attempt);
                let next = if is_staged {
                    Attempt::Voted
                } else {
                    Attempt::Refused
                };
                world.attempts[attempt] = next;
            }
            Step::StageTimesOut(attempt) => {
                world.late[attempt] = true;
                world.attempts[attempt] = Attempt::Refused;
            }
            Step::WriteRecord(attempt) => {
                let is_free = world.register.records[attempt].is_none();
                world.attempts[attempt] = if is_free {
                    Attempt::Open
                } else {
                    Attempt::Refused
                };
            }
            Step::Commit(attempt) => {
                world.commit(attempt);
                world.attempts[attempt] = Attempt::Committed;
            }
            Step::CommitLosesAnswer(attempt) => {
                world.orphans[attempt] = true;
                world.attempts[attempt] = Attempt::Asking;
            }
            Step::Ask(attempt) => self.ask(world, attempt),
            Step::Finish(attempt) => Self::finish(world, attempt),
            Step::Crash(attempt) => world.crash(attempt),
            _ => {}
        }
    }

    fn other_step(&self, world: &mut World, step: Step) {
        match step {
            Step::StageArrivesLate(attempt) => {
                world.late[attempt] = false;
                self.stage(world, attempt);
            }
            Step::OrphanEnds(attempt, commits) => {
                world.orphans[attempt] = false;
                if commits {
                    world.commit(attempt);
                }
            }
            Step::Flush => world.task.flush(),
            Step::LosePower => world.task.lose_power(),
            Step::List(attempt) => world.recoverer = Recoverer::Listed(attempt),
            Step::Decide => {
                if let Recoverer::Listed(attempt) = world.recoverer
                    && let Some(verdict) = self.recover(world, attempt)
                {
                    world.recoverer = Recoverer::Knows(attempt, verdict);
                }
            }
            Step::CarryOut => {
                if let Recoverer::Knows(attempt, verdict) = world.recoverer {
                    world.carry_out(attempt, verdict);
                    world.recoverer = Recoverer::Idle;
                }
            }
            Step::RecovererCrashes => world.recoverer = Recoverer::Idle,
            _ => {}
        }
    }
}

impl Model for Settlement {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let task = Held {
            holder: None,
            staged: [None; 2],
            is_done: false,
        };
        vec![World {
            task: Stored::new(task),
            attempts: [Attempt::NotBegun; ATTEMPTS],
            register: Register {
                records: [None; ATTEMPTS],
                committed: [false; ATTEMPTS],
            },
            orphans: [false; ATTEMPTS],
            late: [false; ATTEMPTS],
            recoverer: Recoverer::Idle,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for attempt in 0..ATTEMPTS {
            self.attempt_steps(world, attempt, steps);
            if world.late[attempt] {
                steps.push(Step::StageArrivesLate(attempt));
            }
            if world.orphans[attempt] {
                let ends = [true, false].map(|commits| Step::OrphanEnds(attempt, commits));
                steps.extend(ends);
            }
        }
        let staged = world.task.seen.staged.into_iter();
        steps.extend(match world.recoverer {
            Recoverer::Idle => staged.flatten().map(Step::List).collect(),
            Recoverer::Listed(_) => vec![Step::Decide, Step::RecovererCrashes],
            Recoverer::Knows(..) => vec![Step::CarryOut, Step::RecovererCrashes],
        });
        if !world.task.is_flushed() {
            steps.extend([Step::Flush, Step::LosePower]);
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = *before;
        self.attempt_step(&mut world, step);
        self.other_step(&mut world, step);
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONCE, |_, world: &World| world.count_committed() <= 1),
            Property::always(DONE, |_, world: &World| {
                !world.task.seen.is_done || world.count_committed() == 1
            }),
            Property::always(ATOMIC, |model: &Self, world| model.ends(world).is_atomic),
            Property::sometimes(RUN_BY_A, |_, world: &World| {
                world.task.disk.is_done && world.register.committed[1]
            }),
            Property::sometimes(RUN_BY_B, |_, world: &World| {
                world.task.disk.is_done && world.register.committed[2]
            }),
        ]
    }
}
