//! The scripts: each operation of the contract is one, which the server performs at once and whole.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use redis::{Cmd, Connection, ErrorKind, RedisError, ServerErrorKind, Value};

use super::connection::Pool;
use super::error::{Fault, Result};
use super::library;
use super::notify::StoreClock;
use super::options::Options;
use super::reply;
use crate::failpoint;
use crate::store::Kind;
use crate::time::{Clock, Timestamp};

/// A script, as the server knows it.
pub(super) struct Script {
    name: &'static str,
    code: String,
    /// What the server calls it by once it has seen the code.
    hash: String,
    is_read: bool,
}

/// What a script is made of, in its order; each of its own files comes after what it needs of these.
const PRELUDE: &str = include_str!("scripts/prelude.lua");
const RULES: &str = include_str!("scripts/rules.lua");
const TASKS: &str = include_str!("scripts/tasks.lua");
const CHANGES: &str = include_str!("scripts/changes.lua");
const OUTCOMES: &str = include_str!("scripts/outcomes.lua");
const STAGED: &str = include_str!("scripts/staged.lua");

/// What a request begins with: the command, the script, and how many keys there are and which.
const HEAD_COUNT: usize = 4;

/// What a script may do beside changing the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It changes nothing.
    Reads,
    /// It may take room, and so is refused when there is none.
    Takes,
    /// It gives room back, or takes hardly any, and is performed even when there is none.
    Gives,
}

impl Script {
    fn new(name: &'static str, mode: Mode, code: &str) -> Self {
        let flags = match mode {
            Mode::Reads => "#!lua flags=no-writes,allow-oom\n",
            Mode::Takes => "#!lua\n",
            Mode::Gives => "#!lua flags=allow-oom\n",
        };
        let code = format!("{flags}{code}");
        Self {
            name,
            hash: redis::Script::new(&code).get_hash().to_owned(),
            code,
            is_read: mode == Mode::Reads,
        }
    }

    fn run(
        &self,
        connection: &mut Connection,
        root: &str,
        arguments: &Arguments,
    ) -> std::result::Result<Value, RedisError> {
        let request = |by: &str, script: &str| {
            let count = HEAD_COUNT + arguments.ends.len();
            let size = by.len() + script.len() + 1 + root.len() + arguments.bytes.len();
            let mut request = Cmd::with_capacity(count, size);
            request.arg(by).arg(script).arg(1).arg(root);
            for argument in arguments.iter() {
                request.arg(argument);
            }
            request
        };
        match request("EVALSHA", &self.hash).query(connection) {
            // The server forgot it, as after a restart: nothing was done.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                request("EVAL", &self.code).query(connection)
            }
            answer => answer,
        }
    }
}

macro_rules! scripts {
    ($($id:ident $mode:ident $($file:literal)+ $([$($entry:literal)*])?: $($part:ident)*;)*) => {
        $(pub(super) static $id: LazyLock<Script> = LazyLock::new(|| {
            let own = [$(include_str!(concat!("scripts/", $file, ".lua")),)+];
            let code = library::assemble(&[PRELUDE, $($part,)*], &[$($($entry,)*)?], &own);
            Script::new(concat!($($file,)+), Mode::$mode, &code)
        });)*
    };
}

scripts! {
    PEEK Reads "peek":;
    OPEN Takes "open":;
    NOW Reads "now":;
    STAGE Takes "stage": RULES TASKS CHANGES OUTCOMES STAGED;
    STAGE_WITHOUT_INSERTS Gives "stage": RULES TASKS CHANGES OUTCOMES STAGED;
    PUBLISH Gives "publish": RULES TASKS CHANGES OUTCOMES STAGED;
    DISCARD Gives "discard": RULES TASKS CHANGES OUTCOMES STAGED;
    INSERT Takes "insert" "insert_timed": RULES TASKS OUTCOMES STAGED;
    APPLY Takes "apply": RULES TASKS CHANGES OUTCOMES STAGED;
    APPLY_WITHOUT_INSERTS Gives "apply": RULES TASKS CHANGES OUTCOMES STAGED;
    APPLY_INSERTS Takes "apply" ["insert"]: RULES TASKS CHANGES OUTCOMES STAGED;
    DONE Gives "done_plain" "done" ["settle" "done"]: RULES TASKS CHANGES OUTCOMES STAGED;
    FORGETTABLE Gives "forgettable": OUTCOMES STAGED;
    IN_DOUBT Reads "in_doubt": OUTCOMES STAGED;
    CLAIM Gives "claim_plain" "claim": RULES TASKS;
    DISOWN Gives "disown": RULES TASKS;
    EXTEND Gives "extend": RULES TASKS;
    RENEW Gives "renew":;
    DEPART Gives "depart": RULES TASKS;
    DEPARTED Reads "departed": RULES TASKS;
    LOOK Gives "look": RULES TASKS;
    ENROLL Gives "enroll": OUTCOMES;
    DECIDE Gives "decide": OUTCOMES;
    CLOSE Gives "close": OUTCOMES;
    FORGET Gives "forget": OUTCOMES;
    DROP Gives "drop_incarnation": OUTCOMES;
    REGISTER Gives "register": OUTCOMES;
    GET Reads "get": RULES TASKS;
    SCAN Reads "scan": RULES TASKS;
    STATS Reads "stats": RULES TASKS OUTCOMES STAGED;
    CHECK Reads "check": RULES TASKS OUTCOMES STAGED;
}

/// The arguments of a script, in order, one behind the other.
#[derive(Default)]
pub(super) struct Arguments {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Arguments {
    pub(super) fn with(mut self, argument: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(argument.as_ref());
        self.ends.push(self.bytes.len());
        self
    }

    /// Adds what something looks like when it is shown.
    pub(super) fn shown(mut self, argument: impl Display) -> Self {
        // A vector takes whatever it is given.
        write!(self.bytes, "{argument}").unwrap_or_default();
        self.ends.push(self.bytes.len());
        self
    }

    pub(super) fn all(self, arguments: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        arguments.into_iter().fold(self, Self::with)
    }

    fn join(mut self, other: Self) -> Self {
        let before = self.bytes.len();
        self.bytes.extend(other.bytes);
        self.ends
            .extend(other.ends.into_iter().map(|end| before + end));
        self
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let places = starts.zip(&self.ends);
        places.filter_map(|(start, end)| self.bytes.get(*start..*end))
    }
}

/// A change that must outlive a crash.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// The points at which the crash tests have a process die: before it is sent, and after its answer.
    points: [&'static str; 2],
    /// Whether somebody relies on it once it is acknowledged.
    is_promise: bool,
}

impl Step {
    /// A change on which somebody relies: refused by a server that may lose it.
    pub(super) const fn promise(before: &'static str, after: &'static str) -> Self {
        Self {
            points: [before, after],
            is_promise: true,
        }
    }

    /// A change that follows from what is on disk, so that it can be made again.
    pub(super) const fn repeatable(before: &'static str, after: &'static str) -> Self {
        Self {
            points: [before, after],
            is_promise: false,
        }
    }
}

/// How scripts get to the server: what the store shares with its threads.
pub(super) struct Link {
    pub(super) pool: Pool,
    pub(super) clock: StoreClock,
    /// The key that every script is given, from which it makes all others.
    root: String,
}

impl Link {
    /// Connects. Nothing is written.
    pub(super) fn open(options: &Options) -> Result<Self> {
        Ok(Self {
            pool: Pool::open(options)?,
            clock: StoreClock::new(options.clock.clone()),
            root: format!("{{votive:{}}}", options.name),
        })
    }

    /// The same, by a clock that does not fall below `floor`.
    pub(super) fn raised(mut self, floor: Timestamp, replacement: Option<Arc<dyn Clock>>) -> Self {
        self.clock = self.clock.raise(floor, replacement);
        self
    }

    /// Names the channel on which those who wait are woken.
    pub(super) fn channel(&self) -> String {
        format!("{}:wake", self.root)
    }

    /// Names a key of the store.
    pub(super) fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.root)
    }

    /// Performs a script. `arguments` are its own; the time goes before them.
    pub(super) fn run(&self, script: &Script, arguments: Arguments) -> Result<Value> {
        self.run_at(script, self.clock.guess(), arguments)
    }

    /// Performs a script at a time that the caller was given.
    pub(super) fn run_at(
        &self,
        script: &Script,
        now: Timestamp,
        arguments: Arguments,
    ) -> Result<Value> {
        self.perform(script, false, now, arguments)
    }

    fn perform(
        &self,
        script: &Script,
        is_promise: bool,
        now: Timestamp,
        arguments: Arguments,
    ) -> Result<Value> {
        let lost = if script.is_read {
            Kind::Unavailable
        } else {
            Kind::Unknown
        };
        let arguments = Arguments::default()
            .shown(now.as_micros())
            .with(self.clock.replacement())
            .join(arguments);
        let value = self.pool.send(is_promise, lost, |connection| {
            script.run(connection, &self.root, &arguments)
        })?;
        let (at, result) = reply::read(value)?;
        if let Some(at) = at {
            self.clock.sample(at);
        }
        tracing::trace!(script = script.name, "performed");
        result
    }

    /// Performs a script that changes what must outlive a crash.
    pub(super) fn write(
        &self,
        script: &Script,
        step: Step,
        now: Timestamp,
        arguments: Arguments,
    ) -> Result<Value> {
        let [before, after] = step.points;
        failpoint::hit(before);
        let result = self.perform(script, step.is_promise, now, arguments);
        failpoint::hit(after);
        result
    }
}

impl Fault {
    pub(super) fn unexpected(value: &Value) -> Self {
        Self::corrupt(format!("a script answered with {value:?}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::task::{Event, State};

    type Rows = BTreeSet<(String, String, String)>;

    /// What the scripts' table of states says: event, from, to.
    fn in_the_scripts() -> Rows {
        let (_, table) = RULES.split_once("local MAY = [[\n").unwrap();
        let (table, _) = table.split_once("]]").unwrap();
        let row = |line: &str| {
            let (event, states) = line.trim().split_once(": ").unwrap();
            let (from, to) = states.split_once(" -> ").unwrap();
            (event.to_owned(), from.to_owned(), to.to_owned())
        };
        table.lines().map(row).collect()
    }

    #[test]
    fn the_first_part_of_a_script_hides_nothing_of_the_library() {
        let parts = [PRELUDE, RULES, TASKS, CHANGES, OUTCOMES, STAGED];
        let library: BTreeSet<_> = parts.into_iter().flat_map(library::names_defined).collect();
        for first in [
            include_str!("scripts/claim_plain.lua"),
            include_str!("scripts/done_plain.lua"),
            include_str!("scripts/insert.lua"),
        ] {
            let names = library::names_defined(first);
            let hidden: Vec<_> = names
                .iter()
                .filter(|name| library.contains(*name))
                .collect();
            assert!(hidden.is_empty(), "{hidden:?}");
        }
    }

    #[test]
    fn the_scripts_know_the_table_of_states() {
        let mut rows = Rows::new();
        for event in Event::ALL {
            for from in State::ALL {
                let to = from.after(event).iter();
                let row = |to: &State| (format!("{event:?}"), from.to_string(), to.to_string());
                rows.extend(to.map(row));
            }
        }
        assert_eq!(in_the_scripts(), rows);
    }
}
