//! What a claim costs: whoever else claims, whatever the backlog, and while an old snapshot is held.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Barrier;

use postgres::Client;
use votive::store::Inspect;
use votive::store::postgres::PostgresStore;

use crate::fixture::{Process, SERVER, claim, done, options, schema};

#[test]
fn two_consumers_share_the_work() {
    let Some(server) = &*SERVER else { return };
    let store = crate::fixture::open(server);
    let mut process = Process::new(&store);
    let enqueued: BTreeSet<_> = process.enqueue(200).into_iter().collect();
    let both = Barrier::new(2);
    let drain = || {
        let process = Process::new(&store);
        let (consumer, presence) = process.consumer("web");
        both.wait();
        let claims = std::iter::from_fn(|| {
            let claims = claim(&store, &consumer, 2);
            both.wait();
            (!claims.is_empty()).then_some(claims)
        });
        let ids: Vec<_> = claims
            .take(50)
            .flatten()
            .map(|claim| claim.record.id)
            .collect();
        (ids, presence)
    };
    let drained: Vec<_> = std::thread::scope(|threads| {
        let threads = [threads.spawn(drain), threads.spawn(drain)];
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(drained.iter().all(|(ids, _)| ids.len() == 100));
    let claimed: Vec<_> = drained.into_iter().flat_map(|(ids, _)| ids).collect();
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), enqueued);
}

/// As many ready, scheduled and dead tasks each, put there without votive.
fn fill(client: &mut Client, schema: &str, count: u32) {
    let options = votive::codec::encode(&votive::task::Options::default()).unwrap();
    let insert = format!(
        "INSERT INTO {schema}.task (seq, rank, enqueued_at, published_at, not_before, version, attempts,
             conflicts, reclaims, state, format, is_plain, id, queue, kind, options, payload)
         SELECT nextval('{schema}.task_seq'), n, 0, 0, 9000000000000000 + n, 0, 0, 0, 0, s, 2, true,
             decode(lpad(to_hex(10 * n::bigint + s), 32, '0'), 'hex'), 'default', 'kind', $1, $2
         FROM generate_series(1, {count}) n, unnest(ARRAY[2, 3, 6]) s ORDER BY n, s"
    );
    client
        .execute(&insert, &[&options, &vec![7_u8; 100]])
        .unwrap();
    let line = format!(
        "INSERT INTO {schema}.ready (queue, rank, seq)
         SELECT queue, rank, seq FROM {schema}.task WHERE state = 3"
    );
    client.execute(&line, &[]).unwrap();
    client
        .batch_execute(&format!("VACUUM ANALYZE {schema}.task"))
        .unwrap();
    client
        .batch_execute(&format!("VACUUM ANALYZE {schema}.ready"))
        .unwrap();
}

/// The blocks of the store's tables and indexes that were touched, as the server counts them.
fn blocks(client: &mut Client, schema: &str) -> i64 {
    client
        .batch_execute("SELECT pg_stat_clear_snapshot()")
        .unwrap();
    let sum = "SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit, 0)
                          + coalesce(idx_blks_read, 0))::bigint
               FROM pg_statio_all_tables WHERE schemaname = $1";
    client.query_one(sum, &[&schema]).unwrap().get(0)
}

/// The blocks that a claim of ten tasks touches, and how many indexes it goes down.
fn blocks_of_a_claim(count: u32) -> Option<i64> {
    let server = SERVER.as_ref()?;
    let schema = schema();
    // The server reports what a session did when it ends.
    let open = || PostgresStore::open(&server.url(), options(&schema)).unwrap();
    drop(open());
    let mut client = server.client().unwrap();
    fill(&mut client, &schema, count);
    let mut measure = |claims: usize| {
        let store = open();
        let process = Process::new(&store);
        let (consumer, _presence) = process.consumer("web");
        let before = settle(&mut client, &schema);
        for _ in 0..claims {
            assert_eq!(claim(&store, &consumer, 10).len(), 10);
        }
        drop(store);
        settle(&mut client, &schema) - before
    };
    let (few, many) = (measure(5), measure(25));
    Some((many - few) / 20)
}

/// Waits until the server has counted what was done.
fn settle(client: &mut Client, schema: &str) -> i64 {
    let mut last = blocks(client, schema);
    let mut same = 0;
    while same < 20 {
        client.batch_execute("SELECT pg_sleep(0.05)").unwrap();
        let next = blocks(client, schema);
        same = if next == last { same + 1 } else { 0 };
        last = next;
    }
    last
}

#[test]
fn a_claim_touches_as_many_blocks_whatever_the_backlog() {
    let Some(few) = blocks_of_a_claim(1_000) else {
        return;
    };
    let Some(many) = blocks_of_a_claim(100_000) else {
        return;
    };
    eprintln!("blocks of a claim of ten: {few} at 1,000, {many} at 100,000");
    // Ten tasks go down five indexes each, and each index may be two levels deeper.
    assert!(many - few <= 2 * 10 * 5, "{few} became {many}");
}

#[test]
fn a_drain_goes_on_while_an_old_snapshot_is_held() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    let store = PostgresStore::open(&server.url(), options(&schema)).unwrap();
    let mut process = Process::new(&store);
    for _ in 0..20 {
        process.enqueue(500);
    }
    let mut holder = server.client().unwrap();
    let mut held = holder.build_transaction();
    held = held.isolation_level(postgres::IsolationLevel::RepeatableRead);
    let mut held = held.start().unwrap();
    held.query_one("SELECT 1", &[]).unwrap();
    let (consumer, _presence) = process.consumer("web");
    let mut drained = 0;
    loop {
        let claims = claim(&store, &consumer, 100);
        if claims.is_empty() {
            break;
        }
        drained += claims.len();
        process.apply(claims.iter().map(done).collect()).unwrap();
    }
    let mut client = server.client().unwrap();
    let dead = format!("SELECT count(*) FROM {schema}.task");
    let left: i64 = client.query_one(&dead, &[]).unwrap().get(0);
    assert_eq!((drained, left), (10_000, 0));
    assert!(store.check().unwrap().is_empty());
    drop(held);
}
