//! What a database has prepared: listed, committed and rolled back under names of our own.

use std::time::Duration;

use postgres::error::SqlState;
use postgres::types::Type;

use super::database::Database;
use super::error::DatabaseError;
use super::pool::{Connection, Loan, Pool};
use crate::failpoint;
use crate::id::{ResourceId, TxnId};
use crate::register::{Holder, Preparing, PreparedTxn};
use crate::txn::BoxError;

/// What all names begin with.
const PREFIX: &str = "votive:";

const LIST: &str = "list what is prepared";

/// The name under which a transaction is prepared: it says who decides. Both ids are made of digits, and
/// can be written into a statement.
pub(super) fn name(register: ResourceId, txn: TxnId) -> String {
    format!("{PREFIX}{register}:{txn}")
}

/// Reads a name; what is not one of ours is somebody else's.
fn parse(name: &str) -> Option<(ResourceId, TxnId)> {
    let (register, txn) = name.strip_prefix(PREFIX)?.split_once(':')?;
    Some((register.parse().ok()?, txn.parse().ok()?))
}

/// Commits what is prepared. That there is no such name any more means that it was committed before.
pub(super) fn commit(
    pool: &Pool,
    connection: &mut Connection,
    (register, txn): (ResourceId, TxnId),
) -> Result<(), BoxError> {
    failpoint::hit("postgres_resource.finish.before_commit");
    let command = format!("COMMIT PREPARED '{}'", name(register, txn));
    let done = pool.run("commit what is prepared", || connection.batch_execute(&command));
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

impl Database {
    /// Lends a connection, and says whether something is prepared under a name. Asking first keeps what
    /// is done already from being an error in the server's log.
    fn find(&self, register: ResourceId, txn: TxnId) -> Result<(Loan, bool), DatabaseError> {
        let name = name(register, txn);
        let find = "SELECT 1 FROM pg_catalog.pg_prepared_xacts WHERE gid = $1";
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
            let command = format!("ROLLBACK PREPARED '{}'", name(register, txn));
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
        assert_eq!(parse(&name(register, txn)), Some((register, txn)));
        assert_eq!(parse("votive:else"), None);
        assert_eq!(parse("their own"), None);
    }
}
