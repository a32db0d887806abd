//! What this version writes, later versions read: the commands in `tests/data/golden` make the keys that
//! version 1 made, and are never written again. `VOTIVE_WRITE_GOLDEN=1` writes a file that is missing.
#![cfg(test)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::{FromRedisValue, Value};
use votive::id::{ConsumerId, Incarnation, ResourceId, TaskId, TxnId};
use votive::register::{Decision, Register};
use votive::store::redis::RedisStore;
use votive::store::{
    Batch, Change, ClaimRequest, Dispatch, Filter, Inspect, Published, Settlement, Stage, Verdict,
    Want,
};
use votive::task::{
    Account, Counts, DeadReason, Failure, Format, OnDuplicate, Options, Payload, Record, State,
    Unique,
};
use votive::time::{ManualClock, Timestamp};
use votive_testbed::Redis;

use crate::fixture::{LONG, connect, options, server, tell};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const INCARNATION: Incarnation = Incarnation::from_u64(0x0123_4567_89ab_cdef);

fn txn(sequence: u64) -> TxnId {
    TxnId {
        incarnation: INCARNATION,
        sequence,
    }
}

fn insert(number: u8, options: Options) -> Change {
    let payload = Payload {
        format: Format::Json,
        version: 3,
        bytes: b"{\"n\":1}"[..].into(),
    };
    let id = TaskId::from_bytes([number; 16]);
    let record = Record::new(id, "default", "golden", payload, NOW).with_options(options);
    Change::Insert(Box::new(record))
}

fn with_ghosts() -> Filter {
    Filter {
        ghosts: true,
        ..Filter::default()
    }
}

/// Everything that an option can say.
fn full() -> Options {
    Options {
        priority: 30,
        delay: Some(Duration::from_secs(60)),
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Merge,
            ..Unique::new("key")
        }),
        group: Some("group".into()),
        about: vec!["object".into()],
        waits_for: vec![TaskId::from_bytes([9; 16])],
        retention: Some(Duration::from_secs(3_600)),
        ghost: true,
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        ..Options::default()
    }
}

fn open(server: &Redis) -> RedisStore {
    RedisStore::open(options(server.address()).clock(ManualClock::new(NOW))).unwrap()
}

fn keyed(key: &str) -> Options {
    Options {
        unique: Some(Unique::new(key)),
        ..Options::default()
    }
}

/// Makes tasks that are ready, claimed with and without a trace in the server's log, dead, waiting and staged, a mark,
/// an alias and outcomes.
fn fill(store: &RedisStore) {
    store.enroll(INCARNATION, NOW).unwrap();
    let mark = Change::Mark {
        key: "mark".into(),
        expect: None,
        value: Some(vec![7]),
    };
    let mut changes: Vec<_> = (1..=3).map(|n| insert(n, Options::default())).collect();
    changes.extend([insert(4, full()), insert(5, full()), mark]);
    changes.extend([insert(7, keyed("free")), insert(8, keyed("held"))]);
    changes.push(insert(9, Options::default()));
    let stores = [ResourceId::from_bytes([4; 16])];
    store
        .apply(txn(1), &Batch::new(changes), &stores, NOW)
        .unwrap();
    let presence = store.attend(INCARNATION, LONG).unwrap();
    let request = ClaimRequest {
        consumer: ConsumerId {
            incarnation: INCARNATION,
            name: "worker".into(),
        },
        wants: vec![Want {
            queue: "default".into(),
            count: 2,
        }],
        lease: LONG,
    };
    let claims = store.claim(&request, NOW).unwrap();
    assert_eq!(store.claim(&request, NOW).unwrap().len(), 2);
    let failure = Failure {
        attempt: 1,
        chain: vec!["outer".into(), "inner".into()],
        at: NOW,
        duration: Duration::from_millis(20),
    };
    let account = Account {
        failures: vec![failure],
        ..Account::default()
    };
    let bury = Change::Settle(Settlement {
        task: claims[0].record.id,
        token: claims[0].token,
        verdict: Verdict::Bury {
            reason: DeadReason::Failed,
        },
        account: Some(Box::new(account)),
        counts: Counts {
            attempts: 1,
            conflicts: 2,
            reclaims: 3,
        },
    });
    store
        .apply(txn(2), &Batch::new(vec![bury]), &stores, NOW)
        .unwrap();
    let staged = Batch::new(vec![insert(6, full()), crate::fixture::done(&claims[1])]);
    store.stage(txn(3), stores[0], &staged, NOW).unwrap();
    store.decide(txn(4), Decision::Aborted, &[]).unwrap();
    drop(presence);
}

/// One command as it goes over the wire.
fn command(words: &[Vec<u8>]) -> Vec<u8> {
    let mut request = redis::Cmd::new();
    request.arg(words);
    request.get_packed_command()
}

/// The commands that make every key there is.
fn dump(server: &Redis) -> Vec<u8> {
    let mut connection = connect(server);
    let mut ask =
        |words: &[&[u8]]| -> Value { redis::Cmd::new().arg(words).query(&mut connection).unwrap() };
    let mut keys: Vec<Vec<u8>> = FromRedisValue::from_redis_value(ask(&[b"KEYS", b"*"])).unwrap();
    keys.sort();
    let mut commands = Vec::new();
    for key in keys {
        let kind: String = FromRedisValue::from_redis_value(ask(&[b"TYPE", &key])).unwrap();
        let (write, read): (&[u8], Vec<&[u8]>) = match kind.as_str() {
            "string" => (b"SET", vec![b"GET", &key]),
            "hash" => (b"HSET", vec![b"HGETALL", &key]),
            "set" => (b"SADD", vec![b"SMEMBERS", &key]),
            "zset" => (b"ZADD", vec![b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"]),
            other => panic!("a key is a {other}"),
        };
        let mut values: Vec<Vec<u8>> = match ask(&read) {
            Value::BulkString(value) => vec![value],
            values => FromRedisValue::from_redis_value(values).unwrap(),
        };
        if kind == "zset" {
            values.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        }
        commands.extend(command(&[vec![write.to_vec(), key], values].concat()));
    }
    commands
}

/// A server with the keys that version 1 made.
fn golden() -> Option<Redis> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/redis-1.resp");
    write_once(&path)?;
    let server = server()?;
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&fs::read(path).unwrap()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(!answers.is_empty() && !answers.contains('-'), "{answers}");
    Some(server)
}

fn write_once(path: &PathBuf) -> Option<()> {
    if std::env::var_os("VOTIVE_WRITE_GOLDEN").is_some() && !path.exists() {
        let server = server()?;
        fill(&open(&server));
        let enrolled = "open:1700000000000000:somewhere";
        let meta = "{votive:default}:meta";
        tell(&server, &["HSET", meta, &INCARNATION.to_string(), enrolled]);
        fs::write(path, dump(&server)).unwrap();
    }
    Some(())
}

#[test]
fn the_tasks_of_a_server_of_version_1_are_read() {
    let Some(server) = golden() else { return };
    let page = open(&server).scan(&with_ghosts(), None, 10).unwrap();
    let found: Vec<_> = page.tasks.iter().map(|task| task.record.state).collect();
    let (dead, claimed, ready) = (State::Dead, State::Claimed, State::Ready);
    let waiting = State::Waiting;
    assert_eq!(
        found,
        [dead, claimed, claimed, waiting, claimed, ready, ready]
    );
    assert_eq!(page.tasks[0].record.counts.conflicts, 2);
    assert_eq!(page.tasks[0].record.failure().unwrap().chain.len(), 2);
    assert_eq!(*page.tasks[3].record.options, full());
}

#[test]
fn what_a_server_of_version_1_holds_is_healthy_and_can_be_published() {
    let Some(server) = golden() else { return };
    let store = open(&server);
    assert_eq!(Inspect::check(&store).unwrap(), Vec::<String>::new());
    assert!(matches!(store.publish(txn(3), NOW), Ok(Published::Now(_))));
    assert_eq!(store.mark("mark").unwrap(), Some(vec![7]));
    let outcomes = store.outcomes(None, 10).unwrap();
    let decisions: Vec<_> = outcomes.iter().map(|row| row.decision).collect();
    let committed = Decision::Committed;
    assert_eq!(decisions, [committed, committed, Decision::Aborted]);
    assert_eq!(Inspect::check(&store).unwrap(), Vec::<String>::new());
}
