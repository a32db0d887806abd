//! What each command does: one file for one, each with the report that it prints.

mod amend;
mod check;
mod enqueue;
mod in_doubt;
mod list;
mod migrate;
mod recover;
mod show;
mod stats;

use crate::args::{Args, Command, Global};
use crate::exit::{Exit, Failure};
use crate::target::Target;

use self::amend::Deed;

/// Does what was typed.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let global = &args.global;
    match &args.command {
        Command::Migrate(typed) => migrate::run(global, typed),
        Command::Enqueue(typed) => enqueue::run(global, typed),
        command => inspect(command, &Target::open(global)?, global),
    }
}

/// Does what only makes sense on a store that is there already.
fn inspect(command: &Command, target: &Target, global: &Global) -> Result<Exit, Failure> {
    let json = global.json;
    match command {
        Command::Stats => stats::run(target, json),
        Command::List(typed) => list::run(target, typed, json),
        Command::Show { id } => show::run(target, *id, json),
        Command::Retry(typed) => amend::run(target, &Deed::Retry, typed, json),
        Command::Cancel(typed) => amend::run(target, &Deed::Cancel, typed, json),
        Command::Move { to, selection } => {
            amend::run(target, &Deed::Move(to.clone()), selection, json)
        }
        Command::Purge(typed) => amend::run(target, &Deed::Purge, typed, json),
        Command::InDoubt(typed) => in_doubt::run(target, typed, json),
        Command::Recover {
            grace,
            applications,
        } => {
            target.know(applications)?;
            recover::run(target, *grace, json)
        }
        Command::Check => check::run(target, json),
        Command::Migrate(_) | Command::Enqueue(_) => Ok(Exit::Ok),
    }
}
