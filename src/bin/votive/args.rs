//! What was typed. Nothing here knows what it means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use votive::id::{TaskId, TxnId};
use votive::queue::Rate;
use votive::task::State;
use votive::time::Timestamp;

use crate::exit;

/// Looks into votive stores, and puts right what people have to put right.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP, propagate_version = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The store, such as `sqlite:tasks.db`
    #[arg(long, global = true, env = "VOTIVE_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more to standard error: -v information, -vv everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count the tasks of each queue by state
    Stats,
    /// List tasks in the order of their enqueueing
    List(List),
    /// Show all that is known of one task
    Show {
        /// The task's id
        id: TaskId,
    },
    /// Enqueue a task, or one for each line of a file, in one transaction
    Enqueue(Enqueue),
    /// Run dead, cancelled or done tasks again; run scheduled ones at once
    Retry(Selection),
    /// Take back tasks that have not started; they stay, as cancelled
    Cancel(Selection),
    /// Move tasks that have not started to another queue
    Move(Move),
    /// Have tasks that have not started run at another time
    Reschedule(Reschedule),
    /// Delete tasks that have ended
    Purge(Selection),
    /// What holds for a whole queue, in all processes
    #[command(subcommand)]
    Queue(Queue),
    /// The timetable: periodic entries, and what a schedule means
    #[command(args_conflicts_with_subcommands = true)]
    Periodic {
        /// What to do; lists the entries if nothing is said
        #[command(subcommand)]
        deed: Option<Periodic>,
    },
    /// Transactions that are staged and undecided
    #[command(subcommand)]
    InDoubt(InDoubt),
    /// Ask the registers about what crashes left in doubt, and publish or discard it
    Recover(Recover),
    /// Move all tasks, or those of a queue, from one store to another; run it again if it was cut short
    Copy(Copy),
    /// Look at everything in the store, and list what is wrong
    Check,
    /// Create the store, or bring it to this version; or create the register in an application database
    Migrate(Migrate),
}

/// Which tasks, by what they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Filter {
    /// Only tasks of this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only tasks of this kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only tasks in these states, parted by commas
    #[arg(long, value_delimiter = ',', value_parser = state())]
    pub(crate) state: Vec<State>,
    /// Only tasks about this object
    #[arg(long)]
    pub(crate) about: Option<String>,
    /// Only tasks older than this, such as `90s`, `2h` or `7days`; one that ended is as old as its end
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) older_than: Option<Duration>,
    /// Ghosts too: tasks that stay out of listings otherwise
    #[arg(long)]
    pub(crate) ghosts: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// The largest number of tasks on a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// Where the page starts: what the page before said
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// Which tasks are to be changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// The tasks' ids
    #[arg(value_name = "ID", conflicts_with_all = ["queue", "kind", "state", "about", "older_than", "all"])]
    pub(crate) ids: Vec<TaskId>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// All tasks that the command can be used on
    #[arg(long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Move {
    /// The queue that they go to
    #[arg(long, value_name = "QUEUE")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// When tasks are to run.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("when").required(true))]
pub(crate) struct Reschedule {
    /// No earlier than this, such as `2026-11-21T09:30:00Z`
    #[arg(long, group = "when", value_name = "TIME", value_parser = instant)]
    pub(crate) at: Option<Timestamp>,
    /// No earlier than so long from now, such as `90s` or `2h`
    #[arg(long, group = "when", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) delay: Option<Duration>,
    /// At once
    #[arg(long, group = "when")]
    pub(crate) now: bool,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Periodic {
    /// List the entries, when they come next and when they came last
    List,
    /// Say what a schedule means, and when it comes next; needs no store
    Next(NextTimes),
    /// Forget an entry that no consumer has any more; its tasks stay
    Remove {
        /// The entry's name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct NextTimes {
    /// The schedule, such as `0 5 * * *`, `@daily`, `0 5 * * * in Europe/Rome` or `every 90s`
    pub(crate) schedule: String,
    /// The time zone, such as `Europe/Rome` [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) tz: Option<String>,
    /// How many times to show
    #[arg(long, default_value_t = 5)]
    pub(crate) count: usize,
    /// Show those after this instant [default: now]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) after: Option<Timestamp>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Enqueue {
    /// The task's kind, which finds its handler
    pub(crate) kind: String,
    /// The payload as JSON; `-` reads it from standard input
    #[arg(required_unless_present = "file", allow_negative_numbers = true)]
    pub(crate) payload: Option<String>,
    /// Read the payload from a file
    #[arg(long, conflicts_with = "payload")]
    pub(crate) file: Option<PathBuf>,
    /// Enqueue one task for each line that is not blank
    #[arg(long)]
    pub(crate) lines: bool,
    /// The queue
    #[arg(long, default_value = "default")]
    pub(crate) queue: String,
    #[command(flatten)]
    pub(crate) options: TaskOptions,
}

/// What a producer may say about a task.
#[derive(Debug, clap::Args)]
pub(crate) struct TaskOptions {
    /// Lower goes first; each step is worth five minutes of waiting [default: 10]
    #[arg(long)]
    pub(crate) priority: Option<u8>,
    /// Wait this long after the commit, such as `90s` or `2h`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) delay: Option<Duration>,
    /// Run no earlier than this, such as `2026-11-21T09:30:00Z`
    #[arg(long, visible_alias = "at", value_name = "TIME", value_parser = instant)]
    pub(crate) not_before: Option<Timestamp>,
    /// Do not start after this; the task becomes dead instead
    #[arg(long, visible_alias = "expires", value_name = "TIME", value_parser = instant)]
    pub(crate) expires_at: Option<Timestamp>,
    /// How long one attempt may take
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Attempts in all, the first included [default: 10]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts_max: Option<u32>,
    /// Make the task the only one of this key
    #[arg(long, value_name = "KEY")]
    pub(crate) unique: Option<String>,
    /// What happens if another task has the key
    #[arg(long, requires = "unique", value_enum, default_value_t)]
    pub(crate) on_duplicate: OnDuplicate,
    /// Keep others from the key while the task runs, too
    #[arg(long, requires = "unique")]
    pub(crate) unique_until_ended: bool,
    /// Keep others from the key for so long after the task was enqueued, whatever becomes of it
    #[arg(long, value_name = "DURATION", requires = "unique", value_parser = humantime::parse_duration)]
    pub(crate) unique_after_enqueued: Option<Duration>,
    /// Keep others from the key until the task has ended, and for so long after that
    #[arg(long, value_name = "DURATION", requires = "unique", value_parser = humantime::parse_duration)]
    pub(crate) unique_after_ended: Option<Duration>,
    /// Never run at the same time as another task of this group
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Run while fewer others of the group than this do [default: 1]
    #[arg(long, value_name = "TASKS", requires = "group")]
    pub(crate) group_limit: Option<u32>,
    /// An object that the task is about; may be repeated
    #[arg(long)]
    pub(crate) about: Vec<String>,
    /// Keep the task out of listings, unless they ask for ghosts
    #[arg(long)]
    pub(crate) ghost: bool,
    /// On whose behalf
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// How long the finished task stays to be looked at
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) retention: Option<Duration>,
    /// The version of the payload's shape
    #[arg(long, default_value_t = 0)]
    pub(crate) payload_version: u32,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum OnDuplicate {
    /// The new task merges into the one that waits
    #[default]
    Merge,
    /// Nothing is enqueued
    Refuse,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List the queues, whether they run, and why not
    List,
    /// Let no consumer claim from a queue any more; what runs goes on, and tasks can be enqueued
    Pause {
        /// The queue
        queue: String,
        /// Why; it is kept and shown
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Let consumers claim from a queue again
    Resume {
        /// The queue
        queue: String,
    },
    /// Change what holds for a queue; what is not named stays as it is
    Set(SetQueue),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetQueue {
    /// The queue
    pub(crate) queue: String,
    /// The largest number of pending tasks; 0 takes none, `none` is no limit
    #[arg(long, value_name = "TASKS", value_parser = limit, required_unless_present_any = ["rate", "top", "ageing", "limit"])]
    pub(crate) capacity: Option<Said<u64>>,
    /// How many tasks may start in which time, over all consumers, such as `10/1s`; `none` is no limit
    #[arg(long, value_name = "TASKS/DURATION", value_parser = rate)]
    pub(crate) rate: Option<Said<Rate>>,
    /// How many tasks may start at once after a pause [default: 1]
    #[arg(long, value_name = "TASKS", requires = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: Option<u32>,
    /// Kinds that go first when they are enqueued from now on, parted by commas; `none` is none
    #[arg(long, value_name = "KINDS", value_parser = kinds)]
    pub(crate) top: Option<Kinds>,
    /// What a step of priority is worth in time of waiting to tasks that are enqueued from now on, such as
    /// `1m`; `0s` is nothing, `none` is the usual 5 minutes
    #[arg(long, value_name = "DURATION", value_parser = ageing)]
    pub(crate) ageing: Option<Said<Duration>>,
    /// How many tasks of a kind that are enqueued from now on may run at the same time, such as `index=4`; parted
    /// by commas; `none` takes all of these limits away
    #[arg(long, value_name = "KIND=TASKS", value_parser = limits)]
    pub(crate) limit: Option<Limits>,
}

/// A value that may be said to be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said<T>(pub(crate) Option<T>);

/// Names of kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kinds(pub(crate) BTreeSet<String>);

/// How many tasks of each kind may run at the same time; none is no limit for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits(pub(crate) BTreeMap<String, u32>);

#[derive(Debug, Subcommand)]
pub(crate) enum InDoubt {
    /// List them, and what operators decided before
    List,
    /// Publish a transaction's tasks
    Commit(Settle),
    /// Discard a transaction's tasks
    Abort(Settle),
    /// Forget that a transaction was settled by force
    Forget {
        /// The transaction's id
        txn: TxnId,
    },
}

/// How an operator settles a transaction.
#[derive(Debug, clap::Args)]
pub(crate) struct Settle {
    /// The transaction's id
    pub(crate) txn: TxnId,
    /// Why; it is kept and shown
    #[arg(long)]
    pub(crate) reason: String,
    /// Settle it even though its register cannot be asked
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) applications: Applications,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Recover {
    /// Leave alone what was staged less long ago: its owner is probably at work
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) applications: Applications,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// The store that the tasks leave, such as `sqlite:tasks.db`
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The store that they come to; it is created if it is missing
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Only the tasks of this queue, and no marks
    #[arg(long)]
    pub(crate) queue: Option<String>,
    #[command(flatten)]
    pub(crate) applications: Applications,
}

/// Where registers are, beside the store's own.
#[derive(Debug, clap::Args)]
pub(crate) struct Applications {
    /// An application database that holds a register or prepares, such as `sqlite:app.db` or
    /// `postgres://host/name`; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) app: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    /// Create the register in this application database instead
    #[arg(long, value_name = "URL")]
    pub(crate) register: Option<String>,
    /// Print the statements, and change nothing
    #[arg(long, requires = "register", conflicts_with = "adopt")]
    pub(crate) print: bool,
    /// Declare that the file has taken the place of the one that it is a copy of, after it was restored
    /// or moved to another disk; of several copies never adopt two
    #[arg(long)]
    pub(crate) adopt: bool,
}

/// Reads the name of a state in which a task can be seen.
fn state() -> impl TypedValueParser<Value = State> {
    let visible = State::ALL
        .into_iter()
        .filter(|state| *state != State::Staged);
    PossibleValuesParser::new(visible.map(State::name))
        .try_map(|name| State::from_name(&name).ok_or_else(|| format!("`{name}` is no state")))
}

/// Reads a number, or `none`.
fn limit(text: &str) -> Result<Said<u64>, String> {
    match text {
        "none" => Ok(Said(None)),
        number => number
            .parse()
            .map(|number| Said(Some(number)))
            .map_err(|error| format!("{error}; expected a number or `none`")),
    }
}

/// Reads a rate, or `none`.
fn rate(text: &str) -> Result<Said<Rate>, String> {
    if text == "none" {
        return Ok(Said(None));
    }
    let read = || {
        let (starts, period) = text.split_once('/')?;
        let period = humantime::parse_duration(period).ok()?;
        Some(Rate::new(starts.parse().ok()?, period))
    };
    let rate = read().ok_or("expected a number and a duration such as 10/1s, or `none`")?;
    Ok(Said(Some(rate)))
}

/// Reads what a step of priority is worth, or `none`.
fn ageing(text: &str) -> Result<Said<Duration>, String> {
    match text {
        "none" => Ok(Said(None)),
        duration => humantime::parse_duration(duration)
            .map(|ageing| Said(Some(ageing)))
            .map_err(|error| format!("{error}; expected a duration such as 1m, or `none`")),
    }
}

/// Reads the limits of kinds, or `none`.
fn limits(text: &str) -> Result<Limits, String> {
    let each = text.split(',').filter(|_| text != "none");
    let read = |each: &str| {
        let (kind, limit) = each.split_once('=').filter(|(kind, _)| !kind.is_empty())?;
        Some((kind.to_owned(), limit.parse().ok()?))
    };
    let limits: Option<_> = each.map(read).collect();
    let limits = limits.ok_or("expected a kind and a number such as index=4, or `none`")?;
    Ok(Limits(limits))
}

/// Reads names parted by commas, or `none`.
fn kinds(text: &str) -> Result<Kinds, String> {
    let names = text.split(',').filter(|_| text != "none");
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    if names.contains("") {
        return Err("a kind has no name".to_owned());
    }
    Ok(Kinds(names))
}

/// Reads an instant in RFC 3339.
fn instant(text: &str) -> Result<Timestamp, String> {
    let wrong = |error: humantime::TimestampError| {
        format!("{error}; expected a time in UTC such as 2026-11-21T09:30:00Z")
    };
    let at = humantime::parse_rfc3339_weak(text).map_err(wrong)?;
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.map_err(|_| "a time before 1970".to_owned())?;
    Ok(Timestamp::EPOCH.saturating_add(since))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_contradict_nothing() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_rate_is_a_number_and_a_duration_or_none() {
        let expected = Rate::new(10, Duration::from_secs(60));
        assert_eq!(rate("10/1m"), Ok(Said(Some(expected))));
        assert_eq!(rate("none"), Ok(Said(None)));
        for wrong in ["10", "10/", "x/1s", "1/x", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn kinds_are_parted_by_commas_or_none() {
        let both = BTreeSet::from(["mail".to_owned(), "index".to_owned()]);
        assert_eq!(kinds("mail,index"), Ok(Kinds(both)));
        assert_eq!(kinds("none"), Ok(Kinds(BTreeSet::new())));
        assert!(kinds("mail,").is_err());
    }

    #[test]
    fn an_instant_is_read_as_it_is_printed() {
        let text = "2026-11-21T09:30:00.000000Z";
        assert_eq!(instant(text).map(|at| at.to_string()), Ok(text.to_owned()));
    }
}
