//! Claims: which tasks, in which order, and how they become the claimer's.
//!
//! Everything here is an index seek: what a claim costs depends on what it takes, not on what waits. A run of
//! tasks that another transaction has locked is passed over.
//!
//! A row of `claim` is a run, too: tasks whose sequences follow each other and that were claimed together, with
//! tokens that follow each other. It says that each of them is claimed until the task goes, or says itself, in
//! `fence`, that the claim of this number is over; so a run is written once and deleted when it is of no use.

use std::collections::BTreeMap;

use super::error::{Fault, Result};
use super::insert;
use super::line;
use super::notify::Fronts;
use super::reclaim;
use super::row::{TaskRow, column};
use super::runs::Runs;
use super::session::Session;
use super::take::{TAKE, TAKE_ALONE, Take, Taken};
use super::value::Value;
use crate::id::{ConsumerId, Incarnation, Token};
use crate::store::{Arrival, Claim, Kind, Want};
use crate::time::Timestamp;

/// How many tasks a run of claims has at most: those of two runs of the line, one of which has but one place in
/// the first half.
#[cfg(test)]
pub(super) const RUN_MAX: usize = 2 * super::line::RUN_MAX - 1;

/// How many tasks one claim gives at most, so that the server can count with it.
const CLAIM_MAX: usize = 1 << 20;

/// Whether the claim `c` holds a task `t` that is Ready. How long a run may be bounds the search for it, which would
/// else go through all claims that are older.
macro_rules! holds_task {
    () => {
        "c.first > t.seq - 256 AND c.first <= t.seq AND c.last >= t.seq AND c.number > t.fence"
    };
}
/// The claim of a task `t`, called `c`, if it is claimed.
macro_rules! claim_of_task {
    () => {
        concat!(
            "LATERAL (SELECT c.* FROM @.claim c WHERE t.state = 3 AND ",
            $crate::store::postgres::claim::holds_task!(),
            " LIMIT 1) c "
        )
    };
}
/// The tasks that the run `c` still holds.
macro_rules! tasks_of_claim {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM @.task t WHERE t.seq BETWEEN c.first AND c.last AND t.state = 3 AND t.fence < c.number"
        )
    };
}
pub(super) use {claim_of_task, holds_task, tasks_of_claim};

/// The place of a run of the queue `$1` that tasks share on which nothing hangs, one of the first; null if none of them
/// is. A run of tasks with keys may be kept for long by an application's transaction that merges into one of them.
macro_rules! shared_run {
    () => {
        "(SELECT s.place FROM (
              SELECT r.ctid AS place, r.first FROM @.ready r WHERE r.queue = $1 AND r.first < r.last
              ORDER BY r.rank, r.first LIMIT 8) AS s
          WHERE (SELECT t.hangs FROM @.task t WHERE t.seq = s.first) = 0 LIMIT 1)"
    };
}
pub(super) use shared_run;

/// Waits until nobody else has such a run.
const LEFT: &str = concat!(
    "SELECT 1 FROM @.ready r WHERE r.ctid = ",
    shared_run!(),
    " FOR UPDATE"
);

/// How often one waits who finds again and again that others were faster.
const WAITS_MAX: usize = 8;

/// What a store remembers of its lines.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) fronts: Fronts,
    runs: Runs,
}

/// Who claims, when, and what is known of the lines.
#[derive(Clone, Copy)]
pub(super) struct Claimer<'a> {
    pub(super) consumer: &'a ConsumerId,
    /// The consumers of this process: they live, whatever their leases say.
    pub(super) own: &'a Value,
    pub(super) lines: &'a Lines,
    pub(super) now: Timestamp,
}

/// The first tasks of a queue, up to so many, from a rank on.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) queue: &'a str,
    pub(super) count: usize,
    pub(super) from: i64,
}

/// What a claim that was made by itself came to.
pub(super) enum Alone {
    Claimed(Vec<Claim>),
    /// What comes after these has to be claimed in a transaction.
    Partly(Vec<Claim>),
    /// There is nothing that could be taken so.
    Nothing,
    /// It has to be made in a transaction, from the beginning.
    Impossible,
}

/// Has a claim that failed be one of what it had taken before, which stays taken. If nobody knows what came of the
/// last step, nobody knows what was taken.
pub(super) fn or_less<T>(fault: Fault, taken: &[T]) -> Result<()> {
    if taken.is_empty() || fault.kind == Kind::Unknown {
        return Err(fault);
    }
    tracing::debug!(?fault, "a claim took less than was there");
    Ok(())
}

impl Claimer<'_> {
    /// Claims by statements that are transactions by themselves.
    pub(super) fn claim_alone(self, session: &mut dyn Session, wants: &[Want]) -> Result<Alone> {
        let [want] = wants else {
            return Ok(Alone::Impossible);
        };
        if want.count == 0 {
            return Ok(Alone::Impossible);
        }
        let fronts = &self.lines.fronts;
        let looking = fronts.look(&want.queue);
        let mut found = Vec::new();
        let taken = self.take_runs(session, TAKE_ALONE, head(want, looking.rank), &mut found);
        let is_all = taken.is_ok();
        if let Err(fault) = taken {
            or_less(fault, &found)?;
        }
        let first = found.first().map(|(task, _)| task.rank);
        let is_over = !fronts.found(&want.queue, &looking, first);
        let claims: Vec<_> = given(found, self.now).collect();
        fronts.note(&claims);
        Ok(match (claims.is_empty(), is_all) {
            (false, true) => Alone::Claimed(claims),
            (false, false) => Alone::Partly(claims),
            (true, true) if is_over => Alone::Nothing,
            (true, _) => Alone::Impossible,
        })
    }

    /// Claims in a transaction, taking back what the departed hold. The line itself is passed over if it `is_tried`.
    pub(super) fn claim(
        self,
        session: &mut dyn Session,
        wants: &[Want],
        is_tried: bool,
    ) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for want in wants.iter().filter(|want| want.count > 0) {
            let mut taken = Vec::new();
            if !is_tried {
                taken = self.take_from_front(session, want)?;
            }
            if taken.is_empty() {
                let trouble = reclaim::trouble(session, want, self)?;
                // Who holds locks already must not wait for more.
                taken = if trouble.is_there() {
                    reclaim::claim_with_trouble(session, want, trouble, self)?
                } else if trouble.shares_runs && claims.is_empty() {
                    self.take_what_is_left(session, want)?
                } else {
                    Vec::new()
                };
            }
            self.lines.fronts.note(&taken);
            claims.append(&mut taken);
        }
        Ok(claims)
    }

    /// Takes from where the line is remembered to begin, and again from its beginning if that was in vain.
    fn take_from_front(self, session: &mut dyn Session, want: &Want) -> Result<Vec<Claim>> {
        let fronts = &self.lines.fronts;
        loop {
            let looking = fronts.look(&want.queue);
            let (first, taken) = self.take_all(session, head(want, looking.rank))?;
            let is_over = !fronts.found(&want.queue, &looking, first);
            if is_over || !taken.is_empty() {
                return Ok(taken);
            }
        }
    }

    /// Takes what is in the line, looking again while its runs are shorter than was to be expected.
    fn take_runs(
        self,
        session: &mut dyn Session,
        how: Take,
        head: Head<'_>,
        taken: &mut Vec<(TaskRow, Token)>,
    ) -> Result<()> {
        let runs = &self.lines.runs;
        loop {
            let count = head.count - taken.len();
            let needed = runs.needed(head.queue, count);
            let Taken { tasks, left } = how.take(session, Head { count, ..head }, needed, self)?;
            let places = tasks.iter().map(|(task, _)| {
                let goes_on = line::may_go_on(insert::hangs(&task.record), task.seq);
                ((task.rank, task.seq), goes_on)
            });
            runs.found(head.queue, places, left);
            let is_all = tasks.is_empty() || tasks.len() >= count || needed >= count;
            taken.extend(tasks);
            if is_all {
                return Ok(());
            }
        }
    }

    /// Takes what is in the line, in a transaction. Returns the rank of the first, too.
    fn take_all(
        self,
        session: &mut dyn Session,
        head: Head<'_>,
    ) -> Result<(Option<i64>, Vec<Claim>)> {
        let mut found = Vec::new();
        self.take_runs(session, TAKE, head, &mut found)?;
        let first = found.first().map(|(task, _)| task.rank);
        Ok((first, given(found, self.now).collect()))
    }

    /// Waits for others who claim, each of whom takes a part of a run and leaves the rest, and takes of that.
    fn take_what_is_left(self, session: &mut dyn Session, want: &Want) -> Result<Vec<Claim>> {
        for _ in 0..WAITS_MAX {
            let is_there = session.exists(LEFT, vec![want.queue.as_str().into()])?;
            let (_, claims) = self.take_all(session, head(want, i64::MIN))?;
            if is_there || !claims.is_empty() {
                return Ok(claims);
            }
        }
        Ok(Vec::new())
    }
}

fn head(want: &Want, from: i64) -> Head<'_> {
    Head {
        queue: &want.queue,
        count: want.count.min(CLAIM_MAX),
        from,
    }
}

fn given(found: Vec<(TaskRow, Token)>, now: Timestamp) -> impl Iterator<Item = Claim> {
    let found = found.into_iter();
    found.map(move |(task, token)| arrive(task, token, false, now))
}

pub(super) fn arrive(row: TaskRow, token: Token, reclaimed: bool, now: Timestamp) -> Claim {
    Claim {
        arrival: Arrival::at_claim(&row.record.options, reclaimed, now),
        record: row.record,
        token,
    }
}

/// Returns the present claims of these tasks.
pub(super) fn present(
    session: &mut dyn Session,
    ids: Vec<[u8; 16]>,
) -> Result<BTreeMap<[u8; 16], Token>> {
    let rows = session.query(
        concat!(
            "SELECT t.id, c.holder, c.token + t.seq - c.first FROM unnest($1) AS a (id)
             CROSS JOIN LATERAL (SELECT * FROM @.task t WHERE t.id = a.id LIMIT 1) t
             CROSS JOIN ",
            claim_of_task!()
        ),
        vec![Value::Ids(ids)],
    )?;
    let mut tokens = BTreeMap::new();
    for row in &rows {
        let token = Token {
            incarnation: Incarnation::from_u64(column::<i64>(row, 1)?.cast_unsigned()),
            count: column::<i64>(row, 2)?.cast_unsigned(),
        };
        tokens.insert(super::row::id(row, 0)?, token);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::store::postgres::fixture::{SERVER, WRITE, blocks_of, explain, open};
    use crate::store::postgres::take::TAKE;
    use crate::store::postgres::{PostgresStore, tasks};

    /// A store with as many ready, scheduled and dead tasks each, of which the server knows how many they are.
    fn backlog(schema: &str, count: i64) -> Option<PostgresStore> {
        let store = unknown_backlog(schema, count)?;
        let mut client = SERVER.as_ref()?.client().unwrap();
        for table in ["task", "ready"] {
            let vacuum = format!("VACUUM ANALYZE {schema}.{table}");
            client.batch_execute(&vacuum).unwrap();
        }
        Some(store)
    }

    /// The same, of which the server knows nothing yet.
    fn unknown_backlog(schema: &str, count: i64) -> Option<PostgresStore> {
        let store = open(schema)?;
        let task_options = crate::codec::encode(&crate::task::Options::default()).unwrap();
        let filled = store.write(WRITE, |session| {
            session.execute(
                "INSERT INTO @.task (seq, rank, enqueued_at, published_at, not_before, version, attempts,
                     conflicts, reclaims, state, format, hangs, id, queue, kind, options, payload)
                 SELECT nextval('@.task_seq'), n, 0, 0, 9000000000000000 + n, 0, 0, 0, 0, s, 2, 0,
                     decode(lpad(to_hex(10 * n + s), 32, '0'), 'hex'), 'default', 'kind', $1,
                     decode(repeat('07', 100), 'hex')
                 FROM generate_series(1, $2) n, unnest(ARRAY[2, 3, 6]) s",
                vec![task_options.into(), count.into()],
            )?;
            session.execute(
                "INSERT INTO @.ready (queue, rank, first, last)
                 SELECT queue, rank, seq, seq FROM @.task WHERE state = 3",
                Vec::new(),
            )
        });
        filled.unwrap();
        Some(store)
    }

    /// The blocks that a claim of ten tasks touches, as the server counts them; nothing is claimed.
    fn blocks(store: &PostgresStore) -> u64 {
        static EXPLAIN: LazyLock<String> = LazyLock::new(|| explain(TAKE.several));
        let values = vec![
            "default".into(),
            10_i64.into(),
            1_i64.into(),
            1_i64.into(),
            "web".into(),
            1_i64.into(),
            Value::Integers(Vec::new()),
            i64::MIN.into(),
            10_i64.into(),
        ];
        blocks_of(store, &EXPLAIN, values)
    }

    #[test]
    fn a_claim_touches_as_many_blocks_whatever_the_backlog() {
        let Some(few) = backlog("few", 1_000) else {
            return;
        };
        let Some(many) = backlog("many", 100_000) else {
            return;
        };
        let (few, many) = (blocks(&few), blocks(&many));
        eprintln!("blocks of a claim of ten: {few} at 1,000, {many} at 100,000");
        // A look at the line, one at what is due and ten at the tasks: each may go two levels deeper.
        assert!(few > 10 && many <= few + 2 * 12, "{few} became {many}");
    }

    #[test]
    fn a_claim_touches_as_many_blocks_whatever_the_server_takes_the_tables_for() {
        let Some(store) = unknown_backlog("unknown", 20_000) else {
            return;
        };
        let claimed_before = store.write(WRITE, |session| {
            session.execute(
                "INSERT INTO @.claim (number, holder, token, first, last, claimed_at, queue, name)
                 SELECT n, 1, n, n, n, 0, 'default', 'web' FROM generate_series(1, 20000) n",
                Vec::new(),
            )?;
            session.execute("DELETE FROM @.claim", Vec::new())?;
            session.execute(
                "INSERT INTO @.lease (incarnation, expires_at) VALUES (1, 9000000000000000)",
                Vec::new(),
            )
        });
        claimed_before.unwrap();
        let touched = blocks(&store);
        eprintln!("blocks of a claim of ten that is planned blindly: {touched}");
        assert!(touched < 200, "{touched}");
    }

    #[test]
    fn a_lock_touches_few_blocks_whatever_the_server_takes_the_tables_for() {
        static EXPLAIN: LazyLock<[String; 2]> = LazyLock::new(|| tasks::LOCK.map(explain));
        let Some(store) = unknown_backlog("unlocked", 20_000) else {
            return;
        };
        // Far from the first in the order of sequences.
        let ids = (1..=10_u128).map(|n| (10 * (10_000 + n) + 3).to_be_bytes());
        let ids: Vec<_> = ids.collect();
        for explain in EXPLAIN.iter() {
            let touched = blocks_of(&store, explain, vec![Value::Ids(ids.clone())]);
            eprintln!("blocks of a lock of ten that is planned blindly: {touched}");
            assert!((10..300).contains(&touched), "{touched}");
        }
    }

    #[test]
    fn a_claim_walks_over_narrow_rows_while_an_old_snapshot_is_held() {
        let Some(store) = backlog("held", 50_000) else {
            return;
        };
        let mut client = SERVER.as_ref().unwrap().client().unwrap();
        let held = client.build_transaction();
        let mut held = held
            .isolation_level(::postgres::IsolationLevel::RepeatableRead)
            .start()
            .unwrap();
        held.query_one("SELECT 1", &[]).unwrap();
        let before = blocks(&store);
        let claimed = store.write(WRITE, |session| {
            session.execute("DELETE FROM @.ready WHERE rank <= 40000", Vec::new())
        });
        assert_eq!(claimed.unwrap(), 40_000);
        let after = blocks(&store);
        eprintln!("blocks of a claim of ten: {before}, and {after} behind 40,000 dead versions");
        assert!(after - before < 40_000 / 50, "{before} became {after}");
        drop(held);
    }
}
