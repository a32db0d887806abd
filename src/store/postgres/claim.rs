//! Claims: which tasks, in which order, and how they become the claimer's.
//!
//! Everything here is an index seek: what a claim costs depends on what it takes, not on what waits. A task
//! that another transaction has locked is passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Result;
use super::groups;
use super::keys;
use super::names;
use super::notify::Fronts;
use super::row::{GIVEN, TaskRow, column, task_columns, tasks_with};
use super::session::Session;
use super::value::Value;
use crate::id::{ConsumerId, Incarnation, Token};
use crate::store::lifecycle::{self, Fate};
use crate::store::{Arrival, Claim, ClaimRequest, Want, rules};
use crate::task::{Record, State};
use crate::time::Timestamp;

/// How many tasks whose time has come one claim makes Ready at least: a bound on how long it takes.
const DUE_MAX: usize = 1_000;

/// Who has departed and holds claims of the queue `$1`. It is looked for from the leases, of which there
/// are few: from the claims it would cost as many steps as there were claims lately.
macro_rules! departed {
    ($now:literal, $own:literal) => {
        concat!(
            "(SELECT 1 FROM @.lease l WHERE l.expires_at <= ",
            $now,
            " AND l.incarnation <> ALL (",
            $own,
            ") AND (SELECT 1 FROM @.claim c WHERE c.holder = l.incarnation AND c.queue = $1 LIMIT 1)
                 IS NOT NULL)"
        )
    };
}

/// Gives the first tasks of a queue to a consumer, unless something else has to be done before: a task is
/// due, or somebody who holds claims has departed.
pub(super) const TAKE: &str = concat!(
    "WITH taken AS (
         DELETE FROM @.ready WHERE ctid = ANY (ARRAY(
             SELECT r.ctid FROM @.ready r WHERE r.queue = $1 AND r.rank >= $8
                 AND NOT EXISTS (SELECT 1 FROM @.task d WHERE d.queue = $1 AND d.state = 2
                     AND d.not_before <= $3)
                 AND NOT EXISTS ",
    departed!("$3", "$7"),
    "
             ORDER BY r.rank, r.seq LIMIT $2 FOR UPDATE OF r SKIP LOCKED))
         RETURNING rank, seq),
     given AS (
         SELECT seq, ($6::bigint[])[row_number() OVER (ORDER BY rank, seq)] AS token FROM taken),
     tasks AS MATERIALIZED (
         SELECT t.*, g.token FROM given g
         CROSS JOIN LATERAL (SELECT * FROM @.task t WHERE t.seq = g.seq LIMIT 1) t),
     held AS (
         INSERT INTO @.claim (id, seq, queue, rank, holder, token, name, claimed_at)
         SELECT t.id, t.seq, t.queue, t.rank, $4, t.token, $5, $3 FROM tasks t)
     SELECT ",
    task_columns!(),
    ", t.payload, t.token FROM tasks t"
);

/// Whether something has to be done before tasks of a queue can be given out.
const TROUBLE: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM @.task d WHERE d.queue = $1 AND d.state = 2 AND d.not_before <= $2),
         EXISTS ",
    departed!("$2", "$3")
);

/// Locks tasks whose time has come. Returns them, and of each whether it belongs to a group.
const DUE: &str = "\
SELECT t.seq, t.group_key IS NOT NULL FROM @.task t
WHERE t.queue = $1 AND t.state = 2 AND t.not_before <= $2
    AND NOT EXISTS (SELECT 1 FROM @.pin p WHERE p.seq = t.seq)
ORDER BY t.not_before, t.seq LIMIT $3 FOR UPDATE OF t SKIP LOCKED";

/// Makes those of the locked tasks Ready that no group holds back. Whoever has pinned one since it was
/// looked for had committed when it was locked, so that a statement that begins now sees the pin.
const MAKE_READY: &str = "\
WITH moved AS (
    UPDATE @.task t SET state = 3 WHERE t.seq = ANY ($1) AND t.group_key IS NULL
        AND NOT EXISTS (SELECT 1 FROM @.pin p WHERE p.seq = t.seq)
    RETURNING t.seq, t.rank, t.queue)
INSERT INTO @.ready (queue, rank, seq) SELECT queue, rank, seq FROM moved";

/// Claims what `request` wants, taking back what the departed hold; `own` lives, whatever its lease says.
pub(super) fn claim(
    session: &mut dyn Session,
    request: &ClaimRequest,
    (own, fronts): (&Value, &Fronts),
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for want in request.wants.iter().filter(|want| want.count > 0) {
        let mut taken = Vec::new();
        let mut again = true;
        while taken.is_empty() && again {
            let looking = fronts.look(&want.queue);
            let from = looking.rank;
            let (first, claimed) = take(session, (want, from), (&request.consumer, own), now)?;
            taken = claimed;
            again = fronts.found(&want.queue, &looking, first);
        }
        if taken.is_empty() {
            taken = take_with_trouble(session, want, (&request.consumer, own), now)?;
        }
        fronts.note(&taken);
        claims.append(&mut taken);
    }
    Ok(claims)
}

/// Takes what is in the line from the rank `from` on. Returns the rank of the first, too.
fn take(
    session: &mut dyn Session,
    (want, from): (&Want, i64),
    (consumer, own): (&ConsumerId, &Value),
    now: Timestamp,
) -> Result<(Option<i64>, Vec<Claim>)> {
    let token = |_| Some(Token::next(consumer.incarnation).count.cast_signed());
    let tokens = (0..want.count).map(token).collect();
    let rows = session.query(
        TAKE,
        vec![
            want.queue.as_str().into(),
            Value::count(want.count),
            now.into(),
            consumer.incarnation.into(),
            consumer.name.as_str().into(),
            Value::Integers(tokens),
            own.clone(),
            from.into(),
        ],
    )?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut task = TaskRow::read_task(row)?;
        lifecycle::claim(&mut task.record)?;
        let token = Token {
            incarnation: consumer.incarnation,
            count: column::<i64>(row, GIVEN)?.cast_unsigned(),
        };
        found.push((task, token));
    }
    found.sort_by_key(|(task, _): &(TaskRow, _)| (task.rank, task.seq));
    let first = found.first().map(|(task, _)| task.rank);
    let claims = found.into_iter();
    let claims = claims.map(|(task, token)| arrive(task, token, false, now));
    let claims: Vec<_> = claims.collect();
    free_keys(session, &claims)?;
    Ok((first, claims))
}

/// Claims when tasks have become due or claims have to be taken back: one step after the other.
fn take_with_trouble(
    session: &mut dyn Session,
    want: &Want,
    (consumer, own): (&ConsumerId, &Value),
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let queue = want.queue.as_str();
    let trouble = session.first(TROUBLE, vec![queue.into(), now.into(), own.clone()])?;
    let Some(trouble) = trouble else {
        return Ok(Vec::new());
    };
    let (is_due, has_departed): (bool, bool) = (column(&trouble, 0)?, column(&trouble, 1)?);
    if !is_due && !has_departed {
        return Ok(Vec::new());
    }
    if is_due {
        make_due_ready(session, want, now)?;
    }
    let mut claims = Vec::new();
    for row in candidates(session, want, own, now)? {
        claims.push(take_one(session, row, consumer, now)?);
    }
    free_keys(session, &claims)?;
    Ok(claims)
}

fn make_due_ready(session: &mut dyn Session, want: &Want, now: Timestamp) -> Result<()> {
    let limit = Value::count(want.count.max(DUE_MAX));
    let due = session.query(DUE, vec![want.queue.as_str().into(), now.into(), limit])?;
    let mut sequences = Vec::with_capacity(due.len());
    let mut has_grouped = false;
    for row in &due {
        sequences.push(Some(column::<i64>(row, 0)?));
        has_grouped |= column::<bool>(row, 1)?;
    }
    if sequences.is_empty() {
        return Ok(());
    }
    session.later(MAKE_READY, vec![Value::Integers(sequences.clone())])?;
    if !has_grouped {
        return Ok(());
    }
    let grouped = session.query(
        concat!(
            tasks_with!("''::bytea"),
            "WHERE t.seq = ANY ($1) AND t.group_key IS NOT NULL AND p.txn IS NULL
             ORDER BY t.not_before, t.seq"
        ),
        vec![Value::Integers(sequences)],
    )?;
    for row in &grouped {
        make_due(session, TaskRow::read(row)?, now)?;
    }
    Ok(())
}

/// A task whose group is just being passed on is left for the next claim.
fn make_due(session: &mut dyn Session, mut row: TaskRow, now: Timestamp) -> Result<()> {
    if let Some(group) = &row.record.options.group
        && !names::try_lock_group(session, group)?
    {
        return Ok(());
    }
    let group_busy = groups::is_busy(session, &row.record)?;
    lifecycle::due(&mut row.record, group_busy, now)?;
    rules::keep(&mut { session }, State::Scheduled, &row, Fate::Stays, now)
}

/// Returns the first of those that are Ready and those that the departed hold, in one order.
fn candidates(
    session: &mut dyn Session,
    want: &Want,
    own: &Value,
    now: Timestamp,
) -> Result<Vec<TaskRow>> {
    let queue = want.queue.as_str();
    let ready = session.query(
        "SELECT r.rank, r.seq FROM @.ready r WHERE r.queue = $1
         ORDER BY r.rank, r.seq LIMIT $2 FOR UPDATE SKIP LOCKED",
        vec![queue.into(), Value::count(want.count)],
    )?;
    let held = session.query(
        "SELECT c.rank, c.seq FROM @.lease l JOIN @.claim c ON c.holder = l.incarnation
         JOIN @.task t ON t.seq = c.seq
         WHERE l.expires_at <= $3 AND l.incarnation <> ALL ($4) AND c.queue = $1
             AND NOT EXISTS (SELECT 1 FROM @.pin p WHERE p.seq = c.seq)
         ORDER BY c.rank, c.seq LIMIT $2 FOR UPDATE OF c, t SKIP LOCKED",
        vec![
            queue.into(),
            Value::count(want.count),
            now.into(),
            own.clone(),
        ],
    )?;
    let mut places = BTreeSet::new();
    for row in ready.iter().chain(&held) {
        places.insert((column::<i64>(row, 0)?, column::<i64>(row, 1)?));
    }
    let sequences = places.iter().take(want.count).map(|(_, seq)| Some(*seq));
    let rows = session.query(
        concat!(tasks_with!("t.payload"), "WHERE t.seq = ANY ($1)"),
        vec![Value::Integers(sequences.collect())],
    )?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let row = TaskRow::read(row)?;
        found.insert((row.rank, row.seq), row);
    }
    Ok(found.into_values().collect())
}

fn take_one(
    session: &mut dyn Session,
    mut row: TaskRow,
    consumer: &ConsumerId,
    now: Timestamp,
) -> Result<Claim> {
    // A row of a claim is never changed, only deleted: who has found it may delete it by its place.
    let reclaimed = row.claim.is_some();
    let record = &mut row.record;
    if reclaimed {
        lifecycle::reclaim(record)?;
        session.later(
            "UPDATE @.task SET reclaims = $2 WHERE seq = $1",
            vec![row.seq.into(), record.counts.reclaims.into()],
        )?;
        session.later("DELETE FROM @.claim WHERE id = $1", vec![record.id.into()])?;
    } else {
        session.later(
            "DELETE FROM @.ready WHERE queue = $1 AND rank = $2 AND seq = $3",
            vec![(&*record.queue).into(), row.rank.into(), row.seq.into()],
        )?;
    }
    lifecycle::claim(record)?;
    let token = Token::next(consumer.incarnation);
    session.later(
        "INSERT INTO @.claim (id, seq, queue, rank, holder, token, name, claimed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        vec![
            record.id.into(),
            row.seq.into(),
            (&*record.queue).into(),
            row.rank.into(),
            token.incarnation.into(),
            token.count.cast_signed().into(),
            consumer.name.as_str().into(),
            now.into(),
        ],
    )?;
    Ok(arrive(row, token, reclaimed, now))
}

fn arrive(row: TaskRow, token: Token, reclaimed: bool, now: Timestamp) -> Claim {
    let expires_at = row.record.options.expires_at;
    let expired = expires_at.is_some_and(|at| at <= now);
    let arrival = match (expired, reclaimed) {
        (true, _) => Arrival::Expired,
        (false, true) => Arrival::Reclaimed,
        (false, false) => Arrival::Fresh,
    };
    Claim {
        record: row.record,
        token,
        arrival,
    }
}

/// A claimed task holds its key no more, unless it asked for that.
fn free_keys(session: &mut dyn Session, claims: &[Claim]) -> Result<()> {
    let records = claims.iter().map(|claim| &claim.record);
    let is_free =
        |record: &&Record| record.options.unique.is_some() && !lifecycle::holds_key(record);
    for record in records.filter(is_free) {
        keys::free_key(session, record)?;
    }
    Ok(())
}

/// Returns which of these claims are the present ones of their tasks.
pub(super) fn present(
    session: &mut dyn Session,
    ids: Vec<[u8; 16]>,
) -> Result<BTreeMap<[u8; 16], Token>> {
    let rows = session.query(
        "SELECT c.id, c.holder, c.token FROM @.claim c WHERE c.id = ANY ($1)",
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

    use votive_testbed::{Postgres, or_skip, postgres};

    use super::*;
    use crate::store::postgres::pool::{Durability, Write};
    use crate::store::postgres::{Options, PostgresStore};

    const WRITE: Write = Write {
        durability: Durability::Deferred,
        failpoints: ["", ""],
        wakes: false,
    };
    static SERVER: LazyLock<Option<Postgres>> =
        LazyLock::new(|| or_skip(Postgres::start(postgres::Options::default())));

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
        let server = SERVER.as_ref()?;
        let options = Options::default().schema(schema);
        let store = PostgresStore::open(&server.url(), options).unwrap();
        let task_options = crate::codec::encode(&crate::task::Options::default()).unwrap();
        let filled = store.write(WRITE, |session| {
            session.execute(
                "INSERT INTO @.task (seq, rank, enqueued_at, published_at, not_before, version, attempts,
                     conflicts, reclaims, state, format, is_plain, id, queue, kind, options, payload)
                 SELECT nextval('@.task_seq'), n, 0, 0, 9000000000000000 + n, 0, 0, 0, 0, s, 2, true,
                     decode(lpad(to_hex(10 * n + s), 32, '0'), 'hex'), 'default', 'kind', $1,
                     decode(repeat('07', 100), 'hex')
                 FROM generate_series(1, $2) n, unnest(ARRAY[2, 3, 6]) s",
                vec![task_options.into(), count.into()],
            )?;
            session.execute(
                "INSERT INTO @.ready (queue, rank, seq)
                 SELECT queue, rank, seq FROM @.task WHERE state = 3",
                Vec::new(),
            )
        });
        filled.unwrap();
        Some(store)
    }

    /// The blocks that a claim of ten tasks touches, as the server counts them; nothing is claimed.
    fn blocks(store: &PostgresStore) -> u64 {
        static EXPLAIN: LazyLock<String> =
            LazyLock::new(|| format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {TAKE}"));
        let values = vec![
            "default".into(),
            10_i64.into(),
            1_i64.into(),
            1_i64.into(),
            "web".into(),
            Value::Integers((1..=10).map(Some).collect()),
            Value::Integers(Vec::new()),
            i64::MIN.into(),
        ];
        let mut lines = Vec::new();
        let explained: Result<()> = store.write(WRITE, |session| {
            for row in session.query(&EXPLAIN, values)? {
                lines.push(column::<String>(&row, 0)?);
            }
            Err(crate::store::Kind::Conflict.into())
        });
        assert!(explained.is_err() && !lines.is_empty(), "{explained:?}");
        total(&lines)
    }

    /// Adds up the whole and the part that the whole does not contain: who inserts claims.
    fn total(lines: &[String]) -> u64 {
        let starts = lines
            .iter()
            .enumerate()
            .filter(|(at, line)| *at == 0 || line.contains("Insert on"));
        let of = |at: usize| {
            let counts = lines[at..]
                .iter()
                .find(|line| line.contains("Buffers: shared"));
            let counts = counts.into_iter().flat_map(|line| line.split_whitespace());
            let numbers =
                counts.filter_map(|word| word.strip_prefix("hit=").or(word.strip_prefix("read=")));
            numbers
                .map(|number| number.parse::<u64>().unwrap())
                .sum::<u64>()
        };
        starts.map(|(at, _)| of(at)).sum()
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
                "INSERT INTO @.claim (id, seq, queue, rank, holder, token, name, claimed_at)
                 SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), n, 'default', n, 1, n, 'web', 0
                 FROM generate_series(1, 20000) n",
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
