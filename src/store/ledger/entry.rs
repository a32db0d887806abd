//! A visible task, as the ledger has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Judged;
use crate::id::{ConsumerId, TaskId, Token};
use crate::store::Filter;
use crate::store::life::Life;
use crate::store::lifecycle;
use crate::task::{Account, Name, Options, Payload, Record, State};
use crate::time::Timestamp;

/// Keeps what the ledger has no use for: the bodies of tasks, each a `B`.
///
/// A backend lends one to every operation that may need it, and it may know what the operation is: a
/// place in a journal, say. It may be asked to keep the tasks of a batch that is only tried.
pub(in crate::store) trait Keeper<B> {
    /// Makes the body of a new task.
    fn keep(&mut self, record: &Record) -> B;

    /// Returns the options that the ledger is to remember of a new task. It needs the priority, the
    /// retention, the unique key, the group and the objects; a keeper that has the others elsewhere may
    /// leave them out, and share what is left.
    fn options(&mut self, record: &Record) -> Arc<Options> {
        Arc::clone(&record.options)
    }

    /// Keeps what the runs of a task left behind.
    fn account(&mut self, body: &mut B, account: &Account);

    /// Notes how far a task is; `None` is that it starts afresh.
    fn progress(&mut self, body: &mut B, progress: Option<&str>);
}

/// A visible task.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "file", derive(Serialize, Deserialize))]
pub(in crate::store) struct Entry<B> {
    pub(in crate::store) life: Life,
    pub(in crate::store) queue: Name,
    #[cfg_attr(feature = "file", serde(with = "crate::task::unusual_options"))]
    pub(in crate::store) options: Arc<Options>,
    pub(in crate::store) enqueued_at: Timestamp,
    pub(in crate::store) body: B,
    /// Who has claimed it.
    pub(in crate::store) claim: Option<Holding>,
    /// Whether a staged batch settles or amends it: nothing else may move it.
    pub(super) pinned: bool,
    /// Whether it holds its unique key.
    pub(super) holds_key: bool,
    /// What few tasks have.
    ties: Option<Box<Ties>>,
}

/// What ties a task to others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Ties {
    /// Prerequisites that have not arrived.
    unmet: BTreeSet<TaskId>,
    /// Tasks that merged into it.
    aliases: Vec<TaskId>,
}

/// A claim, as the ledger has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct Holding {
    #[serde(with = "shared_consumer")]
    pub(in crate::store) consumer: Arc<ConsumerId>,
    pub(super) token_count: u64,
    pub(in crate::store) claimed_at: Timestamp,
}

/// A consumer as it is encoded, shared when it is read.
mod shared_consumer {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::id::ConsumerId;

    pub(super) fn serialize<S: Serializer>(
        consumer: &Arc<ConsumerId>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        (**consumer).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<ConsumerId>, D::Error> {
        ConsumerId::deserialize(from).map(Arc::new)
    }
}

/// How a task stands after it was moved: what never changes is left out, and of what seldom does, what
/// did not.
#[cfg(feature = "file")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct Moved<B> {
    life: Life,
    claim: Option<Holding>,
    pinned: bool,
    holds_key: bool,
    queue: Option<Name>,
    pub(in crate::store) body: Option<B>,
    ties: Option<Ties>,
}

#[cfg(feature = "file")]
impl<B: Clone + PartialEq> Moved<B> {
    pub(super) fn between(before: &Entry<B>, after: &Entry<B>) -> Self {
        Self {
            life: after.life,
            claim: after.claim.clone(),
            pinned: after.pinned,
            holds_key: after.holds_key,
            queue: (before.queue != after.queue).then(|| after.queue.clone()),
            body: (before.body != after.body).then(|| after.body.clone()),
            ties: (before.ties != after.ties)
                .then(|| after.ties.as_deref().cloned().unwrap_or_default()),
        }
    }

    pub(super) fn apply_to(self, entry: &mut Entry<B>) {
        entry.life = self.life;
        entry.claim = self.claim;
        entry.pinned = self.pinned;
        entry.holds_key = self.holds_key;
        if let Some(queue) = self.queue {
            entry.queue = queue;
        }
        if let Some(body) = self.body {
            entry.body = body;
        }
        if let Some(ties) = self.ties {
            entry.ties = Some(Box::new(ties));
        }
    }
}

impl Holding {
    pub(in crate::store) fn new(
        consumer: &Arc<ConsumerId>,
        token: Token,
        claimed_at: Timestamp,
    ) -> Self {
        Self {
            consumer: Arc::clone(consumer),
            token_count: token.count,
            claimed_at,
        }
    }

    pub(in crate::store) fn token(&self) -> Token {
        Token {
            incarnation: self.consumer.incarnation,
            count: self.token_count,
        }
    }
}

impl<B> Entry<B> {
    /// Publishes a new task.
    pub(super) fn publish(
        record: &Record,
        is_busy: bool,
        now: Timestamp,
        keeper: &mut dyn Keeper<B>,
    ) -> Judged<Self> {
        let mut life = Life::of(record);
        life.publish(&record.options, is_busy, now)?;
        let waits_for = &record.options.waits_for;
        let ties = (!waits_for.is_empty()).then(|| {
            Box::new(Ties {
                unmet: waits_for.iter().copied().collect(),
                aliases: Vec::new(),
            })
        });
        Ok(Self {
            life,
            queue: record.queue.clone(),
            options: keeper.options(record),
            enqueued_at: record.enqueued_at,
            body: keeper.keep(record),
            claim: None,
            pinned: false,
            holds_key: lifecycle::wanted_key(record).is_some(),
            ties,
        })
    }

    pub(in crate::store) fn id(&self) -> TaskId {
        self.life.id
    }

    pub(in crate::store) fn state(&self) -> State {
        self.life.state
    }

    /// Puts the record together again, of what the ledger has and what the keeper kept.
    pub(in crate::store) fn record(&self, cold: Cold) -> Record {
        let life = self.life;
        Record {
            id: life.id,
            queue: self.queue.clone(),
            kind: cold.kind,
            payload: cold.payload,
            options: Arc::clone(&self.options),
            enqueued_at: self.enqueued_at,
            published_at: life.published_at,
            state: life.state,
            not_before: life.not_before,
            counts: life.counts,
            account: cold.account,
            dead: life.dead,
            ended_at: life.ended_at,
            progress: cold.progress,
        }
    }

    pub(super) fn rank(&self) -> i64 {
        let at = self.life.published_at.unwrap_or_default();
        self.life.rank(&self.options, at)
    }

    pub(super) fn key(&self) -> Option<&String> {
        self.options.unique.as_ref().map(|unique| &unique.key)
    }

    pub(super) fn held_key(&self) -> Option<&String> {
        // The options are somewhere else: most often nobody has to look there.
        if self.holds_key { self.key() } else { None }
    }

    /// Whether it waits, but for no other task, and no staged batch settles its fate: then it is its group
    /// that holds it back, if it has one.
    pub(super) fn waits_for_nothing(&self) -> bool {
        let is_met = self.ties.as_ref().is_none_or(|ties| ties.unmet.is_empty());
        self.life.state == State::Waiting && is_met && !self.pinned
    }

    pub(super) fn aliases(&self) -> &[TaskId] {
        self.ties.as_ref().map_or(&[], |ties| &ties.aliases)
    }

    pub(super) fn add_alias(&mut self, alias: TaskId) {
        self.ties.get_or_insert_default().aliases.push(alias);
    }

    pub(super) fn remove_alias(&mut self, alias: TaskId) {
        if let Some(ties) = &mut self.ties {
            ties.aliases.retain(|id| *id != alias);
        }
    }

    /// Notes that a prerequisite is met; returns whether the task waited for it.
    pub(super) fn meet(&mut self, done: TaskId) -> bool {
        let ties = self.ties.as_mut();
        ties.is_some_and(|ties| ties.unmet.remove(&done))
    }

    /// Notes that prerequisites do not hold the task back any more.
    pub(super) fn meet_all(&mut self) {
        if let Some(ties) = &mut self.ties {
            ties.unmet.clear();
        }
    }

    /// Whether a filter shows the task, as far as the ledger can tell: the kind is in the body.
    pub(super) fn matches(&self, filter: &Filter) -> bool {
        let queue = filter.queue.as_ref();
        queue.is_none_or(|queue| self.queue == *queue)
            && filter.sees(&self.options)
            && filter
                .states
                .is_none_or(|states| states.contains(self.life.state))
            && filter
                .about
                .iter()
                .all(|about| self.options.about.contains(about))
            && filter
                .enqueued_before
                .is_none_or(|before| self.enqueued_at < before)
    }
}

/// The parts of a record that only its body can tell.
#[derive(Debug, Clone)]
pub(in crate::store) struct Cold {
    pub(in crate::store) kind: Name,
    pub(in crate::store) payload: Payload,
    pub(in crate::store) account: Option<Box<Account>>,
    pub(in crate::store) progress: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_with_its_body_elsewhere_takes_little_memory() {
        // The indexes of a task that is Ready take about 80 bytes more.
        assert!(size_of::<Entry<[u64; 2]>>() <= 192);
    }
}
