//! Applications in Postgres whose queue is elsewhere: two-phase commit beside the application's own.

use std::sync::Arc;

use parking_lot::Mutex;
use postgres::{Client, NoTls};
use votive::queue::Queue;
use votive::resource::postgres::{Database, Options};
use votive::store::Store;
use votive::store::file::{FileStore, Options as FileOptions};
use votive::txn::TransactionManager;
use votive_report::Goal::Ratio;
use votive_report::{Sample, Work};

use crate::group;
use crate::job::{Job, describe};
use crate::postgres::{ROW, database, is_there};
use crate::setting::{Noop, Result, Setting};
use crate::sqlite;

/// What is measured: nothing where there is no server.
pub(crate) fn jobs() -> Vec<Job> {
    if !is_there() {
        return Vec::new();
    }
    let job = |store: &str, producers, open: fn(&Setting) -> Result<Arc<dyn Store>>| {
        let name = match producers {
            1 => "application in Postgres, one producer".to_owned(),
            _ => format!("application in Postgres, {producers} producers"),
        };
        describe(store, Work::W7, &name, "the application's commits alone").fresh(
            move |setting| alone(setting, producers),
            move |setting| prepared(setting, producers, open(setting)?),
        )
    };
    let sqlite =
        |setting: &Setting| -> Result<Arc<dyn Store>> { Ok(sqlite::store(&setting.fresh()?)?) };
    let file = |setting: &Setting| -> Result<Arc<dyn Store>> {
        let folder = setting.fresh()?.join("queue");
        Ok(Arc::new(FileStore::open(folder, FileOptions::default())?))
    };
    vec![
        job("sqlite", 1, sqlite),
        job("sqlite", 16, sqlite),
        job("file", 1, file),
        job("file", 16, file).reach([Ratio(0.6)]),
    ]
}

/// How many transactions so many producers do.
fn count(setting: &Setting, producers: u64) -> u64 {
    match producers {
        1 => setting.transactions,
        _ => setting.shared / 2,
    }
}

/// Times `produce` on so many threads, each with what `begin` gave it before.
fn on_threads<P: Send>(
    setting: &Setting,
    producers: u64,
    begin: impl Fn() -> Result<P>,
    produce: impl Fn(&mut P) -> Result<()> + Sync,
) -> Result<Sample> {
    let all = (0..producers)
        .map(|_| begin().map(Mutex::new))
        .collect::<Result<Vec<_>>>()?;
    let count = count(setting, producers);
    setting.measure(count, || {
        group::on_threads(producers, |number| {
            let own = all
                .get(usize::try_from(number)?)
                .ok_or("no such producer")?;
            let mut own = own.lock();
            (0..count / producers).try_for_each(|_| produce(&mut own))
        })
    })
}

fn alone(setting: &Setting, producers: u64) -> Result<Sample> {
    let url = database()?;
    let begin = || {
        let mut client = Client::connect(&url, NoTls)?;
        let row = client.prepare(ROW)?;
        Ok((client, row))
    };
    on_threads(setting, producers, begin, |(client, row)| {
        let mut txn = client.transaction()?;
        txn.execute(&*row, &[])?;
        Ok(txn.commit()?)
    })
}

/// Rows in Postgres, tasks elsewhere, the register beside the rows.
fn prepared(setting: &Setting, producers: u64, store: Arc<dyn Store>) -> Result<Sample> {
    let url = database()?;
    Database::migrate(&url, Options::default())?;
    let database = Database::open(&url)?;
    let queue = Queue::new(store, "default")?;
    let manager = TransactionManager::new();
    // As the raw side does, it connects before the clock starts: each holds a connection until then.
    let begin = || {
        let mut txn = manager.begin()?;
        database.join(&mut txn)?;
        Ok(Some(txn))
    };
    on_threads(setting, producers, begin, |held| {
        drop(held.take());
        let mut txn = manager.begin()?;
        let session = database.join(&mut txn)?;
        let row = session.prepare_cached(ROW)?;
        session.execute(&row, &[])?;
        queue.enqueue(&mut txn, &Noop::new())?;
        txn.commit()?;
        Ok(())
    })
}
