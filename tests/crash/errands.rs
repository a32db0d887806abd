//! What else children do: tasks of many items, chords, and the tasks of a timetable.
#![cfg(test)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use votive::handler::{Chunks, Context, Registry};
use votive::queue::{Group, PERIODIC_PREFIX, Queue, apply, periodic};
use votive::store::{Batch, Change, Filter, Store};
use votive::task::{Options, Record, State};
use votive::time::Timestamp;
use votive::txn::{TransactionManager, Work};
use votive::{CatchUp, Periodic, Schedule, Task};

use crate::answer::Answer;
use crate::inspection::{complain, differ};
use crate::shelf::Shelf;
use crate::work::is_committed;
use crate::world::{Result, World};

/// How many items a task has, and how many it does at once.
const ITEMS: usize = 7;
const CHUNK: usize = 3;

/// A chunk with this item fails unless that is alone in it.
const LONER: usize = 4;

/// The tasks of a chord, but for the last.
const MEMBERS: Range<u32> = 0..3;

/// What the last task of a chord finds that the others gave, together.
const SUM: u32 = 3;

/// The timetable: so many entries, each every second, that begin with so many missed times.
const ENTRIES: u32 = 3;
const SCHEDULE: &str = "every 1s";
const MISSED: Duration = Duration::from_secs(3);

/// What no task is waited for as long as.
const LONG: Duration = Duration::from_secs(30);

/// Many items.
#[derive(Debug, Serialize, Deserialize)]
struct Items(Answer);

/// A task of a chord.
#[derive(Debug, Serialize, Deserialize)]
struct Member(Answer, u32);

/// The last task of a chord.
#[derive(Debug, Serialize, Deserialize)]
struct Last(Answer);

/// A task of the timetable.
#[derive(Debug, Serialize, Deserialize)]
struct Tick(u32);

macro_rules! tasks {
    ($($task:ty: $kind:literal;)*) => {
        $(impl Task for $task {
            const KIND: &'static str = $kind;

            fn options() -> Options {
                Answer::options()
            }
        })*
    };
}

tasks! {
    Items: "items";
    Member: "member";
    Last: "last";
    Tick: "tick";
}

/// Enqueues many items, or a chord.
pub(crate) fn enqueue(queue: &Queue, work: &mut Work, task: &Answer) -> Result<()> {
    if task.number.is_multiple_of(2) {
        queue.enqueue(work, &Items(task.clone()))?;
        return Ok(());
    }
    let add = |group: Group, number| group.add(Member(task.clone(), number));
    let group = MEMBERS.fold(Group::new(), add);
    group.then(Last(task.clone())).enqueue(queue, work)?;
    Ok(())
}

/// Registers what is done: an effect for each item, for each task of a chord and for each tick.
pub(crate) fn register(registry: &mut Registry, effects: &Arc<dyn Shelf>) -> Result<()> {
    let shelf = Arc::clone(effects);
    registry.register(Chunks::new(
        CHUNK,
        |_: &Items| ITEMS,
        move |task: &Items, items: Range<usize>, context: &mut Context<'_>| -> Result<()> {
            if items.contains(&LONER) && items.len() > 1 {
                return Err("an item wants to be alone".into());
            }
            for item in items {
                shelf.write(context.work(), &item_name(&task.0, item), false)?;
            }
            Ok(())
        },
    ))?;
    let shelf = Arc::clone(effects);
    registry.register(
        move |task: Member, context: &mut Context<'_>| -> Result<u32> {
            shelf.write(context.work(), &member_name(&task), false)?;
            if task.1 == 1 && context.attempt().number == 1 {
                return Err("the first attempt fails on purpose".into());
            }
            Ok(task.1)
        },
    )?;
    let shelf = Arc::clone(effects);
    registry.register(move |task: Last, context: &mut Context<'_>| -> Result<()> {
        let given = context.prerequisites().map(|task| task.result::<u32>(LONG));
        let sum: u32 = given.sum::<std::result::Result<_, _>>()?;
        shelf.write(context.work(), &last_name(&task.0, sum), false)
    })?;
    let shelf = Arc::clone(effects);
    registry.register(move |task: Tick, context: &mut Context<'_>| -> Result<()> {
        let name = tick_name(task.0, second_of(context.record()));
        shelf.write(context.work(), &name, false)
    })?;
    Ok(())
}

fn item_name(task: &Answer, item: usize) -> String {
    format!("{}/item {item}", task.name())
}

fn member_name(Member(task, number): &Member) -> String {
    format!("{}/member {number}", task.name())
}

fn last_name(task: &Answer, sum: u32) -> String {
    format!("{}/last {sum}", task.name())
}

fn tick_name(entry: u32, second: i64) -> String {
    format!("tick {entry} {second}")
}

/// The second that a tick is for.
fn second_of(record: &Record) -> i64 {
    second(record.options.not_before.unwrap_or_default())
}

fn second(at: Timestamp) -> i64 {
    at.as_micros() / 1_000_000
}

fn entry_name(entry: u32) -> String {
    format!("entry {entry}")
}

/// The timetable that every child keeps.
pub(crate) fn timetable() -> Result<Vec<Periodic>> {
    let entries = (0..ENTRIES).map(|entry| {
        let schedule: Schedule = SCHEDULE.parse()?;
        let periodic = Periodic::new(entry_name(entry), schedule, &Tick(entry));
        Ok(periodic.catch_up(CatchUp::All))
    });
    entries.collect()
}

/// Has the timetable have begun a moment ago, unless it has begun already.
pub(crate) fn begin(store: &Arc<dyn Store>, manager: &TransactionManager) -> Result<()> {
    for entry in 0..ENTRIES {
        if store.mark(&began_key(entry))?.is_some() {
            continue;
        }
        let from = second(store.now()?.saturating_sub(MISSED));
        let cursor = serde_json::json!({
            "schedule": SCHEDULE, "kind": Tick::KIND, "queue": "default", "catch_up": "all",
            "dealt_until": Timestamp::from_micros(from * 1_000_000), "fired_for": null,
            "written_by": "the test",
        });
        let marks = [
            (cursor_key(entry), cursor.to_string()),
            (began_key(entry), from.to_string()),
        ];
        let marks = marks.map(|(key, value)| Change::Mark {
            key,
            expect: None,
            value: Some(value.into_bytes()),
        });
        apply(store, manager, &Batch::new(marks.into()))?;
    }
    Ok(())
}

fn cursor_key(entry: u32) -> String {
    format!("{PERIODIC_PREFIX}{}", entry_name(entry))
}

fn began_key(entry: u32) -> String {
    format!("began/{entry}")
}

/// What was found in a site.
pub(crate) struct Findings {
    pub(crate) notes: Vec<String>,
    /// How often each effect is there.
    effects: BTreeMap<String, usize>,
    records: Vec<Record>,
    /// Of each entry the second after which it began, and up to which all have been dealt with.
    entries: Vec<(i64, i64)>,
}

impl Findings {
    pub(crate) fn read(world: &World) -> Result<Self> {
        let page = world.store.scan(&Filter::default(), None, 100_000)?;
        let mut effects = BTreeMap::new();
        for name in world.effects.names()? {
            *effects.entry(name).or_default() += 1;
        }
        let all = periodic(&*world.store)?;
        let mut entries = Vec::new();
        for entry in 0..ENTRIES {
            let Some(began) = world.store.mark(&began_key(entry))? else {
                continue;
            };
            let name = entry_name(entry);
            let found = all.iter().find(|info| info.name == name);
            let found = found.ok_or("an entry of the timetable is gone")?;
            let began = String::from_utf8(began)?.parse()?;
            entries.push((began, second(found.dealt_until)));
        }
        Ok(Self {
            notes: world.notes.names()?,
            effects,
            records: page.tasks.into_iter().map(|each| each.record).collect(),
            entries,
        })
    }

    pub(crate) fn judge(&self, complaints: &mut Vec<String>) -> Result<()> {
        let mut expected = Vec::new();
        let mut noted = Vec::new();
        for record in &self.records {
            let is_done = record.state == State::Done;
            match &*record.kind {
                Items::KIND => {
                    let Items(task) = record.payload.decode()?;
                    let items = (0..done_items(record)).map(|item| item_name(&task, item));
                    expected.extend(items);
                    noted.push(task);
                }
                Member::KIND => {
                    let task: Member = record.payload.decode()?;
                    expected.extend(is_done.then(|| member_name(&task)));
                }
                Last::KIND => {
                    let Last(task) = record.payload.decode()?;
                    expected.extend(is_done.then(|| last_name(&task, SUM)));
                    noted.push(task);
                }
                Tick::KIND => {
                    let Tick(entry) = record.payload.decode()?;
                    expected.extend(is_done.then(|| tick_name(entry, second_of(record))));
                }
                other => return Err(format!("a task of kind `{other}`").into()),
            }
        }
        expected.sort();
        let effects = self.effects.iter();
        let effects = effects.flat_map(|(name, count)| vec![name.clone(); *count]);
        let effects: Vec<_> = effects.collect();
        differ(complaints, "effects and what was done", &effects, &expected);
        let mut names: Vec<_> = noted.iter().map(Answer::name).collect();
        names.sort();
        differ(complaints, "notes and their tasks", &self.notes, &names);
        let aborted: Vec<_> = noted
            .iter()
            .filter(|task| !is_committed(task.number))
            .collect();
        complain(
            complaints,
            aborted.is_empty(),
            "aborted tasks are there",
            &aborted,
        );
        self.judge_chords(complaints)?;
        self.judge_ticks(complaints)
    }

    /// A chord is there whole, and its last task is done only after the others.
    fn judge_chords(&self, complaints: &mut Vec<String>) -> Result<()> {
        let mut chords = BTreeMap::<String, Vec<(u32, bool)>>::new();
        let members = self
            .records
            .iter()
            .filter(|record| &*record.kind == Member::KIND);
        for record in members {
            let Member(task, number) = record.payload.decode()?;
            let is_done = record.state == State::Done;
            chords
                .entry(task.name())
                .or_default()
                .push((number, is_done));
        }
        for members in chords.values_mut() {
            members.sort_unstable();
        }
        for record in self
            .records
            .iter()
            .filter(|record| &*record.kind == Last::KIND)
        {
            let Last(task) = record.payload.decode()?;
            let members = chords.remove(&task.name()).unwrap_or_default();
            let is_whole = members.iter().map(|(number, _)| *number).eq(MEMBERS);
            complain(complaints, is_whole, "a chord is not whole", &members);
            let may_start = members.iter().all(|(_, is_done)| *is_done);
            let is_early = record.state != State::Waiting && !may_start;
            complain(complaints, !is_early, "a chord ended too early", &members);
        }
        complain(
            complaints,
            chords.is_empty(),
            "chords without an end",
            &chords,
        );
        Ok(())
    }

    /// Each second of each entry has exactly one task.
    fn judge_ticks(&self, complaints: &mut Vec<String>) -> Result<()> {
        let mut seconds = vec![Vec::new(); self.entries.len()];
        for record in self
            .records
            .iter()
            .filter(|record| &*record.kind == Tick::KIND)
        {
            let Tick(entry) = record.payload.decode()?;
            let seconds = seconds.get_mut(entry as usize);
            seconds
                .ok_or("a tick before the timetable began")?
                .push(second_of(record));
        }
        for (mut seconds, (began, dealt)) in seconds.into_iter().zip(&self.entries) {
            seconds.sort_unstable();
            let is_each_once = seconds.iter().copied().eq(began + 1..=*dealt);
            let what = format!("ticks after {began} up to {dealt}");
            complain(complaints, is_each_once, &what, &seconds);
        }
        Ok(())
    }
}

/// How many items of a task are done.
fn done_items(record: &Record) -> usize {
    if record.state == State::Done {
        return ITEMS;
    }
    let position = record.account.as_ref().and_then(|account| account.position);
    position.map_or(0, |position| {
        usize::try_from(position.done).unwrap_or(ITEMS)
    })
}
