//! Two sessions at the same task at the same moment, one of which keeps it for a staged transaction.
#![cfg(test)]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use votive::id::TxnId;
use votive::resource::postgres::EnlistingClient;
use votive::store::postgres::PostgresStore;
use votive::store::{
    Amendment, Batch, Change, Claim, Dispatch, Error, Inspect, Kind, Published, Stage,
};
use votive::task::{Options, Record, State, StateSet};
use votive_testbed::Postgres;

use crate::fixture::{Process, SERVER, claim, done, insert, record, request, schema};
use crate::keys::{enlist, has_key, keyed};

/// The number of the lock that holds a statement back.
const GATE: i64 = 7;

const MARK: &str = "mark";

const HOUR: Duration = Duration::from_secs(3_600);

/// Holds statements of a store back.
struct Gate {
    schema: String,
    client: postgres::Client,
}

/// A store in a database of its own, whose owner is subject to policies.
fn open(server: &Postgres) -> (PostgresStore, Gate) {
    let schema = schema();
    let url = server.create_database(&schema).unwrap();
    let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    let owner =
        format!("CREATE ROLE {schema} LOGIN; GRANT CREATE ON DATABASE {schema} TO {schema}");
    client.batch_execute(&owner).unwrap();
    let url = format!("postgres://{schema}@{}/{schema}", server.address());
    let store = PostgresStore::open(&url, crate::fixture::options(&schema)).unwrap();
    (store, Gate { schema, client })
}

impl Gate {
    /// Runs `held` until its statement that has `part` in it has a snapshot and looks at the tasks but has locked
    /// none, then `meanwhile`, then the rest of `held`.
    fn hold<T: Send>(
        &mut self,
        part: &str,
        held: impl FnOnce() -> T + Send,
        meanwhile: impl FnOnce(),
    ) -> T {
        let Self { schema, client } = self;
        let closed = format!(
            "CREATE FUNCTION {schema}.gate() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 IF strpos(current_query(), '{part}') > 0 THEN
                     PERFORM pg_advisory_xact_lock_shared({GATE});
                 END IF;
                 RETURN true;
             END $$;
             CREATE POLICY gate ON {schema}.task USING ({schema}.gate()) WITH CHECK (true);
             ALTER TABLE {schema}.task ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             SELECT pg_advisory_lock({GATE})"
        );
        client.batch_execute(&closed).unwrap();
        std::thread::scope(|threads| {
            let held = threads.spawn(held);
            self.await_blocked(None);
            meanwhile();
            let opened = format!("SELECT pg_advisory_unlock({GATE})");
            self.client.batch_execute(&opened).unwrap();
            held.join().unwrap()
        })
    }

    /// Stages the settlement of `claim`; runs `other` when the task is pinned but not committed, until it waits
    /// for that, then lets the stage commit. Returns what became of `other`.
    fn while_staging<T: Send>(
        &mut self,
        (store, txn): (&PostgresStore, TxnId),
        claim: &Claim,
        other: impl FnOnce() -> T + Send,
    ) -> T {
        let mark = Change::Mark {
            key: MARK.to_owned(),
            expect: None,
            value: Some(vec![1]),
        };
        let changes = vec![done(claim), mark];
        // The last that a stage does: it waits for whoever has made the same reservation.
        let reserve = format!(
            "INSERT INTO {}.reservation (kind, name, txn) VALUES (1, '{MARK}', $1)",
            self.schema
        );
        self.client.batch_execute("BEGIN").unwrap();
        let same = txn.to_bytes().to_vec();
        self.client.execute(&reserve, &[&same]).unwrap();
        std::thread::scope(|threads| {
            let staged = threads.spawn(|| stage(store, txn, changes));
            let stage = self.await_blocked(None);
            let other = threads.spawn(other);
            self.await_blocked(Some(stage));
            self.client.batch_execute("ROLLBACK").unwrap();
            staged.join().unwrap().unwrap();
            other.join().unwrap()
        })
    }

    /// Waits until a session waits for that of the server's process `by`, or for the one of this gate. Returns
    /// which does.
    fn await_blocked(&mut self, by: Option<i32>) -> i32 {
        // Not of pg_stat_activity, which looks the same for as long as a transaction lasts.
        let sql = "SELECT pid FROM pg_locks WHERE NOT granted
                   AND coalesce($1, pg_backend_pid()) = ANY (pg_blocking_pids(pid)) LIMIT 1";
        let pause = Duration::from_millis(2);
        for _ in 0..10_000 {
            if let Some(row) = self.client.query_opt(sql, &[&by]).unwrap() {
                return row.get(0);
            }
            std::thread::park_timeout(pause);
        }
        panic!("nobody waits");
    }
}

fn stage(store: &PostgresStore, txn: TxnId, changes: Vec<Change>) -> Result<(), Error> {
    store.stage(txn, store.id(), &Batch::new(changes), store.now()?)
}

fn amend(record: &Record, amendment: Amendment) -> Change {
    Change::Amend {
        task: record.id,
        expect: StateSet::ALL,
        amendment,
    }
}

fn visible(store: &PostgresStore) -> usize {
    let listed = store.scan(&votive::store::Filter::default(), None, 10);
    listed.unwrap().tasks.len()
}

/// A staged transaction is published, after which so many tasks are `left` and nothing is wrong.
fn assert_publishes(store: &PostgresStore, txn: TxnId, left: usize) {
    let published = store.publish(txn, store.now().unwrap()).unwrap();
    assert!(matches!(published, Published::Now(_)), "{published:?}");
    assert_eq!(visible(store), left);
    assert_eq!(store.check().unwrap(), Vec::<String>::new());
}

/// What becomes of `other`, which is about a claimed task, while its settlement is being staged.
fn beside_a_staged_settlement(
    other: impl FnOnce(&mut Process<'_>, &Claim) -> Result<(), Error> + Send,
) {
    let Some(server) = &*SERVER else { return };
    let (store, mut gate) = open(server);
    let [mut process, mut another] = [Process::new(&store), Process::new(&store)];
    process.enqueue(1);
    let (consumer, _presence) = process.consumer("web");
    let claimed = claim(&store, &consumer, 1).remove(0);
    let txn = process.txn();
    let refused = gate.while_staging((&store, txn), &claimed, || other(&mut another, &claimed));
    assert_eq!(refused.unwrap_err().kind, Kind::Pinned(claimed.record.id));
    assert_publishes(&store, txn, 0);
}

#[test]
fn a_claim_whose_settlement_is_being_staged_is_not_settled_in_one_piece() {
    beside_a_staged_settlement(|process, claim| process.apply(vec![done(claim)]).map(drop));
}

#[test]
fn a_claim_whose_settlement_is_being_staged_is_not_settled_step_by_step() {
    beside_a_staged_settlement(|process, claim| {
        let mark = Change::Mark {
            key: "another".to_owned(),
            expect: None,
            value: Some(vec![1]),
        };
        process.apply(vec![done(claim), mark]).map(drop)
    });
}

#[test]
fn a_task_whose_settlement_is_being_staged_is_not_amended() {
    beside_a_staged_settlement(|process, claim| {
        let moved = Amendment::Move("elsewhere".to_owned());
        process.apply(vec![amend(&claim.record, moved)]).map(drop)
    });
}

#[test]
fn a_claim_is_staged_to_be_settled_by_one_of_two() {
    beside_a_staged_settlement(|process, claim| {
        let txn = process.txn();
        stage(process.store, txn, vec![done(claim)])
    });
}

/// Two claims of one task each, which two transactions end in different orders, while somebody else has the first.
#[test]
fn who_ends_claims_and_who_stages_their_end_wait_for_each_other_in_one_order() {
    let Some(server) = &*SERVER else { return };
    let (store, mut gate) = open(server);
    let [mut process, mut another] = [Process::new(&store), Process::new(&store)];
    process.enqueue(2);
    let (consumer, _presence) = process.consumer("web");
    let claims = [(); 2].map(|()| claim(&store, &consumer, 1).remove(0));
    let [there, back] = [[0, 1], [1, 0]].map(|order| order.map(|at: usize| done(&claims[at])));
    let first = claims[0].record.id.to_bytes().to_vec();
    let keep = format!(
        "SELECT 1 FROM {}.task WHERE id = $1 FOR UPDATE",
        gate.schema
    );
    gate.client.batch_execute("BEGIN").unwrap();
    gate.client.execute(&keep, &[&first]).unwrap();
    let txn = process.txn();
    let (staged, applied) = std::thread::scope(|threads| {
        let staging = threads.spawn(|| stage(&store, txn, back.to_vec()));
        let stage = gate.await_blocked(None);
        let applying = threads.spawn(|| another.apply(there.to_vec()));
        gate.await_blocked(Some(stage));
        gate.client.batch_execute("ROLLBACK").unwrap();
        (staging.join().unwrap(), applying.join().unwrap())
    });
    staged.unwrap();
    assert_eq!(applied.unwrap_err().kind, Kind::Pinned(claims[0].record.id));
    assert_publishes(&store, txn, 0);
}

#[test]
fn a_claim_whose_settlement_is_being_staged_is_not_taken_back() {
    let Some(server) = &*SERVER else { return };
    let (store, mut gate) = open(server);
    let mut process = Process::new(&store);
    process.enqueue(1);
    let (consumer, presence) = process.consumer("web");
    let claimed = claim(&store, &consumer, 1).remove(0);
    drop(presence);
    let (consumer, _presence) = process.consumer("another");
    let txn = process.txn();
    let staging = || stage(&store, txn, vec![done(&claimed)]).unwrap();
    let taken = gate.hold(
        "SELECT h.incarnation FROM held",
        || claim(&store, &consumer, 1),
        staging,
    );
    assert_eq!(taken.len(), 0);
    assert_publishes(&store, txn, 0);
}

#[test]
fn a_task_whose_cancelling_is_being_staged_does_not_become_due() {
    let Some(server) = &*SERVER else { return };
    for group in [None, Some("group".to_owned())] {
        let (store, mut gate) = open(server);
        let mut process = Process::new(&store);
        let now = store.now().unwrap();
        let scheduled = record(&store).with_options(Options {
            not_before: Some(now.saturating_add(HOUR)),
            group,
            ..Options::default()
        });
        process.apply(vec![insert(scheduled.clone())]).unwrap();
        let (consumer, _presence) = process.consumer("web");
        let txn = process.txn();
        let later = now.saturating_add(2 * HOUR);
        let claiming = || store.claim(&request(&consumer, 1), later).unwrap();
        let cancelled = Change::Amend {
            task: scheduled.id,
            expect: StateSet::of(&[State::Scheduled]),
            amendment: Amendment::Remove,
        };
        let cancelling = || stage(&store, txn, vec![cancelled]).unwrap();
        let taken = gate.hold("ORDER BY t.not_before", claiming, cancelling);
        assert_eq!(taken.len(), 0);
        assert_publishes(&store, txn, 0);
    }
}

/// A record of a task that is done, whose time is up in an hour.
fn ended(process: &mut Process<'_>) -> Record {
    let retained = record(process.store).with_options(Options {
        retention: Some(HOUR),
        ..Options::default()
    });
    process.apply(vec![insert(retained.clone())]).unwrap();
    let (consumer, _presence) = process.consumer("web");
    let claimed = claim(process.store, &consumer, 1).remove(0);
    process.apply(vec![done(&claimed)]).unwrap();
    retained
}

/// Writes when all records have had their time.
fn apply_later(process: &mut Process<'_>) {
    let later = process.store.now().unwrap().saturating_add(2 * HOUR);
    let (txn, nothing) = (process.txn(), Batch::new(Vec::new()));
    process.store.apply(txn, &nothing, &[], later).unwrap();
}

#[test]
fn a_record_whose_change_is_being_staged_is_not_dropped() {
    let Some(server) = &*SERVER else { return };
    for (amendment, left) in [(Amendment::Remove, 0), (Amendment::Revive, 1)] {
        let (store, mut gate) = open(server);
        let [mut process, mut another] = [Process::new(&store), Process::new(&store)];
        let retained = ended(&mut process);
        let txn = process.txn();
        let staging = || stage(&store, txn, vec![amend(&retained, amendment)]).unwrap();
        gate.hold("t.kept_until <= ", || apply_later(&mut another), staging);
        assert_publishes(&store, txn, left);
    }
}

#[test]
fn a_record_is_dropped_in_its_time_after_its_change_was_discarded() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    let retained = ended(&mut process);
    let txn = process.txn();
    stage(&store, txn, vec![amend(&retained, Amendment::Revive)]).unwrap();
    apply_later(&mut process);
    assert_eq!(visible(&store), 1);
    store.discard(txn).unwrap();
    apply_later(&mut process);
    assert_eq!(visible(&store), 0);
}

#[test]
fn who_merges_keeps_the_holder_although_another_of_its_run_was_being_claimed() {
    let Some(server) = &*SERVER else { return };
    let (store, mut gate) = open(server);
    let store = Arc::new(store);
    let mut process = Process::new(&store);
    let all = (0..10).map(|key| insert(keyed(&store, key)));
    process.apply(all.collect()).unwrap();
    let (consumer, _presence) = process.consumer("web");
    let url = server.url_of(&gate.schema);
    let connect = || postgres::Client::connect(&url, postgres::NoTls).unwrap();
    let (mut client, mut watch) = (EnlistingClient::new(connect()), connect());
    let (merged, is_merged) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    std::thread::scope(|threads| {
        let merging = || {
            let store = &store;
            threads.spawn(move || {
                let mut txn = client.transaction().unwrap();
                enlist(store, &mut txn, 5);
                merged.send(()).unwrap();
                may_go_on.recv().unwrap();
                txn.commit().unwrap();
            });
            await_row(&mut watch);
        };
        let first = gate.hold("FROM given g", || claim(&store, &consumer, 1), merging);
        is_merged.recv().unwrap();
        let others = claim(&store, &consumer, 10);
        go_on.send(()).unwrap();
        assert!(has_key(&first, 0) && !has_key(&others, 5));
    });
    assert!(has_key(&claim(&store, &consumer, 10), 5));
}

/// Waits until a session of the database waits for a row that another has changed.
fn await_row(client: &mut postgres::Client) {
    let sql = "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
               WHERE a.datname = current_database() AND NOT l.granted AND l.locktype = 'transactionid' LIMIT 1";
    for _ in 0..10_000 {
        if client.query_opt(sql, &[]).unwrap().is_some() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    panic!("nobody waits");
}
