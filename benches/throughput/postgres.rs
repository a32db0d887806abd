//! A queue in Postgres by itself: the same rows by the driver alone, and by votive.

use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls, Statement};
use votive::id::{ConsumerId, Incarnation};
use votive::store::postgres::{Options, PostgresStore};
use votive::store::{Change, Claim, ClaimRequest, Settlement, Store, Verdict, Want};
use votive::txn::TransactionManager;
use votive_testbed::{Postgres, or_skip, postgres as testbed};

use crate::Pair;
use crate::own;
use crate::report::Run;
use crate::setting::{Result, Setting, preload};

/// How many tasks share a transaction.
const BATCH: u64 = 100;

const PAIRS: [Pair; 4] = [
    Pair {
        name: "postgres queue alone, one per txn",
        raw_name: "one row in one transaction",
        goal: None,
        raw: |setting| raw_inserts(setting, 1, setting.transactions),
        own: |setting| inserts(setting, 1, setting.transactions),
    },
    Pair {
        name: "postgres queue alone, 100 per txn",
        raw_name: "100 rows by one statement in one transaction",
        goal: None,
        raw: |setting| raw_inserts(setting, BATCH, setting.tasks),
        own: |setting| inserts(setting, BATCH, setting.tasks),
    },
    Pair {
        name: "postgres drain, 100 per claim",
        raw_name: "DELETE … SKIP LOCKED of 100, one commit",
        goal: Some(0.5),
        raw: raw_drain,
        own: drain,
    },
    Pair {
        name: "postgres claim + settle at 1k : at 1M",
        raw_name: "the same at the largest backlog",
        goal: None,
        raw: |setting| claims(setting, setting.backlog_max),
        own: |setting| claims(setting, 1_000),
    },
];

thread_local! {
    /// The server of this run; `None` where its program is not installed.
    static SERVER: Option<Postgres> = or_skip(Postgres::start(testbed::Options::default()));
}

/// What is measured: nothing where there is no server.
pub(crate) fn pairs() -> &'static [Pair] {
    if SERVER.with(Option::is_some) {
        &PAIRS
    } else {
        &[]
    }
}

/// A store in a fresh database; `None` where there is no server.
pub(crate) fn store() -> Result<Option<Arc<dyn Store>>> {
    if SERVER.with(Option::is_some) {
        open().map(Some)
    } else {
        Ok(None)
    }
}

/// Makes a fresh database.
fn database() -> Result<String> {
    SERVER.with(|server| {
        let server = server.as_ref().ok_or("no server")?;
        let drop = "DROP DATABASE IF EXISTS queue WITH (FORCE)";
        server.client()?.batch_execute(drop)?;
        Ok(server.create_database("queue")?)
    })
}

fn open() -> Result<Arc<dyn Store>> {
    let store = PostgresStore::open(&database()?, Options::default())?;
    Ok(Arc::new(store))
}

fn inserts(setting: &Setting, size: u64, count: u64) -> Result<Run> {
    let work = own::batches(open()?, count, size)?;
    setting.measure(count, work)
}

/// A table as one would make it for a queue by hand.
fn raw_table() -> Result<(Client, Statement)> {
    let mut client = Client::connect(&database()?, NoTls)?;
    client.batch_execute("CREATE TABLE q (id bigserial PRIMARY KEY, payload bytea NOT NULL)")?;
    let insert = client.prepare("INSERT INTO q (payload) SELECT unnest($1::bytea[])")?;
    Ok((client, insert))
}

fn raw_inserts(setting: &Setting, size: u64, count: u64) -> Result<Run> {
    let (mut client, insert) = raw_table()?;
    let payloads = vec![vec![b'x'; 100]; usize::try_from(size)?];
    setting.measure(count, || {
        for _ in 0..count / size {
            let mut txn = client.transaction()?;
            txn.execute(&insert, &[&payloads])?;
            txn.commit()?;
        }
        Ok(())
    })
}

fn raw_drain(setting: &Setting) -> Result<Run> {
    let (mut client, insert) = raw_table()?;
    let payloads = vec![vec![b'x'; 100]; usize::try_from(setting.tasks)?];
    client.execute(&insert, &[&payloads])?;
    client.batch_execute("ANALYZE q")?;
    let delete = client.prepare(
        "DELETE FROM q WHERE id = ANY (ARRAY(
             SELECT id FROM q ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)) RETURNING id, payload",
    )?;
    setting.measure(setting.tasks, || {
        for _ in 0..setting.tasks / BATCH {
            client.query(&delete, &[])?;
        }
        Ok(())
    })
}

fn drain(setting: &Setting) -> Result<Run> {
    let store = open()?;
    let manager = TransactionManager::new();
    preload(&store, &manager, setting.tasks)?;
    let claimer = Claimer::new(store, manager)?;
    setting.measure(setting.tasks, || {
        (0..setting.tasks / BATCH).try_for_each(|_| claimer.settle(usize::try_from(BATCH)?))
    })
}

fn claims(setting: &Setting, backlog: u64) -> Result<Run> {
    let store = open()?;
    let manager = TransactionManager::new();
    preload(&store, &manager, backlog)?;
    let claimer = Claimer::new(store, manager)?;
    let count = (setting.transactions / 10).min(backlog);
    setting.measure(count, || (0..count).try_for_each(|_| claimer.settle(1)))
}

struct Claimer {
    store: Arc<dyn Store>,
    manager: TransactionManager,
    consumer: ConsumerId,
    _presence: votive::store::Presence,
}

impl Claimer {
    fn new(store: Arc<dyn Store>, manager: TransactionManager) -> Result<Self> {
        let incarnation = Incarnation::random();
        let presence = store.attend(incarnation, Duration::from_secs(60))?;
        let name = "bench".to_owned();
        Ok(Self {
            store,
            manager,
            consumer: ConsumerId { incarnation, name },
            _presence: presence,
        })
    }

    /// Claims `count` tasks and settles them in one transaction.
    fn settle(&self, count: usize) -> Result<()> {
        let want = Want {
            queue: "default".to_owned(),
            count,
        };
        let request = ClaimRequest {
            consumer: self.consumer.clone(),
            wants: vec![want],
            lease: Duration::from_secs(60),
        };
        let claims = self.store.claim(&request, self.store.now()?)?;
        let batch = claims.iter().map(settled).collect();
        votive::queue::apply(&self.store, &self.manager, &batch)?;
        Ok(())
    }
}

fn settled(claim: &Claim) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Done,
        counts: claim.record.counts,
        account: None,
    })
}
