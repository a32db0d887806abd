//! Who committed. Every question is a write, so that no answer comes from what is not on disk.

use redis::Value;

use super::error::{Fault, Result};
use super::presence::MANAGER_LEASE;
use super::script::{self, Arguments, Script, Step};
use super::stage::joined;
use super::{RedisStore, reply};
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{
    Answer, Decision, IncarnationRow, OutcomeRow, Register, RegisterError, Standing,
};
use crate::time::Timestamp;

const DECIDE: Step = Step::promise("redis.decide.before_commit", "redis.decide.after_commit");
const FORGET: Step = Step::repeatable("redis.forget.before_commit", "redis.forget.after_commit");

type Answered<T> = std::result::Result<T, RegisterError>;

impl Register for RedisStore {
    fn resource(&self) -> ResourceId {
        self.id
    }

    fn enroll(&self, incarnation: Incarnation, now: Timestamp) -> Answered<()> {
        let enroll = || {
            let host = gethostname::gethostname().to_string_lossy().into_owned();
            let arguments = Arguments::default()
                .shown(incarnation)
                .with(host)
                .shown(MANAGER_LEASE.as_micros());
            self.link.write(&script::ENROLL, DECIDE, now, arguments)?;
            self.leases.add_manager(incarnation);
            self.start_renewal()
        };
        self.answer("enrol an incarnation", enroll)
    }

    fn decide(&self, txn: TxnId, want: Decision, stores: &[ResourceId]) -> Answered<Answer> {
        self.answer("decide a transaction", || {
            let arguments = Arguments::default()
                .shown(txn)
                .with(word(want))
                .with(joined(stores));
            let answer = self.ask(&script::DECIDE, DECIDE, arguments)?;
            let [decision, standing] = &reply::texts(answer)?[..] else {
                return Err(Fault::corrupt("a decision is incomplete"));
            };
            Ok(Answer {
                decision: read_decision(decision),
                standing: read_standing(standing)?,
            })
        })
    }

    fn outcomes(&self, after: Option<TxnId>, limit: usize) -> Answered<Vec<OutcomeRow>> {
        self.answer("list outcomes", || {
            let after = after.map(|txn| txn.to_string()).unwrap_or_default();
            let arguments = Arguments::default()
                .with("outcomes")
                .with(after)
                .shown(limit);
            let rows = self.ask(&script::REGISTER, DECIDE, arguments)?;
            reply::texts(rows)?.iter().map(|row| outcome(row)).collect()
        })
    }

    fn incarnations(&self) -> Answered<Vec<IncarnationRow>> {
        self.answer("list incarnations", || {
            let arguments = Arguments::default().with("incarnations");
            let rows = reply::texts(self.ask(&script::REGISTER, DECIDE, arguments)?)?;
            let rows = rows.chunks_exact(2).map(incarnation);
            rows.collect()
        })
    }

    fn departed(&self) -> Answered<Vec<Incarnation>> {
        self.answer("look who has departed", || {
            let arguments = Arguments::default().with("departed");
            let departed = self.ask(&script::REGISTER, DECIDE, arguments)?;
            reply::list(departed)?.iter().map(reply::parsed).collect()
        })
    }

    fn close(&self, incarnation: Incarnation) -> Answered<()> {
        self.answer("close an incarnation", || {
            let arguments = Arguments::default().shown(incarnation);
            self.ask(&script::CLOSE, DECIDE, arguments).map(drop)
        })
    }

    fn forget(&self, txns: &[TxnId]) -> Answered<usize> {
        self.answer("forget outcomes", || {
            let arguments = Arguments::default().with(joined(txns));
            let count = self.ask(&script::FORGET, FORGET, arguments)?;
            Ok(usize::try_from(reply::number(&count)?).unwrap_or(0))
        })
    }

    fn drop_incarnation(&self, incarnation: Incarnation) -> Answered<bool> {
        self.answer("drop an incarnation", || {
            let arguments = Arguments::default().shown(incarnation);
            let dropped = self.ask(&script::DROP, DECIDE, arguments)?;
            Ok(reply::number(&dropped)? > 0)
        })
    }
}

impl RedisStore {
    fn ask(&self, script: &Script, step: Step, arguments: Arguments) -> Result<Value> {
        let now = self.link.clock.guess();
        self.link.write(script, step, now, arguments)
    }

    fn answer<T>(&self, operation: &'static str, ask: impl FnOnce() -> Result<T>) -> Answered<T> {
        ask().map_err(|fault| fault.in_register(self.id, operation))
    }
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Committed => "commit",
        Decision::Aborted => "abort",
    }
}

fn read_decision(word: &str) -> Option<Decision> {
    match word {
        "commit" => Some(Decision::Committed),
        "abort" => Some(Decision::Aborted),
        _ => None,
    }
}

fn read_standing(word: &str) -> Result<Standing> {
    match word {
        "open" => Ok(Standing::Open),
        "closed" => Ok(Standing::Closed),
        "gone" => Ok(Standing::Gone),
        word => Err(Fault::corrupt(format!("an incarnation is `{word}`"))),
    }
}

/// Reads `txn:decision:stores`.
fn outcome(row: &str) -> Result<OutcomeRow> {
    let read = || {
        let mut parts = row.split(':');
        let txn = parts.next()?.parse().ok()?;
        let decision = read_decision(parts.next()?)?;
        let stores = parts.next()?.split(',').filter(|store| !store.is_empty());
        let stores = stores.map(|store| store.parse().ok());
        Some(OutcomeRow {
            txn,
            decision,
            stores: stores.collect::<Option<_>>()?,
        })
    };
    read().ok_or_else(|| Fault::corrupt(format!("an outcome is `{row}`")))
}

/// Reads an id and `standing:started_at:host`.
fn incarnation(pair: &[String]) -> Result<IncarnationRow> {
    let read = || {
        let [id, row] = pair else { return None };
        let mut parts = row.splitn(3, ':');
        let standing = parts.next()?;
        Some(IncarnationRow {
            incarnation: id.parse().ok()?,
            closed: standing == "closed",
            started_at: Timestamp::from_micros(parts.next()?.parse().ok()?),
            host: parts.next()?.to_owned(),
        })
    };
    read().ok_or_else(|| Fault::corrupt(format!("an incarnation is {pair:?}")))
}
