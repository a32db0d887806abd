//! Two-phase commit of batches.

use redis::Value;

use super::error::{Fault, Result};
use super::plain::{self, Commit, Plain};
use super::script::{self, Arguments, Step};
use super::wire::{Shape, WireBatch};
use super::{RedisStore, reply};
use crate::id::{ResourceId, TaskId, TxnId};
use crate::store::{self, Applied, Batch, InDoubt, Published, Stage};
use crate::time::Timestamp;

const STAGE: Step = Step::promise("redis.stage.before_commit", "redis.stage.after_commit");
const APPLY: Step = Step::promise("redis.apply.before_commit", "redis.apply.after_commit");
const PUBLISH: Step = Step::repeatable("redis.publish.before_commit", "redis.publish.after_commit");
const DISCARD: Step = Step::repeatable("redis.discard.before_commit", "redis.discard.after_commit");
const FORGETTABLE: Step = Step::promise(
    "redis.forgettable.before_commit",
    "redis.forgettable.after_commit",
);

/// How many records of outcomes are forgotten together, at least and at most.
const FORGOTTEN_MIN: usize = 8;
const FORGOTTEN_MAX: usize = 256;

impl Stage for RedisStore {
    fn stage(
        &self,
        txn: TxnId,
        register: ResourceId,
        batch: &Batch,
        now: Timestamp,
    ) -> store::Result<()> {
        let staged = self.stage_batch(txn, register, batch, now);
        staged.map_err(|fault| fault.during("stage a batch"))
    }

    fn publish(&self, txn: TxnId, now: Timestamp) -> store::Result<Published> {
        let published = self.publish_batch(txn, now);
        published.map_err(|fault| fault.during("publish a staged batch"))
    }

    fn discard(&self, txn: TxnId) -> store::Result<()> {
        let arguments = Arguments::default().shown(txn);
        let now = self.link.clock.guess();
        let discarded = self.link.write(&script::DISCARD, DISCARD, now, arguments);
        discarded
            .map(drop)
            .map_err(|fault| fault.during("discard a staged batch"))
    }

    fn apply(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> store::Result<Applied> {
        let applied = self.apply_batch(txn, batch, prepared, now);
        applied.map_err(|fault| fault.during("apply a batch"))
    }

    fn forgettable(&self, txns: &[TxnId]) -> store::Result<Vec<TxnId>> {
        let ask = || -> Result<_> {
            let arguments = Arguments::default().with(joined(txns));
            let now = self.link.clock.guess();
            let released = self
                .link
                .write(&script::FORGETTABLE, FORGETTABLE, now, arguments)?;
            reply::list(released)?.iter().map(reply::parsed).collect()
        };
        ask().map_err(|fault| fault.during("flush what was published"))
    }

    fn in_doubt(&self, after: Option<TxnId>, limit: usize) -> store::Result<Vec<InDoubt>> {
        let list = || -> Result<_> {
            let after = after.map(|txn| txn.to_string()).unwrap_or_default();
            let arguments = Arguments::default().with(after).shown(limit);
            let page = self.link.run(&script::IN_DOUBT, arguments)?;
            reply::list(page)?.into_iter().map(read_in_doubt).collect()
        };
        list().map_err(|fault| fault.during("list what is in doubt"))
    }
}

impl RedisStore {
    fn stage_batch(
        &self,
        txn: TxnId,
        register: ResourceId,
        batch: &Batch,
        now: Timestamp,
    ) -> Result<()> {
        let batch = WireBatch::new(batch)?;
        let script = match batch.shape {
            Shape::WithoutInserts => &script::STAGE_WITHOUT_INSERTS,
            Shape::Inserts | Shape::Mixed => &script::STAGE,
        };
        let arguments = Arguments::default()
            .shown(txn)
            .shown(register)
            .shown(batch.size());
        self.link
            .write(script, STAGE, now, batch.add_to(arguments))
            .map(drop)
    }

    fn publish_batch(&self, txn: TxnId, now: Timestamp) -> Result<Published> {
        let arguments = Arguments::default().shown(txn);
        let answer = self.link.write(&script::PUBLISH, PUBLISH, now, arguments)?;
        let words = reply::texts(answer)?;
        match words.split_first() {
            Some((word, merged)) if word == "now" => Ok(Published::Now(applied(merged)?)),
            Some((word, _)) if word == "already" => Ok(Published::Already),
            _ => Ok(Published::Unknown),
        }
    }

    /// Nobody but its owner ever asks for an outcome that no other store has a part in, and once this
    /// returns the owner knows it: the record goes with a later write of this process.
    fn apply_batch(
        &self,
        txn: TxnId,
        batch: &Batch,
        prepared: &[ResourceId],
        now: Timestamp,
    ) -> Result<Applied> {
        let known = self.take_known();
        let commit = Commit {
            txn,
            stores: prepared,
            spent: &known,
            is_time_wanted: self.link.clock.known().is_none(),
        };
        let answer = self.send_batch(batch, &commit, now);
        let mut to_forget = self.known.lock();
        match &answer {
            Ok(_) if prepared.is_empty() => to_forget.push(txn),
            Ok(_) => {}
            Err(_) => to_forget.extend(known),
        }
        drop(to_forget);
        answer
    }

    /// Sends a batch to the script that is made for its like.
    fn send_batch(&self, batch: &Batch, commit: &Commit<'_>, now: Timestamp) -> Result<Applied> {
        if let Some(plain) = Plain::of(batch)? {
            let arguments = plain.arguments(commit)?;
            let answer = self.link.write(&script::INSERT, APPLY, now, arguments)?;
            if plain::is_done(&answer) {
                return Ok(Applied::default());
            }
        }
        if let Some(arguments) = plain::done(batch, commit) {
            let answer = self.link.write(&script::DONE, APPLY, now, arguments)?;
            // Such tasks merge with nothing.
            return plain::is_done(&answer)
                .then(Applied::default)
                .ok_or_else(|| Fault::unexpected(&answer));
        }
        let batch = WireBatch::new(batch)?;
        let script = match batch.shape {
            Shape::Inserts => &script::APPLY_INSERTS,
            Shape::WithoutInserts => &script::APPLY_WITHOUT_INSERTS,
            Shape::Mixed => &script::APPLY,
        };
        let answer = self
            .link
            .write(script, APPLY, now, batch.add_to(commit.head()))?;
        applied(&reply::texts(answer)?)
    }

    /// Takes the outcomes whose records are to go, when enough have gathered for one command.
    fn take_known(&self) -> Vec<TxnId> {
        let mut known = self.known.lock();
        if known.len() < FORGOTTEN_MIN {
            return Vec::new();
        }
        let count = known.len().min(FORGOTTEN_MAX);
        known.drain(..count).collect()
    }
}

/// Joins ids by commas.
pub(super) fn joined<T: ToString>(ids: &[T]) -> String {
    let texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// Reads the pairs of merged tasks.
fn applied(words: &[String]) -> Result<Applied> {
    let id = |word: &String| {
        let id = word.parse::<TaskId>();
        id.map_err(|_| Fault::corrupt(format!("a task merged into `{word}`")))
    };
    let pairs = words.chunks_exact(2).map(|pair| match pair {
        [merged, holder] => Ok((id(merged)?, id(holder)?)),
        _ => Err(Fault::corrupt("a merged task has no holder")),
    });
    Ok(Applied {
        merged: pairs.collect::<Result<_>>()?,
    })
}

fn read_in_doubt(value: Value) -> Result<InDoubt> {
    let parts = reply::list(value)?;
    let [txn, register, at, count, size] = &parts[..] else {
        return Err(Fault::corrupt("a staged batch is incomplete"));
    };
    Ok(InDoubt {
        txn: reply::parsed(txn)?,
        register: reply::parsed(register)?,
        staged_at: Timestamp::from_micros(reply::number(at)?),
        change_count: reply::parsed(count)?,
        size: reply::parsed(size)?,
    })
}
