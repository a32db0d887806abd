//! A site, opened: tasks, notes and effects, and who runs the tasks.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{after, select, tick};
use votive::Periodic;
use votive::consumer::{Builder, Consumer, Running};
use votive::handler::{Context, Registry};
use votive::queue::{Queue, recover_older_than};
use votive::store::file::FileStore;
use votive::store::{Filter, Store};
use votive::task::State;
use votive::txn::{BoxError, TransactionManager, Work};

use crate::answer::Answer;
use crate::errands;
use crate::layout::{Layout, Load};
use crate::shelf::{EFFECTS, Ground, NOTES, Shelf};
use crate::site::Site;
use crate::store::Opened;

pub(crate) type Result<T> = std::result::Result<T, BoxError>;

/// What no run takes as long as.
const LONG: Duration = Duration::from_secs(60);

/// How long the dead keep their claims, where only time tells that they are dead.
const LEASE: Duration = Duration::from_millis(500);

/// The names of the stores.
const TASKS: &str = "tasks";
const SECOND: &str = "second";

pub(crate) struct World {
    pub(crate) layout: Layout,
    pub(crate) store: Arc<dyn Store>,
    second: Option<Arc<dyn Store>>,
    pub(crate) queue: Queue,
    pub(crate) manager: TransactionManager,
    pub(crate) notes: Arc<dyn Shelf>,
    pub(crate) effects: Arc<dyn Shelf>,
}

impl World {
    /// Opens what there is, and makes what is missing.
    pub(crate) fn open(site: &Site) -> Result<Self> {
        Self::open_with(site, false)
    }

    /// Opens what there is, perhaps with an application that does not wait for the disk.
    pub(crate) fn open_with(site: &Site, is_careless: bool) -> Result<Self> {
        let layout = site.layout;
        let tasks = Opened::open(layout.tasks, site, TASKS)?;
        let second = layout
            .second()
            .map(|backend| Opened::open(backend, site, SECOND));
        let second = second.transpose()?.map(Opened::into_store);
        let ground = Ground {
            site,
            tasks: &tasks,
            second: second.clone(),
            is_careless,
        };
        let notes = ground.open(NOTES, layout.notes)?;
        let effects = ground.open(EFFECTS, layout.effects)?;
        let store = tasks.into_store();
        let manager = TransactionManager::new();
        manager.registers().insert(Arc::clone(&store) as _);
        notes.introduce(&manager);
        effects.introduce(&manager);
        let queue = Queue::new(Arc::clone(&store), "default")?;
        Ok(Self {
            layout,
            store,
            second,
            queue,
            manager,
            notes,
            effects,
        })
    }

    /// Settles all that crashes left in doubt; returns how much still is.
    pub(crate) fn recover(&self) -> Result<usize> {
        let mut left = 0;
        for store in self.stores() {
            left += recover_older_than(store, &self.manager, Duration::ZERO)?.in_doubt;
        }
        Ok(left)
    }

    /// Has stores in folders give back space, which they seldom do by themselves after so little work.
    pub(crate) fn compact(&self) -> Result<()> {
        for store in self.stores() {
            if let Some(store) = store.as_any().downcast_ref::<FileStore>() {
                store.compact()?;
            }
        }
        Ok(())
    }

    /// What the stores find wrong with themselves.
    pub(crate) fn check(&self) -> Result<Vec<String>> {
        let mut complaints = Vec::new();
        for store in self.stores() {
            complaints.extend(store.check()?);
        }
        Ok(complaints)
    }

    fn stores(&self) -> impl Iterator<Item = &Arc<dyn Store>> {
        [&self.store].into_iter().chain(&self.second)
    }

    /// Begins what is to go on by itself.
    pub(crate) fn begin(&self) -> Result<()> {
        match self.layout.load {
            Load::Answers => Ok(()),
            Load::Errands => errands::begin(&self.store, &self.manager),
        }
    }

    /// Enqueues what is to be done about a note.
    pub(crate) fn enqueue(&self, work: &mut Work, task: &Answer) -> Result<()> {
        match self.layout.load {
            Load::Answers => {
                self.queue.enqueue(work, task)?;
                Ok(())
            }
            Load::Errands => errands::enqueue(&self.queue, work, task),
        }
    }

    /// Runs tasks, and keeps the timetable if there is one.
    pub(crate) fn consume(&self) -> Result<Running> {
        let timetable = match self.layout.load {
            Load::Answers => Vec::new(),
            Load::Errands => errands::timetable()?,
        };
        self.consume_with(timetable)
    }

    fn consume_with(&self, timetable: Vec<Periodic>) -> Result<Running> {
        let effects = Arc::clone(&self.effects);
        let mut registry = Registry::new();
        registry.register(
            move |task: Answer, context: &mut Context<'_>| -> Result<()> {
                answer(&*effects, &task, context)
            },
        )?;
        errands::register(&mut registry, &self.effects)?;
        let builder = Consumer::builder(Arc::clone(&self.store), registry)
            .manager(self.manager.clone())
            .concurrent_limit(2)
            // What the tests do to a task is no reason to give it up.
            .retry_max_count(u32::MAX)
            .reclaims_max(u32::MAX)
            .lease(LEASE);
        Ok(timetable
            .into_iter()
            .fold(builder, Builder::periodic)
            .start()?)
    }

    /// Waits until all tasks are done.
    pub(crate) fn wait(&self) -> Result<()> {
        self.wait_while(|| ())
    }

    /// Does something again and again until all tasks are done.
    pub(crate) fn wait_while(&self, something: impl Fn()) -> Result<()> {
        let (again, late) = (tick(Duration::from_millis(10)), after(LONG));
        while self.unfinished()? > 0 {
            something();
            select! {
                recv(again) -> _ => {}
                recv(late) -> _ => return Err(self.left()?.into()),
            }
        }
        Ok(())
    }

    /// Runs all tasks to their end.
    pub(crate) fn drain(&self) -> Result<()> {
        let running = self.consume_with(Vec::new())?;
        let waited = self.wait();
        running.stop();
        waited
    }

    /// Says what is never done.
    fn left(&self) -> Result<String> {
        let page = self.store.scan(&Filter::default(), None, 100_000)?;
        let left = page.tasks.into_iter();
        let left = left.filter(|listed| listed.record.state != State::Done);
        let left: Vec<_> = left.map(|listed| format!("{listed:?}")).collect();
        let in_doubt = self.store.in_doubt(None, 10)?;
        let now = self.store.now()?;
        Ok(format!(
            "some tasks are never done, now {now}, in doubt {in_doubt:?}:\n{}",
            left.join("\n")
        ))
    }

    fn unfinished(&self) -> Result<u64> {
        let queues = self.store.stats()?.queues;
        let counts = queues.iter().flat_map(|queue| &queue.counts);
        Ok(counts
            .filter(|(state, _)| *state != State::Done)
            .map(|(_, count)| count)
            .sum())
    }
}

/// The handler: the first attempt of some tasks fails, and that of others is refused by its COMMIT.
fn answer(effects: &dyn Shelf, task: &Answer, context: &mut Context<'_>) -> Result<()> {
    let is_first = context.attempt().number == 1;
    let is_refused = is_first && task.number % 5 == 1;
    effects.write(context.work(), &task.name(), is_refused)?;
    if is_first && task.number % 5 == 2 {
        return Err("the first attempt fails on purpose".into());
    }
    if !task.is_echo {
        context.enqueue(&task.echo())?;
    }
    Ok(())
}
