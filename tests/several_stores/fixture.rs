//! Stores of every kind, and words for what the stories do with them.
#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use votive::Task;
use votive::id::{Incarnation, TaskId, TxnId};
use votive::queue::{self, Queue, Recovered, recover_older_than};
use votive::register::Register;
use votive::store::{Batch, Change, Filter, Inspect, Store};
use votive::task::{Options, Payload, PayloadLimits, Record};
use votive::txn::{TransactionManager, Work};
use votive_testbed::{Postgres, Redis, or_skip};

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    File,
    Redis,
    Postgres,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Greet {
    name: String,
}

impl Task for Greet {
    const KIND: &'static str = "greet";
}

pub(crate) fn greet(name: &str) -> Greet {
    Greet {
        name: name.to_owned(),
    }
}

/// A server that all tests share.
static REDIS: LazyLock<Option<Redis>> =
    LazyLock::new(|| or_skip(Redis::start(votive_testbed::redis::Options::default())));

static POSTGRES: LazyLock<Option<Postgres>> = LazyLock::new(|| {
    let options = votive_testbed::postgres::Options::default();
    or_skip(Postgres::start(
        options.setting("max_prepared_transactions", "64"),
    ))
});

/// Where the stores of one test are.
pub(crate) struct Ground(TempDir);

impl Ground {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Opens a new store, or nothing if its server is not installed.
    pub(crate) fn store(&self, backend: Backend, name: &str) -> Option<Arc<dyn Store>> {
        let url = match backend {
            Backend::Sqlite => format!("sqlite://{}.db", self.file(name).display()),
            Backend::File => format!("file://{}", self.file(name).display()),
            Backend::Postgres => format!("{}?schema={name}", Self::database()?),
            Backend::Redis => format!("{}?name={}.{name}", REDIS.as_ref()?.url(), self.name()),
        };
        Some(votive::open(&url).unwrap())
    }

    /// Makes a Postgres database that no other test has, and returns its address.
    pub(crate) fn database() -> Option<String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::SeqCst));
        Some(POSTGRES.as_ref()?.create_database(&name).unwrap())
    }

    /// A name that no other test has.
    fn name(&self) -> String {
        let name = self.0.path().file_name().unwrap().to_string_lossy();
        name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "")
    }

    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

pub(crate) fn queue(store: &Arc<dyn Store>) -> Queue {
    Queue::new(Arc::clone(store), "default").unwrap()
}

/// The names in the visible greetings.
pub(crate) fn visible(store: &dyn Inspect) -> Vec<String> {
    let page = store.scan(&Filter::default(), None, 100).unwrap();
    let names = page
        .tasks
        .iter()
        .map(|task| task.record.payload.decode::<Greet>().unwrap().name);
    names.collect()
}

/// A batch with one greeting.
pub(crate) fn batch(store: &dyn Inspect, name: &str) -> Batch {
    let now = store.now().unwrap();
    let payload = Payload::encode(&greet(name), PayloadLimits::default()).unwrap();
    let record = Record::new(TaskId::new(now), "default", Greet::KIND, payload, now);
    let record = record.with_options(Options::default());
    Batch::new(vec![Change::Insert(Box::new(record))])
}

/// A transaction of a process that is no more, enrolled in `register`.
pub(crate) fn orphan(register: &dyn Register) -> TxnId {
    let txn = TxnId {
        incarnation: Incarnation::random(),
        sequence: 1,
    };
    let now = votive::time::Timestamp::EPOCH;
    register.enroll(txn.incarnation, now).unwrap();
    txn
}

/// Has the transaction be refused by a store: it says of a mark that is not there that it has a value.
pub(crate) fn refuse(store: &Arc<dyn Store>, work: &mut Work) {
    let (key, expect) = ("nobody".to_owned(), Some(b"somebody".to_vec()));
    queue::change(
        store,
        work,
        Change::Mark {
            key,
            expect,
            value: None,
        },
    )
    .unwrap();
}

/// Recovers a store at once, whatever the age of what is staged.
pub(crate) fn recover_now(store: &Arc<dyn Store>, manager: &TransactionManager) -> Recovered {
    recover_older_than(store, manager, Duration::ZERO).unwrap()
}
