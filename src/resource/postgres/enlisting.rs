//! *Enlisted, yours*, again and again: a connection of the application's that keeps what was prepared on it.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use postgres::{Client, Transaction};

use super::enlist::{SAVEPOINT, check_database, failed};
use crate::queue::{Enlist, EnlistError, as_own};
use crate::store::postgres::session::{Foreign, Statements};
use crate::store::postgres::{Pooler, PostgresStore, is_one_insert, tell, write_batch, write_one};
use crate::store::{self, Applied, Batch, Store};

/// A connection of the application's own that enlists queues in one transaction after the other: a task
/// then costs one round trip. A [`Transaction`] of the driver will do too, but is looked at each time, and
/// what is executed in it is planned each time.
///
/// Once for each store it is noted here that the connection is to the store's database, and statements are
/// prepared on it. Behind a pooler that hands connections round the store has to be told so, by
/// [`Pooler::Transaction`]: then nothing is prepared. What was prepared must stay: after a `DISCARD ALL` or
/// `DEALLOCATE ALL` tasks are refused.
pub struct EnlistingClient {
    client: Client,
    known: Known,
}

/// What was prepared for the stores that are in the connection's database, by their fingerprints.
type Known = HashMap<String, Statements>;

impl EnlistingClient {
    /// Takes over a connection.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Known::new(),
        }
    }

    /// Begins a transaction, which is rolled back when it is dropped.
    ///
    /// # Errors
    /// As the server says; no transaction was begun.
    pub fn transaction(&mut self) -> Result<EnlistingTransaction<'_>, postgres::Error> {
        Ok(EnlistingTransaction {
            transaction: self.client.transaction()?,
            known: &mut self.known,
        })
    }

    /// Gives the connection back.
    #[must_use]
    pub fn into_client(self) -> Client {
        self.client
    }
}

impl fmt::Debug for EnlistingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnlistingClient").finish_non_exhaustive()
    }
}

/// A transaction of an [`EnlistingClient`], and the driver's own at the same time.
pub struct EnlistingTransaction<'c> {
    transaction: Transaction<'c>,
    known: &'c mut Known,
}

impl EnlistingTransaction<'_> {
    /// Begins a nested transaction, which is a savepoint.
    ///
    /// # Errors
    /// As the server says; no savepoint was made.
    pub fn transaction(&mut self) -> Result<EnlistingTransaction<'_>, postgres::Error> {
        Ok(EnlistingTransaction {
            transaction: self.transaction.transaction()?,
            known: self.known,
        })
    }

    /// Commits.
    ///
    /// # Errors
    /// As the server says; where nothing was heard of it, it may have committed.
    pub fn commit(self) -> Result<(), postgres::Error> {
        self.transaction.commit()
    }

    /// Rolls back.
    ///
    /// # Errors
    /// As the server says; it will not commit.
    pub fn rollback(self) -> Result<(), postgres::Error> {
        self.transaction.rollback()
    }
}

impl<'c> Deref for EnlistingTransaction<'c> {
    type Target = Transaction<'c>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl DerefMut for EnlistingTransaction<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}

impl fmt::Debug for EnlistingTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnlistingTransaction")
            .finish_non_exhaustive()
    }
}

/// As in a [`Transaction`]; those who wait are told by each task that is written, when it commits.
impl Enlist for &mut EnlistingTransaction<'_> {
    fn check(&mut self, store: &dyn Store) -> Result<(), EnlistError> {
        let store: &PostgresStore = as_own(store)?;
        if !self.known.contains_key(store.fingerprint()) {
            check_database(&mut self.transaction, store)?;
            let fingerprint = store.fingerprint().to_owned();
            self.known.insert(fingerprint, Statements::default());
        }
        Ok(())
    }

    fn write(&mut self, store: &dyn Store, batch: Batch) -> Result<Applied, EnlistError> {
        let store: &PostgresStore = as_own(store)?;
        let now = store::Inspect::now(store)?;
        let statements = self.known.get_mut(store.fingerprint());
        let statements = statements.filter(|_| store.reach().1.pooler == Pooler::Session);
        // A refusal comes before anything is written, unless there are several statements to write.
        if is_one_insert(&batch) {
            let mut session = Foreign::new(&mut self.transaction, store.tables(), statements);
            return Ok(write_one(&mut session, &batch, now)?);
        }
        let mut savepoint = self.transaction.savepoint(SAVEPOINT).map_err(failed)?;
        let mut session = Foreign::new(&mut savepoint, store.tables(), statements);
        let applied = write_batch(&mut session, batch, now)?;
        tell(&mut session)?;
        savepoint.commit().map_err(failed)?;
        Ok(applied)
    }
}
