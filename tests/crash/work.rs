//! What a child does until it dies: it recovers, produces and consumes at once, and says what was
//! acknowledged to it.
#![cfg(test)]

use std::fs::File;
use std::io::Write as _;

use votive::id::Incarnation;
use votive::txn::Work;

use crate::answer::Answer;
use crate::layout::Place;
use crate::shelf::refuse;
use crate::site::Site;
use crate::world::{Result, World};

/// How many transactions a child makes.
const COUNT: u32 = 10;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
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

/// How the transaction of this number is meant to end.
pub(crate) fn ending(number: u32) -> Ending {
    match number % 5 {
        3 => Ending::Abort,
        4 => Ending::Refusal,
        _ => Ending::Commit,
    }
}

/// Does all the work of a child.
pub(crate) fn run(world: &World, site: &Site) -> Result<()> {
    world.recover()?;
    world.begin()?;
    let running = world.consume()?;
    let mut told = File::options()
        .create(true)
        .append(true)
        .open(site.acknowledgements())?;
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
    world.compact()?;
    running.stop();
    // A timetable goes on for as long as it is kept, and may be faster than a busy machine: what is left is done
    // without one.
    world.drain()?;
    // Forgets the outcomes that this process knows, without waiting for the consumer to do so.
    world.recover()?;
    Ok(())
}

fn produce(world: &World, task: &Answer, ending: Ending) -> Result<()> {
    if world.layout.notes == Place::Yours {
        return world.notes.enqueue_by_itself(&world.queue, task, ending);
    }
    let mut txn = world.manager.begin()?;
    write(world, &mut txn, task, ending)?;
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

/// Writes a note and enqueues its task; some are to be refused by where notes are, others by the queue.
pub(crate) fn write(world: &World, work: &mut Work, task: &Answer, ending: Ending) -> Result<()> {
    let is_refused = ending == Ending::Refusal;
    let by_queue = task.number.is_multiple_of(2);
    world
        .notes
        .write(work, &task.name(), is_refused && !by_queue)?;
    world.enqueue(work, task)?;
    if is_refused && by_queue {
        refuse(&world.store, work)?;
    }
    Ok(())
}
