//! What each command does: one file for one, each with the report that it prints.

mod amend;
mod check;
mod copy;
mod enqueue;
mod in_doubt;
mod list;
mod migrate;
mod periodic;
mod queue;
mod recover;
mod show;
mod stats;

use crate::args::{self, Args, Command};
use crate::exit::{Exit, Failure};
use crate::target::Target;

use self::amend::Deed;

/// Does what was typed.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let (global, json) = (&args.global, args.global.json);
    let open = || Target::open(global);
    match &args.command {
        Command::Stats => stats::run(&open()?, json),
        Command::List(typed) => list::run(&open()?, typed, json),
        Command::Show { id } => show::run(&open()?, *id, json),
        Command::Enqueue(typed) => enqueue::run(global, typed),
        Command::Retry(typed) => amend::run(&open()?, &Deed::Retry, typed, json),
        Command::Cancel(typed) => amend::run(&open()?, &Deed::Cancel, typed, json),
        Command::Move(typed) => {
            let deed = Deed::Move(typed.to.clone());
            amend::run(&open()?, &deed, &typed.selection, json)
        }
        Command::Reschedule(typed) => reschedule(&open()?, typed, json),
        Command::Periodic { deed } => periodic::run(global, deed.as_ref()),
        Command::Purge(typed) => amend::run(&open()?, &Deed::Purge, typed, json),
        Command::Queue(typed) => queue::run(&open()?, typed, json),
        Command::InDoubt(typed) => in_doubt::run(&open()?, typed, json),
        Command::Recover(typed) => recover::run(&open()?, typed, json),
        Command::Copy(typed) => copy::run(typed, json),
        Command::Check => check::run(&open()?, json),
        Command::Migrate(typed) => migrate::run(global, typed),
    }
}

/// Has tasks run at another time, by the store's clock.
fn reschedule(target: &Target, typed: &args::Reschedule, json: bool) -> Result<Exit, Failure> {
    let at = match typed.delay {
        Some(delay) => Some(target.store.now()?.saturating_add(delay)),
        None => typed.at,
    };
    amend::run(target, &Deed::Reschedule(at), &typed.selection, json)
}
