//! What a child does while servers are killed and connections are cut: it produces and consumes until it
//! is told to stop, takes every failure, and says what was acknowledged to it and what was refused.
#![cfg(test)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select, tick};
use votive::id::Incarnation;
use votive::txn::CommitError;

use crate::answer::Answer;
use crate::site::Site;
use crate::work::{self, Ending, ending};
use crate::world::{Result, World};

/// How often everybody is taken for dead. Each time aborts what is about to commit, and a busy machine
/// needs a while for a commit.
const SUSPICION: Duration = Duration::from_millis(50);

/// How a transaction ended, for all that its producer was told.
enum Told {
    Committed,
    /// Definitely nothing happened.
    Refused,
    Undecided,
}

/// Produces and consumes until standard input ends, then until all tasks are done.
pub(crate) fn run(world: &World, site: &Site) -> Result<()> {
    let running = world.consume()?;
    let appended = |path| File::options().create(true).append(true).open(path);
    let mut acknowledged = appended(site.acknowledgements())?;
    let mut refused = appended(site.refusals())?;
    let (stopped, again) = (when_stopped(), tick(Duration::from_millis(2)));
    let due = tick(SUSPICION);
    let suspect = || {
        if due.try_recv().is_ok() {
            suspect(world);
        }
    };
    let run = Incarnation::random().to_u64();
    for number in 0.. {
        let task = Answer {
            run,
            number,
            is_echo: false,
        };
        let line = format!("{}\n", task.name());
        match produce(world, &task, ending(number)) {
            Told::Committed => acknowledged.write_all(line.as_bytes())?,
            Told::Refused => refused.write_all(line.as_bytes())?,
            Told::Undecided => {}
        }
        suspect();
        select! {
            recv(stopped) -> _ => break,
            recv(again) -> _ => {}
        }
    }
    world.wait_while(suspect)?;
    running.stop();
    Ok(())
}

/// Takes everybody for dead who has something staged, this process too: nothing bad may come of that.
fn suspect(world: &World) {
    if let Err(error) = world.recover() {
        tracing::debug!(%error, "recovery is for another time");
    }
}

fn when_stopped() -> Receiver<()> {
    let (stop, stopped) = bounded(0);
    let wait = move || {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        drop(stop);
    };
    thread::Builder::new().spawn(wait).unwrap();
    stopped
}

fn produce(world: &World, task: &Answer, ending: Ending) -> Told {
    match try_to_produce(world, task, ending) {
        Ok(told) => told,
        // The transaction was dropped before its commit.
        Err(error) => {
            tracing::debug!(%error, "not enqueued");
            Told::Refused
        }
    }
}

fn try_to_produce(world: &World, task: &Answer, ending: Ending) -> Result<Told> {
    let mut txn = world.manager.begin()?;
    work::write(world, &mut txn, task, ending)?;
    if ending == Ending::Abort {
        drop(txn.abort());
        return Ok(Told::Refused);
    }
    Ok(match txn.commit() {
        Ok(_) => Told::Committed,
        Err(CommitError::Undecided { .. }) => Told::Undecided,
        Err(_) => Told::Refused,
    })
}
