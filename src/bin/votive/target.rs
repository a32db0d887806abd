//! The store that a command works on, and how it is changed: by transactions, like any application.

use std::sync::Arc;

use votive::id::TaskId;
use votive::queue;
use votive::store::url::StoreUrl;
use votive::store::{self, Batch, Change, Filter, Listed, Store};
use votive::txn::TransactionManager;

use crate::application;
use crate::args::{Applications, Global};
use crate::exit::{Exit, Failure};

/// How many tasks are read at a time.
const PAGE: usize = 500;

/// An open store, and the manager of the transactions that change it.
pub(crate) struct Target {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// Begins the transactions, and knows the registers.
    pub(crate) manager: TransactionManager,
}

impl Target {
    /// Opens the store that the arguments name, which must be there.
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        Self::open_at(url(global)?)
    }

    /// Opens the store that the arguments name, or makes it.
    pub(crate) fn open_or_create(global: &Global) -> Result<Self, Failure> {
        Self::open_or_create_at(url(global)?)
    }

    /// Opens the store at a URL, which must be there.
    pub(crate) fn open_at(url: &str) -> Result<Self, Failure> {
        let parsed: StoreUrl = url.parse().map_err(Failure::of)?;
        Self::open_or_create_at(&never_making(&parsed)).map_err(|failure| match failure.exit {
            Exit::NotFound => failure.during(format!(
                "there is no store at {parsed}: `votive migrate` makes one"
            )),
            _ => failure,
        })
    }

    /// Opens the store at a URL, or makes it.
    pub(crate) fn open_or_create_at(url: &str) -> Result<Self, Failure> {
        Ok(Self {
            store: votive::open(url).map_err(Failure::of)?,
            manager: TransactionManager::new(),
        })
    }

    /// Makes the databases known that say how transactions ended, or hold a part of them.
    pub(crate) fn know(&self, applications: &Applications) -> Result<(), Failure> {
        let registers = self.manager.registers();
        for url in &applications.app {
            application::at(url)?.introduce(registers)?;
        }
        Ok(())
    }

    /// Makes the changes at once, all of them or none.
    pub(crate) fn apply(&self, changes: &[Change]) -> store::Result<()> {
        let batch = Batch::new(changes.to_vec());
        queue::apply(&self.store, &self.manager, &batch).map(drop)
    }

    /// Finds a task.
    pub(crate) fn find(&self, task: TaskId) -> Result<Listed, Failure> {
        let found = self.store.get(task)?;
        found.ok_or_else(|| {
            let message =
                format!("there is no task {task}: it was never published here, or it is done");
            Failure::new(Exit::NotFound, message)
        })
    }

    /// Shows every task that the filter lets pass to `see`.
    pub(crate) fn each(&self, filter: &Filter, mut see: impl FnMut(Listed)) -> Result<(), Failure> {
        let mut cursor = None;
        loop {
            let page = self.store.scan(filter, cursor.as_ref(), PAGE)?;
            page.tasks.into_iter().for_each(&mut see);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// Returns the URL that the arguments name.
pub(crate) fn url(global: &Global) -> Result<&str, Failure> {
    let missing = || Failure::new(Exit::Usage, "no store: give --url, or set VOTIVE_URL");
    global.url.as_deref().ok_or_else(missing)
}

/// Returns the URL with which a store is opened, and not made. One in memory is always made, and its URL says nothing
/// else.
fn never_making(url: &StoreUrl) -> String {
    let mut opened = url.as_url().clone();
    let says = opened.query_pairs().any(|(name, _)| name == "create");
    if !says && url.scheme() != "memory" {
        opened.query_pairs_mut().append_pair("create", "false");
    }
    opened.into()
}
