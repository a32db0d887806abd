//! A database that can prepare, and a participant that changes something in it.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use votive::id::{ResourceId, TxnId};
use votive::register::{Holder, PreparedTxn, Preparing};
use votive::txn::{Answer, BoxError, DataManager, PrepareInfo, Prepared, Role, Transaction, Vote};

/// Looks around at the moment at which a database commits.
type Look = Box<dyn Fn() + Send + Sync>;

/// A database that can prepare. What it did is on disk.
#[derive(Default)]
pub(crate) struct Database {
    number: u8,
    state: Mutex<State>,
    pub(crate) on_commit: Mutex<Option<Look>>,
}

#[derive(Default)]
struct State {
    is_down: bool,
    prepared: BTreeMap<TxnId, (ResourceId, Duration)>,
    committed: BTreeSet<TxnId>,
}

impl Database {
    pub(crate) fn new(number: u8) -> Arc<Self> {
        Arc::new(Self {
            number,
            ..Self::default()
        })
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.state.lock().is_down = is_down;
    }

    pub(crate) fn has_committed(&self, txn: TxnId) -> bool {
        self.state.lock().committed.contains(&txn)
    }

    pub(crate) fn holds(&self, txn: TxnId) -> bool {
        self.state.lock().prepared.contains_key(&txn)
    }

    /// Prepares, as of `age` ago.
    pub(crate) fn prepare(&self, register: ResourceId, txn: TxnId, age: Duration) {
        self.state.lock().prepared.insert(txn, (register, age));
    }

    /// Joins a transaction with a change.
    pub(crate) fn change(self: &Arc<Self>, txn: &mut Transaction) {
        txn.registers().insert_database(Arc::clone(self) as _);
        let session = |txn| -> Result<Session, BoxError> {
            Ok(Session {
                database: Arc::clone(self),
                txn,
                register: None,
            })
        };
        txn.join_with(self.resource(), session).unwrap();
    }

    fn reach(&self) -> Result<parking_lot::MutexGuard<'_, State>, BoxError> {
        let state = self.state.lock();
        if state.is_down {
            return Err("the database is down".into());
        }
        Ok(state)
    }
}

impl Holder for Database {
    fn resource(&self) -> ResourceId {
        ResourceId::of_preparing_database([self.number; 12])
    }

    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>, BoxError> {
        let state = self.reach()?;
        let free = txns.iter().filter(|txn| !state.prepared.contains_key(*txn));
        Ok(free.copied().collect())
    }
}

impl Preparing for Database {
    fn prepared(&self) -> Result<Vec<PreparedTxn>, BoxError> {
        let state = self.reach()?;
        let listed = state
            .prepared
            .iter()
            .map(|(txn, (register, age))| PreparedTxn {
                register: *register,
                txn: *txn,
                age: *age,
            });
        Ok(listed.collect())
    }

    fn commit_prepared(&self, _: ResourceId, txn: TxnId) -> Result<(), BoxError> {
        if self.reach()?.prepared.remove(&txn).is_some() {
            if let Some(look) = &*self.on_commit.lock() {
                look();
            }
            self.state.lock().committed.insert(txn);
        }
        Ok(())
    }

    fn roll_back_prepared(&self, _: ResourceId, txn: TxnId) -> Result<(), BoxError> {
        self.reach()?.prepared.remove(&txn);
        Ok(())
    }
}

/// A change of one transaction in one database.
struct Session {
    database: Arc<Database>,
    txn: TxnId,
    register: Option<ResourceId>,
}

impl DataManager for Session {
    fn role(&self) -> Role {
        Role::TwoPhase(self.database.resource())
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        Ok(format!("database:{}", self.database.number))
    }

    fn prepare(&mut self, _info: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        Ok(Prepared::Work)
    }

    fn vote(&mut self, vote: Vote<'_>) -> Answer {
        let Vote::Prepare { register, .. } = vote else {
            return Answer::Refused("it was asked to decide".into());
        };
        let register = register.expect("somebody decides");
        match self.database.reach() {
            Err(error) => return Answer::Refused(error),
            Ok(mut state) => drop(state.prepared.insert(self.txn, (register, Duration::ZERO))),
        }
        self.register = Some(register);
        Answer::Ok
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        let register = self.register.expect("it has promised");
        self.database.commit_prepared(register, self.txn)
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.database.state.lock().prepared.remove(&self.txn);
        Ok(())
    }
}
