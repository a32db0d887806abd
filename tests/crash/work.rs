//! What a child does until it dies: it recovers, produces and consumes at once, and says what was
//! acknowledged to it.
#![cfg(test)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use votive::failpoint;
use votive::id::Incarnation;

use crate::layout::Producer;
use crate::world::{Answer, Result, World, acknowledgements};

/// How many transactions a child makes.
const COUNT: u32 = 10;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Commit,
    /// By the application.
    Abort,
    /// By the database, at the COMMIT.
    Refusal,
}

/// Whether a note of this number is ever committed.
pub(crate) fn is_committed(number: u32) -> bool {
    ending(number) == Ending::Commit
}

fn ending(number: u32) -> Ending {
    match number % 5 {
        3 => Ending::Abort,
        4 => Ending::Refusal,
        _ => Ending::Commit,
    }
}

/// Does all the work of a child.
pub(crate) fn run(world: &World, folder: &Path) -> Result<()> {
    world.recover()?;
    let running = world.consume()?;
    let mut told = File::options()
        .create(true)
        .append(true)
        .open(acknowledgements(folder))?;
    let run = Incarnation::random().to_u64();
    for number in 0..COUNT {
        let task = Answer {
            run,
            number,
            is_echo: false,
        };
        produce(world, &task, ending(number))?;
        if is_committed(number) {
            told.write_all(format!("{}\n", task.name()).as_bytes())?;
        }
    }
    world.wait()?;
    running.stop();
    Ok(())
}

fn produce(world: &World, task: &Answer, ending: Ending) -> Result<()> {
    match world.layout.producer {
        Producer::Yours => produce_yours(world, task, ending),
        Producer::Ours | Producer::Prepared => produce_ours(world, task, ending),
    }
}

fn produce_ours(world: &World, task: &Answer, ending: Ending) -> Result<()> {
    let mut txn = world.manager.begin()?;
    note(world.notes.join(&mut txn)?, task, ending)?;
    world.queue.enqueue(&mut txn, task)?;
    match ending {
        Ending::Abort => txn.abort()?,
        Ending::Commit => drop(txn.commit()?),
        Ending::Refusal => match txn.commit() {
            Ok(_) => return Err("a COMMIT was not refused".into()),
            Err(error) => tracing::debug!(%error, "as it should be"),
        },
    }
    Ok(())
}

fn produce_yours(world: &World, task: &Answer, ending: Ending) -> Result<()> {
    let mut connection = Connection::open(world.notes.path())?;
    connection.busy_timeout(Duration::from_secs(20))?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    note(&transaction, task, ending)?;
    world.queue.enlist(&transaction)?.enqueue(task)?;
    if ending == Ending::Abort {
        return Ok(transaction.rollback()?);
    }
    failpoint::hit("application.before_commit");
    let committed = transaction.commit();
    failpoint::hit("application.after_commit");
    match (committed, ending) {
        (Ok(()), Ending::Refusal) => Err("a COMMIT was not refused".into()),
        (Err(error), Ending::Commit) => Err(error.into()),
        _ => Ok(()),
    }
}

fn note(connection: &Connection, task: &Answer, ending: Ending) -> Result<()> {
    let needs = (ending == Ending::Refusal).then_some(1);
    connection.execute("INSERT INTO note VALUES (?1, ?2)", (task.name(), needs))?;
    Ok(())
}
