//! Promises: a session prepares its transaction, and what a database has prepared is listed, committed and
//! rolled back under names of our own.

use std::time::Duration;

use postgres::error::SqlState;
use postgres::types::Type;

use super::database::{Database, Form};
use super::error::{DatabaseError, report};
use super::pool::{Connection, Loan, Pool};
use super::session::{Phase, Session};
use crate::failpoint;
use crate::id::{ResourceId, TxnId};
use crate::register::{Holder, PreparedTxn, Preparing};
use crate::txn::{Answer, BoxError};

/// What all names begin with.
const PREFIX: &str = "votive:";

const LIST: &str = "list what is prepared";

/// The name under which a transaction is prepared: it says who decides about what, and in which database,
/// because all databases of a server share the names. All of it is digits, and can be written into a
/// statement.
pub(super) fn name(register: ResourceId, txn: TxnId, oid: u32) -> String {
    format!("{PREFIX}{register}:{txn}:{oid}")
}

/// Reads a name; what is not one of ours is somebody else's.
fn parse(name: &str) -> Option<(ResourceId, TxnId)> {
    let mut parts = name.strip_prefix(PREFIX)?.split(':');
    let register = parts.next()?.parse().ok()?;
    let txn = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    parts.next().is_none().then_some((register, txn))
}

/// Commits what is prepared. That there is no such name any more means that it was committed before.
pub(super) fn commit(
    pool: &Pool,
    connection: &mut Connection,
    (register, txn): (ResourceId, TxnId),
) -> Result<(), BoxError> {
    failpoint::hit("postgres_resource.finish.before_commit");
    let command = format!("COMMIT PREPARED '{}'", name(register, txn, pool.oid()));
    let done = pool.run("commit what is prepared", || {
        connection.batch_execute(&command)
    });
    unless_absent(done)?;
    failpoint::hit("postgres_resource.finish.after_commit");
    Ok(())
}

fn unless_absent(done: Result<(), DatabaseError>) -> Result<(), DatabaseError> {
    match done {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
        done => done,
    }
}

impl Session {
    /// Promises, by preparing the transaction under the name of whoever decides.
    pub(super) fn promise(&mut self, register: Option<ResourceId>) -> Answer {
        if self.database.inner().form == Form::Decides {
            return Answer::Refused(
                "a database with a register decides, and does not promise".into(),
            );
        }
        let Some(register) = register else {
            return Answer::Refused("a database can only promise to somebody who decides".into());
        };
        let promised = self.check_promise().and_then(|()| {
            // From here on it may be prepared, whatever comes back.
            self.phase = Phase::Prepared(register);
            let oid = self.database.inner().pool.oid();
            let name = name(register, self.txn, oid);
            failpoint::hit("postgres_resource.prepare.before_commit");
            self.command(&format!("PREPARE TRANSACTION '{name}'"), "be prepared")
        });
        match promised {
            Ok(()) => {
                failpoint::hit("postgres_resource.prepare.after_commit");
                self.leave();
                Answer::Ok
            }
            Err(error) => {
                if matches!(self.phase, Phase::Prepared(_)) {
                    self.connection.spoil();
                }
                Answer::Refused(report(error))
            }
        }
    }

    fn check_promise(&self) -> Result<(), DatabaseError> {
        if self.connection.prepared_max() == 0 {
            return Err(DatabaseError::CannotPrepare(self.place()));
        }
        // What is not found there any more is taken for committed. To prepare waits for the disk in any case, whatever
        // `synchronous_commit` says.
        self.refuse_lax(&["fsync"])
    }

    /// Commits what is prepared, on the connection that prepared it.
    pub(super) fn finish_prepared(&mut self, register: ResourceId) -> Result<(), BoxError> {
        let pool = &self.database.inner().pool;
        commit(pool, &mut self.connection, (register, self.txn))
            .or_else(|_| self.database.commit_prepared(register, self.txn))
    }
}

impl Database {
    /// Lends a connection, and says whether something is prepared under a name. Asking first keeps what
    /// is done already from being an error in the server's log.
    fn find(&self, register: ResourceId, txn: TxnId) -> Result<(Loan, bool), DatabaseError> {
        let name = name(register, txn, self.inner().pool.oid());
        let find = "SELECT 1 FROM pg_catalog.pg_prepared_xacts WHERE gid = $1
             AND database = pg_catalog.current_database()";
        let (loan, rows) = self.inner().pool.on_loan(LIST, |connection| {
            connection.query_typed(find, &[(&name, Type::TEXT)])
        })?;
        Ok((loan, !rows.is_empty()))
    }

    fn list(&self) -> Result<Vec<PreparedTxn>, DatabaseError> {
        let pool = &self.inner().pool;
        let (_, rows) = pool.on_loan(LIST, |connection| {
            connection.query_typed(
                "SELECT gid, greatest(0, extract(epoch FROM
                     pg_catalog.clock_timestamp() - prepared) * 1000)::bigint
                 FROM pg_catalog.pg_prepared_xacts
                 WHERE database = pg_catalog.current_database() AND gid LIKE 'votive:%'",
                &[],
            )
        })?;
        let mut listed = Vec::new();
        for row in &rows {
            let read = || Ok((row.try_get::<_, String>(0)?, row.try_get::<_, i64>(1)?));
            let (name, millis) = read().map_err(pool.fails(LIST))?;
            if let Some((register, txn)) = parse(&name) {
                listed.push(PreparedTxn {
                    register,
                    txn,
                    age: Duration::from_millis(u64::try_from(millis).unwrap_or(0)),
                });
            }
        }
        Ok(listed)
    }
}

impl Holder for Database {
    fn resource(&self) -> ResourceId {
        self.id()
    }

    /// What is not listed any more is committed, on disk: the server flushes before it forgets the name.
    fn forgettable(&self, txns: &[TxnId]) -> Result<Vec<TxnId>, BoxError> {
        let held = self.list()?;
        let is_free = |txn: &&TxnId| held.iter().all(|listed| listed.txn != **txn);
        Ok(txns.iter().filter(is_free).copied().collect())
    }
}

/// Every connection is to the database that was opened, or it is refused: a name that is missing there is
/// done.
impl Preparing for Database {
    fn prepared(&self) -> Result<Vec<PreparedTxn>, BoxError> {
        Ok(self.list()?)
    }

    fn commit_prepared(&self, register: ResourceId, txn: TxnId) -> Result<(), BoxError> {
        let pool = &self.inner().pool;
        let (mut connection, is_there) = self.find(register, txn)?;
        if is_there {
            commit(pool, &mut connection, (register, txn))?;
        }
        Ok(())
    }

    fn roll_back_prepared(&self, register: ResourceId, txn: TxnId) -> Result<(), BoxError> {
        let pool = &self.inner().pool;
        let (mut connection, is_there) = self.find(register, txn)?;
        if is_there {
            let command = format!("ROLLBACK PREPARED '{}'", name(register, txn, pool.oid()));
            unless_absent(pool.run("roll back what is prepared", || {
                connection.batch_execute(&command)
            }))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    #[test]
    fn a_name_says_who_decides_about_what() {
        let register = ResourceId::random();
        let txn = TxnId {
            incarnation: Incarnation::random(),
            sequence: 7,
        };
        assert_eq!(parse(&name(register, txn, 5)), Some((register, txn)));
        assert_eq!(parse(&format!("votive:{register}:{txn}")), None);
        assert_eq!(parse(&format!("{}:6", name(register, txn, 5))), None);
        assert_eq!(parse("their own"), None);
    }
}
