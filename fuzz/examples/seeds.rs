//! Writes the seeds of all targets, to be run again when a format changes:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use votive::codec;
use votive::id::{Incarnation, TaskId, Token, TxnId};
use votive::store::{Amendment, Batch, Change, Settlement, Verdict};
use votive::task::{
    Account, Counts, DeadReason, Failure, OnDuplicate, Options, Payload, PayloadLimits, Record,
    StateSet, Unique,
};
use votive::time::Timestamp;

const ID: TaskId = TaskId::from_bytes([7; 16]);
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn main() -> io::Result<()> {
    let batches = [
        Batch::new(changes()),
        Batch::new(settlements()),
        Batch::default(),
    ];
    for (number, batch) in batches.iter().enumerate() {
        write(
            "codec",
            &format!("batch-{number}"),
            0,
            &codec::encode(batch).unwrap(),
        )?;
    }
    write("codec", "record", 1, &codec::encode(&record()).unwrap())?;
    write(
        "codec",
        "payload",
        2,
        &codec::encode(&payload("[1, {\"a\": null}]")).unwrap(),
    )?;
    let txns = [TxnId {
        incarnation: Incarnation::from_u64(5),
        sequence: 6,
    }; 3];
    write(
        "codec",
        "transactions",
        3,
        &codec::encode(&txns[..]).unwrap(),
    )?;
    payloads()?;
    programs()
}

fn payloads() -> io::Result<()> {
    // Variants of `Tree` in postcard: a number, a text, boxes, a list of leaves, a map, a pair.
    let postcard: [&[u8]; 6] = [
        &[1, 0x80, 0x01],
        &[2, 2, b'o', b'k'],
        &[3, 3, 4, 1, 0],
        &[5, 3, 0, 0, 0],
        &[6, 1, 1, b'k', 0],
        &[7, 0, 1, 2],
    ];
    for (number, bytes) in postcard.iter().enumerate() {
        write("payload", &format!("postcard-{number}"), 0, bytes)?;
    }
    write("payload", "postcard-deep", 0, &[3; 200])?;
    let json = [
        r#"{"Pair":{"left":{"Text":"a\u00e9\n"},"right":{"List":["Leaf",{"Number":-1}]}}}"#,
        r#"{"Map":{"key":{"Maybe":null},"other":{"Maybe":{"Boxed":"Leaf"}}}}"#,
        r#"[1.5e300, true, "x", null]"#,
    ];
    for (number, text) in json.iter().enumerate() {
        write("payload", &format!("json-{number}"), 1, text.as_bytes())?;
    }
    write("payload", "json-deep", 1, "[".repeat(300).as_bytes())
}

/// Programs as `bin/programs` reads them: an operation in the lower half of a byte, its parameter in the
/// upper one.
fn programs() -> io::Result<()> {
    let programs: [(&str, &[u8]); 9] = [
        // Enqueue two, claim one, settle it with a child.
        ("one-store", &[0, 0, 0, 13, 6, 0, 4, 0, 13]),
        // Enqueue into both, claim from both, settle both at once.
        ("two-stores", &[0, 0, 0x10, 13, 0x46, 0x56, 0, 4, 5, 13]),
        ("savepoints", &[0, 0, 6, 0x10, 6, 0, 8, 7, 6, 0x10, 7, 13]),
        ("abort-drop-doom", &[0, 0, 10, 0, 0, 11, 0, 0, 9, 13]),
        // The fourth call of the first store is done and its answer lost; then a crash and a recovery.
        ("answer-lost", &[0x4d, 3, 0, 0, 0x10, 13, 10, 9, 0x19]),
        // The same, and then it is down.
        (
            "answer-lost-and-down",
            &[
                0xcd, 7, 0, 0, 0x10, 13, 12, 8, 0xcd, 9, 0, 0, 13, 10, 12, 9, 0x19,
            ],
        ),
        ("request-lost", &[0x2d, 3, 0, 0, 0x10, 13, 8, 10, 12, 9]),
        // The second store goes down inside a transaction.
        ("down", &[0, 0, 0x10, 0x7c, 0, 13, 12, 9, 0x19, 6, 0x16]),
        // The consumer dies with a claim, and another one gets the task.
        ("reclaim", &[0, 0, 13, 6, 11, 6, 0, 4, 13]),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/programs");
    fs::create_dir_all(&folder)?;
    let mut programs = programs.into_iter();
    programs.try_for_each(|(name, program)| fs::write(folder.join(name), program))
}

fn payload(text: &str) -> Payload {
    Payload::from_json(text, 3, PayloadLimits::default()).unwrap()
}

fn record() -> Record {
    let options = Options {
        delay: Some(Duration::from_millis(1_500)),
        expires_at: Some(NOW),
        unique: Some(Unique {
            on_duplicate: OnDuplicate::Refuse,
            ..Unique::new("key")
        }),
        group: Some("group".into()),
        about: vec!["document/1".into()],
        waits_for: vec![ID],
        ..Options::default()
    };
    let mut record = Record::new(ID, "default", "index", payload("{\"document\": 1}"), NOW);
    record.account = Some(Box::new(account()));
    record.with_options(options)
}

fn account() -> Account {
    let failure = Failure {
        attempt: 1,
        chain: vec!["outer".into(), "inner".into()],
        at: NOW,
        duration: Duration::from_millis(20),
    };
    Account {
        failures: vec![failure],
        result: Some(payload("{\"document\": 1}")),
        position: None,
    }
}

fn changes() -> Vec<Change> {
    let amend = |amendment| Change::Amend {
        task: ID,
        expect: StateSet::PENDING,
        amendment,
    };
    vec![
        Change::Insert(Box::new(record())),
        amend(Amendment::Cancel),
        amend(Amendment::Reschedule(Some(NOW))),
        amend(Amendment::Move("other".into())),
        Change::Arrive { task: ID, done: ID },
        Change::Mark {
            key: "mark".into(),
            expect: None,
            value: Some(vec![1, 2]),
        },
    ]
}

fn settlements() -> Vec<Change> {
    let token = Token {
        incarnation: Incarnation::from_u64(u64::MAX),
        count: 1,
    };
    let verdicts = [
        Verdict::Done,
        Verdict::Retry { at: NOW },
        Verdict::Bury {
            reason: DeadReason::Failed,
        },
        Verdict::Release { at: None },
    ];
    let settle = |verdict| Settlement {
        task: ID,
        token,
        verdict,
        counts: Counts::default(),
        account: Some(Box::new(account())),
    };
    verdicts.map(settle).map(Change::Settle).into()
}

fn write(target: &str, name: &str, first: u8, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), [&[first], bytes].concat())
}
