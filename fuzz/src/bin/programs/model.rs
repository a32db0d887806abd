//! What should be so: which transactions committed, and what that means for every task.

use std::collections::{BTreeMap, BTreeSet};

use votive::id::{TaskId, Token};

/// What one transaction would do. The number is that of the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub(crate) inserted: Vec<(usize, TaskId)>,
    pub(crate) settled: Vec<(usize, TaskId, Token)>,
    pub(crate) is_doomed: bool,
}

impl Draft {
    /// Where a savepoint would go back to.
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.inserted.len(), self.settled.len())
    }

    pub(crate) fn rollback(&mut self, (inserted, settled): (usize, usize)) {
        self.inserted.truncate(inserted);
        self.settled.truncate(settled);
    }
}

/// What the application was told, or what was seen since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Committed,
    Aborted,
    Unknown,
}

/// Every transaction that ended, and every claim that was given out.
#[derive(Default)]
pub(crate) struct Model {
    ended: Vec<(Draft, Fate)>,
    tokens: BTreeMap<TaskId, Token>,
}

impl Model {
    pub(crate) fn end(&mut self, draft: Draft, fate: Fate) {
        assert!(
            !(draft.is_doomed && fate == Fate::Committed),
            "a doomed transaction committed"
        );
        if fate == Fate::Committed {
            self.check_tokens(&draft);
        }
        self.ended.push((draft, fate));
    }

    /// A settlement may only commit under the newest token of its task.
    fn check_tokens(&self, draft: &Draft) {
        for (_, task, token) in &draft.settled {
            assert_eq!(
                self.tokens.get(task),
                Some(token),
                "a stale claim on {task} was settled"
            );
        }
    }

    /// Notes a claim, which shows something of the transactions whose outcome was unknown: the task is
    /// visible, so what inserted it committed; it is there, so what settled it did not.
    pub(crate) fn claim(&mut self, store: usize, task: TaskId, token: Token) {
        let previous = self.tokens.insert(task, token);
        assert_ne!(previous, Some(token), "token of {task} given out twice");
        self.see(store, task, true);
        for (draft, fate) in &mut self.ended {
            if draft.settled.iter().any(|(_, settled, _)| *settled == task) {
                decide(fate, Fate::Aborted, task);
            }
        }
    }

    /// Notes whether a task that nobody has settled is visible.
    fn see(&mut self, store: usize, task: TaskId, visible: bool) {
        let seen = if visible {
            Fate::Committed
        } else {
            Fate::Aborted
        };
        let inserting = self
            .ended
            .iter_mut()
            .filter(|(draft, _)| draft.inserted.contains(&(store, task)));
        let mut count = 0;
        for (_, fate) in inserting {
            decide(fate, seen, task);
            count += 1;
        }
        assert_eq!(count, 1, "task {task} belongs to {count} transactions");
    }

    /// Compares with everything that is visible in the end, when nothing is in doubt any more.
    pub(crate) fn compare(&mut self, visible: &[BTreeSet<TaskId>]) {
        for (index, draft) in self.drafts() {
            for (store, task, _) in &draft.settled {
                self.see_settled(index, visible[*store].contains(task), *task);
            }
        }
        for (_, draft) in self.drafts() {
            for (store, task) in draft.inserted {
                if !self.is_settled(task) {
                    self.see(store, task, visible[store].contains(&task));
                }
            }
        }
        let inserted = self.ended.iter().flat_map(|(draft, _)| &draft.inserted);
        let known: BTreeSet<_> = inserted.map(|(_, task)| task).collect();
        for task in visible.iter().flatten() {
            assert!(known.contains(task), "nobody enqueued {task}");
        }
    }

    fn drafts(&self) -> Vec<(usize, Draft)> {
        self.ended
            .iter()
            .map(|(draft, _)| draft.clone())
            .enumerate()
            .collect()
    }

    /// A task that is gone was settled by one transaction; which of several unknown ones is not seen.
    fn see_settled(&mut self, index: usize, visible: bool, task: TaskId) {
        let others = self
            .settling(task)
            .filter(|other| *other != index)
            .any(|other| self.ended[other].1 != Fate::Aborted);
        match (visible, others) {
            (true, _) => decide(&mut self.ended[index].1, Fate::Aborted, task),
            (false, false) => decide(&mut self.ended[index].1, Fate::Committed, task),
            (false, true) => {}
        }
    }

    fn settling(&self, task: TaskId) -> impl Iterator<Item = usize> {
        let settles =
            move |draft: &Draft| draft.settled.iter().any(|(_, settled, _)| *settled == task);
        self.ended
            .iter()
            .enumerate()
            .filter(move |(_, (draft, _))| settles(draft))
            .map(|(index, _)| index)
    }

    fn is_settled(&self, task: TaskId) -> bool {
        let committed: Vec<_> = self
            .settling(task)
            .filter(|index| self.ended[*index].1 != Fate::Aborted)
            .collect();
        let certain = committed
            .iter()
            .filter(|index| self.ended[**index].1 == Fate::Committed)
            .count();
        assert!(certain <= 1, "task {task} was settled {certain} times");
        !committed.is_empty()
    }

    pub(crate) fn fates(&self) -> Vec<Fate> {
        self.ended.iter().map(|(_, fate)| *fate).collect()
    }
}

fn decide(fate: &mut Fate, seen: Fate, task: TaskId) {
    if *fate == Fate::Unknown {
        *fate = seen;
    }
    assert_eq!(
        *fate, seen,
        "task {task} shows that its transaction {seen:?}"
    );
}
