//! One transaction: what is done in it is drafted for the model, and how it ended is compared.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use votive::id::TaskId;
use votive::queue::{self, Pending, Queue};
use votive::store::{Amendment, Change, Settlement, Store, Verdict};
use votive::task::{
    Account, DeadReason, Failure, Options, Payload, PayloadLimits, Position, Record, StateSet,
};
use votive::time::Timestamp;
use votive::txn::{BoxError, CommitError, Committed, Outcome, Savepoint, Transaction, Work};

use crate::draft::{Draft, Fate, Ran};
use crate::program::{Act, End, Judgement, KINDS, List, QUEUES, Step, Wish};
use crate::world::{World, pick};

/// What the hooks of a transaction did.
#[derive(Default)]
struct Hooked {
    ran: Mutex<Vec<Ran>>,
    enqueued: Mutex<Vec<Change>>,
}

/// A transaction that is under way.
struct Open<'w> {
    world: &'w mut World,
    draft: Draft,
    hooked: Arc<Hooked>,
}

impl World {
    pub(crate) fn transact(&mut self, steps: &[Step], end: End) -> TestCaseResult {
        let now = self.now();
        let mut txn = self.manager.begin().unwrap();
        self.model.settle_owned(now);
        let id = txn.id();
        let mut open = Open {
            draft: Draft::default(),
            hooked: Arc::default(),
            world: self,
        };
        for step in steps {
            open.take(&mut txn, step)?;
        }
        let Open {
            mut draft, hooked, ..
        } = open;
        let (fate, committed) = end_as(end, txn)?;
        let enqueued = std::mem::take(&mut *hooked.enqueued.lock());
        self.tasks.extend(inserts(&enqueued).map(|id| (0, id)));
        let expected = match end {
            End::Commit => self.model.commit(&mut draft, enqueued, id, now),
            End::Abort | End::Drop => Fate::Aborted,
        };
        prop_assert_eq!(fate, expected, "how the transaction ended");
        prop_assert_eq!(&*hooked.ran.lock(), &draft.ran(fate), "the hooks that ran");
        if let Some(committed) = committed {
            prop_assert_eq!(committed.pending.len(), draft.pending_count());
        }
        Ok(())
    }
}

/// Ends a transaction; anything but a refusal by who was told to refuse is a failure of the test.
fn end_as(end: End, txn: Transaction) -> Result<(Fate, Option<Committed>), TestCaseError> {
    match end {
        End::Commit => match txn.commit() {
            Ok(committed) => Ok((Fate::Committed, Some(committed))),
            Err(CommitError::Refused { .. }) => Ok((Fate::Refused, None)),
            Err(CommitError::Doomed) => Ok((Fate::Doomed, None)),
            Err(CommitError::Undecided { .. }) => Ok((Fate::Undecided, None)),
            Err(error) => Err(TestCaseError::fail(format!("{error:?}"))),
        },
        End::Abort => {
            txn.abort().unwrap();
            Ok((Fate::Aborted, None))
        }
        End::Drop => {
            drop(txn);
            Ok((Fate::Aborted, None))
        }
    }
}

impl Open<'_> {
    fn take(&mut self, work: &mut Work, step: &Step) -> TestCaseResult {
        match step {
            Step::Enqueue {
                store,
                queue,
                kind,
                options,
            } => {
                let what = What {
                    queue: *queue,
                    kind: *kind,
                    is_top: self.is_top((*store, *queue), *kind),
                    options: Options::clone(options),
                };
                self.enqueue(work, *store, what);
            }
            Step::Settle { claim, judgement } => self.settle(work, *claim, *judgement),
            Step::Amend { task, wish } => self.amend(work, *task, *wish),
            Step::Write(whose, flaw) => {
                self.world.row_count += 1;
                let (member, row) = ((*whose, *flaw), self.world.row_count);
                self.world.database.write(work, member, row).unwrap();
                self.draft.write(member, row);
            }
            Step::Savepoint(steps) => self.inside(&mut work.savepoint().unwrap(), steps)?,
            Step::Rollback => {}
            Step::Doom => {
                work.doom();
                self.draft.is_doomed = true;
            }
            Step::Hook(list, act) => self.hook(work, *list, *act),
        }
        self.compare(work)
    }

    fn inside(&mut self, savepoint: &mut Savepoint<'_>, steps: &[Step]) -> TestCaseResult {
        let point = self.draft.point();
        for step in steps {
            if matches!(step, Step::Rollback) {
                savepoint.rollback().unwrap();
                self.draft.rollback(point);
                self.compare(savepoint)?;
            } else {
                self.take(savepoint, step)?;
            }
        }
        Ok(())
    }

    /// What a commit would enqueue is what was enqueued and not rolled back.
    fn compare(&self, work: &Work) -> TestCaseResult {
        let mut pending: Vec<_> = work.pending().into_iter().map(|record| record.id).collect();
        let drafted = self.draft.changes.iter().map(|(_, change)| change);
        let mut drafted: Vec<_> = inserts(drafted).collect();
        pending.sort();
        drafted.sort();
        prop_assert_eq!(pending, drafted, "what a commit would enqueue");
        Ok(())
    }

    fn enqueue(&mut self, work: &mut Work, store: usize, what: What) {
        let change = enqueue(work, &self.world.stores[store], what);
        self.world
            .tasks
            .extend(inserts([&change]).map(|id| (store, id)));
        self.draft.changes.push((store, change));
    }

    /// Whether an operator has tasks of this kind go first.
    fn is_top(&self, (store, queue): (usize, usize), kind: usize) -> bool {
        kind == 0 && self.world.model.shelves[store].said[queue].has_top
    }

    fn settle(&mut self, work: &mut Work, claim: usize, judgement: Judgement) {
        let Some((store, claim)) = pick(&self.world.claims, claim) else {
            return;
        };
        let mut counts = claim.record.counts;
        counts.attempts += u32::from(matches!(judgement, Judgement::Retry(_)));
        let settlement = Settlement {
            task: claim.record.id,
            token: claim.token,
            verdict: verdict(judgement, self.world.now()),
            counts,
            account: account(judgement, self.world.now()),
        };
        self.change(work, store, Change::Settle(settlement));
    }

    fn amend(&mut self, work: &mut Work, task: usize, wish: Wish) {
        let Some((store, task)) = pick(&self.world.tasks, task) else {
            return;
        };
        let change = Change::Amend {
            task,
            expect: StateSet::ALL,
            amendment: amendment(wish, self.world.now()),
        };
        self.change(work, store, change);
    }

    fn change(&mut self, work: &mut Work, store: usize, change: Change) {
        queue::change(&self.world.stores[store], work, change.clone()).unwrap();
        self.draft.changes.push((store, change));
    }

    fn hook(&mut self, work: &mut Work, list: List, act: Act) {
        let number = self.draft.hooks.len();
        let hooked = Arc::clone(&self.hooked);
        let run = move |told| {
            hooked.ran.lock().push((number, list, told));
            fail_if(act == Act::Fail)
        };
        match list {
            List::BeforeCommit => {
                let hooked = Arc::clone(&self.hooked);
                let store = Arc::clone(&self.world.stores[0]);
                let what = What {
                    is_top: self.is_top((0, 0), 0),
                    ..What::default()
                };
                work.before_commit(move |work| {
                    act_in(work, (act, what), &store, &hooked);
                    run(None)
                });
            }
            List::AfterCommit => work.after_commit(move |told: Outcome| run(Some(told))),
            List::BeforeAbort => work.before_abort(move |_| run(None)),
            List::AfterAbort => work.after_abort(move || run(None)),
        }
        self.draft.hooks.push((list, act));
    }
}

fn fail_if(fails: bool) -> Result<(), BoxError> {
    if fails {
        return Err("a hook that was told to fail".into());
    }
    Ok(())
}

/// What is enqueued.
#[derive(Default)]
struct What {
    queue: usize,
    kind: usize,
    /// Whether it goes first, whatever its options say.
    is_top: bool,
    options: Options,
}

fn act_in(work: &mut Work, (act, what): (Act, What), store: &Arc<dyn Store>, hooked: &Hooked) {
    match act {
        Act::Doom => work.doom(),
        Act::Enqueue => {
            let change = enqueue(work, store, what);
            hooked.enqueued.lock().push(change);
        }
        Act::Nothing | Act::Fail => {}
    }
}

/// Enqueues a task, and returns it as it ought to have been enqueued.
fn enqueue(work: &mut Work, store: &Arc<dyn Store>, what: What) -> Change {
    let (queue, kind, mut options) = (QUEUES[what.queue], KINDS[what.kind], what.options);
    let payload = Payload::from_json("null", 0, PayloadLimits::default()).unwrap();
    let into = Queue::new(Arc::clone(store), queue).unwrap();
    let id = into.enqueue_payload(work, kind, payload.clone(), options.clone());
    let (id, now) = (id.unwrap(), store.now().unwrap());
    if what.is_top {
        options.priority = 0;
    }
    let record = Record::new(id, queue, kind, payload, now).with_options(options);
    Change::Insert(Box::new(record))
}

fn inserts<'c>(changes: impl IntoIterator<Item = &'c Change>) -> impl Iterator<Item = TaskId> {
    changes.into_iter().filter_map(|change| match change {
        Change::Insert(record) => Some(record.id),
        _ => None,
    })
}

/// What is done gives something, a failure notes why, and a part of a task how far it is.
fn account(judgement: Judgement, now: Timestamp) -> Option<Box<Account>> {
    let mut account = Account::default();
    match judgement {
        Judgement::Done => {
            let result = Payload::from_json("42", 0, PayloadLimits::default());
            account.result = Some(result.unwrap());
        }
        Judgement::Retry(_) | Judgement::Bury => account.note(Failure {
            attempt: 1,
            chain: vec!["failed".to_owned()],
            at: now,
            duration: Duration::ZERO,
        }),
        Judgement::Release(after) => {
            account.position = Some(Position {
                done: after?.as_secs(),
                total: 100,
                size: 10,
                timeouts: 0,
            });
        }
    }
    Some(Box::new(account))
}

fn verdict(judgement: Judgement, now: Timestamp) -> Verdict {
    match judgement {
        Judgement::Done => Verdict::Done,
        Judgement::Retry(after) => Verdict::Retry {
            at: now.saturating_add(after),
        },
        Judgement::Bury => Verdict::Bury {
            reason: DeadReason::Failed,
        },
        Judgement::Release(after) => Verdict::Release {
            at: after.map(|after| now.saturating_add(after)),
        },
    }
}

fn amendment(wish: Wish, now: Timestamp) -> Amendment {
    match wish {
        Wish::Cancel => Amendment::Cancel,
        Wish::Revive => Amendment::Revive,
        Wish::Reschedule(after) => {
            Amendment::Reschedule(after.map(|after| now.saturating_add(after)))
        }
        Wish::Move(queue) => Amendment::Move(QUEUES[queue].to_owned()),
        Wish::Progress => Amendment::Progress("half".to_owned()),
        Wish::Remove => Amendment::Remove,
    }
}
