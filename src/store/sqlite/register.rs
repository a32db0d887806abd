//! The register in a SQLite file: who committed, kept by plain functions over a connection.
//!
//! The SQLite store calls them on its own file, and `resource::rusqlite` on the application's. None of
//! them begins or ends a transaction: the caller has begun one with `BEGIN IMMEDIATE`, so that nobody
//! else writes between two statements, and commits it with `synchronous` at `FULL` or above.
//!
//! A commit that wrote nothing does not wait for the disk. So whatever reports an outcome also counts
//! one up in `votive_resource`: when the caller's commit has returned, all that was read is on disk.

use std::path::{Path, PathBuf};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Result, Row, params};

use super::statements::Statements;
use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Answer, Decision, IncarnationRow, OutcomeRow, RegisterErrorKind, Standing};
use crate::time::Timestamp;

/// The register's tables, as `votive migrate --register --print` shows them.
///
/// There is no index on `incarnation`: a transaction id begins with its incarnation, so the primary
/// key is one.
pub const SCHEMA: &str = "\
CREATE TABLE IF NOT EXISTS votive_resource (
    id          BLOB NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    flush_count INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS votive_incarnation (
    id         INTEGER NOT NULL PRIMARY KEY,
    host       TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    closed     INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1))
) STRICT;
CREATE TABLE IF NOT EXISTS votive_outcome (
    txn         BLOB NOT NULL PRIMARY KEY,
    incarnation INTEGER NOT NULL REFERENCES votive_incarnation (id) ON DELETE RESTRICT,
    outcome     TEXT NOT NULL CHECK (outcome IN ('commit', 'abort')),
    stores      BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What became of an attempt to write `Committed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitRecord {
    /// It is written, and true if the caller commits.
    Written,
    /// There is an outcome already: somebody decided before. The caller must roll back.
    Decided,
    /// The incarnation is closed or not there: it must not commit any more. The caller must roll back.
    Gone,
}

/// Whose register a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name that staged batches call it by.
    pub(crate) id: ResourceId,
    /// The file that it was made in, or adopted for.
    pub(crate) fingerprint: String,
}

/// Makes the tables and the identity where they are missing, and returns the identity.
pub(crate) fn create(connection: &Connection) -> Result<Identity> {
    connection.execute_batch(SCHEMA)?;
    if let Some(identity) = identity(connection)? {
        return Ok(identity);
    }
    let made = Identity {
        id: ResourceId::random(),
        fingerprint: fingerprint(connection)?,
    };
    connection.execute(
        "INSERT INTO votive_resource (id, fingerprint) VALUES (?1, ?2)",
        params![made.id.to_bytes(), made.fingerprint],
    )?;
    Ok(made)
}

/// Reads the identity; `None` if the file has no register.
pub(crate) fn identity(connection: &Connection) -> Result<Option<Identity>> {
    if !connection.table_exists(Some("main"), "votive_resource")? {
        return Ok(None);
    }
    connection
        .query_row("SELECT id, fingerprint FROM votive_resource", [], |row| {
            Ok(Identity {
                id: ResourceId::from_bytes(row.get(0)?),
                fingerprint: row.get(1)?,
            })
        })
        .optional()
}

/// Declares that this file is the one whose register it holds, after it was moved, restored or cloned.
/// Of several clones an operator adopts one, never two.
pub(crate) fn adopt(connection: &Connection) -> Result<()> {
    let here = fingerprint(connection)?;
    connection.execute("UPDATE votive_resource SET fingerprint = ?1", [here])?;
    Ok(())
}

/// Tells the connection's file from its clones.
pub(crate) fn fingerprint(connection: &Connection) -> Result<String> {
    let path = connection.path().unwrap_or_default();
    fingerprint_of(Path::new(path))
        .map_err(|error| rusqlite::Error::InvalidPath(PathBuf::from(format!("{path}: {error}"))))
}

/// Tells a file from its clones: by device and inode, which a copy does not share.
#[cfg(unix)]
pub(crate) fn fingerprint_of(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path)?;
    Ok(format!("device {} inode {}", file.dev(), file.ino()))
}

/// Tells a file from its clones by its place, where there is nothing better.
#[cfg(not(unix))]
pub(crate) fn fingerprint_of(path: &Path) -> std::io::Result<String> {
    Ok(format!("path {}", path.canonicalize()?.display()))
}

/// Enrolls an incarnation. One that is there already is an error: nobody enrolls twice.
pub(crate) fn enroll(
    connection: &Connection,
    incarnation: Incarnation,
    now: Timestamp,
) -> Result<()> {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    connection.execute(
        "INSERT INTO votive_incarnation (id, host, started_at) VALUES (?1, ?2, ?3)",
        params![Sql(incarnation), host, now.as_micros()],
    )?;
    Ok(())
}

/// Writes `Committed` for a transaction of an open incarnation: called by the commit point, in the
/// transaction that it is about. The records of `spent` go; a single one gives its row, if it can.
pub(crate) fn commit(
    connection: &Statements<'_>,
    txn: TxnId,
    stores: &[ResourceId],
    spent: &[TxnId],
) -> Result<CommitRecord> {
    if let [spent] = spent
        && rename(connection, *spent, (txn, stores))?
    {
        return Ok(CommitRecord::Written);
    }
    forget(connection, spent)?;
    if insert(connection, txn, Decision::Committed, stores)? {
        return Ok(CommitRecord::Written);
    }
    Ok(match standing(connection, txn.incarnation)? {
        Standing::Open => CommitRecord::Decided,
        Standing::Closed | Standing::Gone => CommitRecord::Gone,
    })
}

/// Whether there is an outcome of a transaction. Not flushed: only for who refuses because of it.
pub(crate) fn is_decided(connection: &Connection, txn: TxnId) -> Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM votive_outcome WHERE txn = ?1)")?
        .query_row([Sql(txn)], |row| row.get(0))
}

/// Writes the outcome if there is none, then reads what is there, then the incarnation's standing.
pub(crate) fn decide(
    connection: &Connection,
    txn: TxnId,
    want: Decision,
    stores: &[ResourceId],
) -> Result<Answer> {
    insert(&Statements::new(connection), txn, want, stores)?;
    touch(connection)?;
    let decision = connection
        .prepare_cached("SELECT outcome FROM votive_outcome WHERE txn = ?1")?
        .query_row([Sql(txn)], |row| Ok(row.get::<_, Sql<Decision>>(0)?.0))
        .optional()?;
    Ok(Answer {
        decision,
        standing: standing(connection, txn.incarnation)?,
    })
}

/// Inserts an outcome record unless there is one; a commit only while the incarnation is open. Returns
/// whether it did.
fn insert(
    connection: &Statements<'_>,
    txn: TxnId,
    decision: Decision,
    stores: &[ResourceId],
) -> Result<bool> {
    let inserted = connection.run(
        "INSERT INTO votive_outcome (txn, incarnation, outcome, stores)
         SELECT ?1, id, ?3, ?4 FROM votive_incarnation
         WHERE id = ?2 AND (closed = 0 OR ?3 = 'abort')
         ON CONFLICT DO NOTHING",
        params![Sql(txn), Sql(txn.incarnation), Sql(decision), Sql(stores)],
    )?;
    Ok(inserted == 1)
}

/// Gives the commit record of `spent` to another transaction of the same incarnation, if that is open and the
/// transaction is not decided. Returns whether it did.
fn rename(
    connection: &Statements<'_>,
    spent: TxnId,
    (txn, stores): (TxnId, &[ResourceId]),
) -> Result<bool> {
    let renamed = connection.run(
        "UPDATE OR IGNORE votive_outcome SET txn = ?2, stores = ?3
         WHERE txn = ?1 AND outcome = 'commit' AND incarnation = ?4
             AND EXISTS (SELECT 1 FROM votive_incarnation WHERE id = ?4 AND closed = 0)",
        params![Sql(spent), Sql(txn), Sql(stores), Sql(txn.incarnation)],
    )?;
    Ok(renamed == 1)
}

fn standing(connection: &Connection, incarnation: Incarnation) -> Result<Standing> {
    let closed = connection
        .prepare_cached("SELECT closed FROM votive_incarnation WHERE id = ?1")?
        .query_row([Sql(incarnation)], |row| row.get(0))
        .optional()?;
    Ok(match closed {
        Some(false) => Standing::Open,
        Some(true) => Standing::Closed,
        None => Standing::Gone,
    })
}

/// Makes the caller's commit a real one, which waits for the disk.
pub(crate) fn touch(connection: &Connection) -> Result<()> {
    connection
        .prepare_cached("UPDATE votive_resource SET flush_count = flush_count + 1")?
        .execute([])?;
    Ok(())
}

/// Lists outcome records in the order of their ids.
pub(crate) fn outcomes(
    connection: &Connection,
    after: Option<TxnId>,
    limit: usize,
) -> Result<Vec<OutcomeRow>> {
    touch(connection)?;
    let after = after.map(TxnId::to_bytes);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT txn, outcome, stores FROM votive_outcome
             WHERE txn > coalesce(?1, x'') ORDER BY txn LIMIT ?2",
        )?
        .query_map(params![after, limit], |row| {
            Ok(OutcomeRow {
                txn: row.get::<_, Sql<TxnId>>(0)?.0,
                decision: row.get::<_, Sql<Decision>>(1)?.0,
                stores: stores(row, 2)?,
            })
        })?
        .collect()
}

/// Lists the incarnations.
pub(crate) fn incarnations(connection: &Connection) -> Result<Vec<IncarnationRow>> {
    touch(connection)?;
    connection
        .prepare_cached("SELECT id, host, started_at, closed FROM votive_incarnation ORDER BY id")?
        .query_map([], |row| {
            Ok(IncarnationRow {
                incarnation: row.get::<_, Sql<Incarnation>>(0)?.0,
                host: row.get(1)?,
                started_at: Timestamp::from_micros(row.get(2)?),
                closed: row.get(3)?,
            })
        })?
        .collect()
}

/// Closes an incarnation.
pub(crate) fn close(connection: &Connection, incarnation: Incarnation) -> Result<()> {
    touch(connection)?;
    connection
        .prepare_cached("UPDATE votive_incarnation SET closed = 1 WHERE id = ?1")?
        .execute([Sql(incarnation)])?;
    Ok(())
}

/// Deletes commit records, and returns how many there were.
pub(crate) fn forget(connection: &Statements<'_>, txns: &[TxnId]) -> Result<usize> {
    let sql = "DELETE FROM votive_outcome WHERE txn = ?1 AND outcome = 'commit'";
    let delete = |txn: &TxnId| connection.run(sql, [Sql(*txn)]);
    txns.iter().map(delete).sum()
}

/// Drops an incarnation with its abort records, unless a commit record of it is left. Returns whether
/// it went.
pub(crate) fn drop_incarnation(connection: &Connection, incarnation: Incarnation) -> Result<bool> {
    let [first, last] = [0, u64::MAX].map(|sequence| TxnId {
        incarnation,
        sequence,
    });
    let commits: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM votive_outcome
         WHERE txn BETWEEN ?1 AND ?2 AND outcome = 'commit')",
        [Sql(first), Sql(last)],
        |row| row.get(0),
    )?;
    if commits {
        return Ok(false);
    }
    connection.execute(
        "DELETE FROM votive_outcome WHERE txn BETWEEN ?1 AND ?2",
        [Sql(first), Sql(last)],
    )?;
    let gone = connection.execute(
        "DELETE FROM votive_incarnation WHERE id = ?1",
        [Sql(incarnation)],
    )?;
    Ok(gone == 1)
}

/// Tells what a driver's error means for a register.
pub(crate) fn error_kind(error: &rusqlite::Error) -> RegisterErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => RegisterErrorKind::Locked,
        Some(ErrorCode::CannotOpen) => RegisterErrorKind::Unreachable,
        // Without a code the driver could not make sense of what it read.
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) | None => {
            RegisterErrorKind::Unusable
        }
        Some(_) => RegisterErrorKind::Failed,
    }
}

/// A value in the form in which the tables keep it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sql<T>(pub(super) T);

impl ToSql for Sql<TxnId> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.to_bytes().to_vec().into())
    }
}

impl FromSql for Sql<TxnId> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(TxnId::from_bytes(FromSql::column_result(value)?)))
    }
}

/// The 64 bits, read as a signed number.
impl ToSql for Sql<Incarnation> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.to_u64().cast_signed().into())
    }
}

impl FromSql for Sql<Incarnation> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(Incarnation::from_u64(value.as_i64()?.cast_unsigned())))
    }
}

impl ToSql for Sql<Decision> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Decision::Committed => "commit",
            Decision::Aborted => "abort",
        }
        .into())
    }
}

impl FromSql for Sql<Decision> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "commit" => Ok(Self(Decision::Committed)),
            "abort" => Ok(Self(Decision::Aborted)),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// The ids one after the other, 16 bytes each.
impl ToSql for Sql<&[ResourceId]> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|id| id.to_bytes()).collect();
        Ok(bytes.into())
    }
}

fn stores(row: &Row<'_>, column: usize) -> Result<Vec<ResourceId>> {
    let bytes: Vec<u8> = row.get(column)?;
    let (ids, rest) = bytes.as_chunks::<16>();
    if rest.is_empty() {
        Ok(ids.iter().copied().map(ResourceId::from_bytes).collect())
    } else {
        Err(rusqlite::Error::FromSqlConversionFailure(
            column,
            Type::Blob,
            "a list of ids that does not end at an id".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a register, in a write transaction, as the functions want it.
    struct Fixture {
        connection: Connection,
        register: ResourceId,
        folder: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("app.db")).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let register = create(&connection).unwrap().id;
        Fixture {
            connection,
            register,
            folder,
        }
    }

    impl Fixture {
        fn enrolled(&self) -> TxnId {
            let incarnation = Incarnation::random();
            enroll(&self.connection, incarnation, Timestamp::EPOCH).unwrap();
            TxnId {
                incarnation,
                sequence: 1,
            }
        }

        fn decide(&self, txn: TxnId) -> Answer {
            decide(&self.connection, txn, Decision::Aborted, &[]).unwrap()
        }

        fn commit(&self, txn: TxnId) -> CommitRecord {
            self.commit_instead(txn, &[])
        }

        fn commit_instead(&self, txn: TxnId, spent: &[TxnId]) -> CommitRecord {
            let statements = Statements::new(&self.connection);
            commit(&statements, txn, &[self.register], spent).unwrap()
        }

        fn outcomes(&self) -> Vec<(TxnId, Decision)> {
            let rows = outcomes(&self.connection, None, 9).unwrap();
            rows.iter().map(|row| (row.txn, row.decision)).collect()
        }
    }

    #[test]
    fn the_first_writer_wins() {
        let register = fixture();
        let (one, two) = (register.enrolled(), register.enrolled());
        assert_eq!(register.commit(one), CommitRecord::Written);
        assert_eq!(register.decide(one).decision, Some(Decision::Committed));
        assert_eq!(register.decide(two).decision, Some(Decision::Aborted));
        assert_eq!(register.commit(two), CommitRecord::Decided);
    }

    /// The next transaction of the same incarnation.
    fn next(txn: TxnId) -> TxnId {
        TxnId {
            sequence: txn.sequence + 1,
            ..txn
        }
    }

    #[test]
    fn a_spent_record_is_renamed_or_deleted() {
        let register = fixture();
        let first = register.enrolled();
        let (second, other) = (next(first), register.enrolled());
        register.commit(first);
        for (txn, spent) in [(second, first), (other, second)] {
            assert_eq!(
                register.commit_instead(txn, &[spent]),
                CommitRecord::Written
            );
            assert_eq!(register.outcomes(), [(txn, Decision::Committed)]);
        }
    }

    #[test]
    fn no_record_is_renamed_against_an_abort() {
        let register = fixture();
        let first = register.enrolled();
        let second = next(first);
        register.commit(first);
        register.decide(second);
        assert_eq!(
            register.commit_instead(second, &[first]),
            CommitRecord::Decided
        );
        assert_eq!(register.outcomes(), [(second, Decision::Aborted)]);
    }

    #[test]
    fn no_record_is_renamed_after_its_incarnation_was_closed() {
        let register = fixture();
        let first = register.enrolled();
        let second = next(first);
        register.commit(first);
        close(&register.connection, first.incarnation).unwrap();
        assert_eq!(
            register.commit_instead(second, &[first]),
            CommitRecord::Gone
        );
    }

    #[test]
    fn a_transaction_of_a_missing_incarnation_cannot_be_decided() {
        let register = fixture();
        let txn = TxnId {
            incarnation: Incarnation::random(),
            sequence: 1,
        };
        assert_eq!(register.commit(txn), CommitRecord::Gone);
        let answer = register.decide(txn);
        assert_eq!((answer.decision, answer.standing), (None, Standing::Gone));
    }

    #[test]
    fn a_closed_incarnation_commits_no_more_but_can_be_aborted() {
        let register = fixture();
        let txn = register.enrolled();
        close(&register.connection, txn.incarnation).unwrap();
        assert_eq!(register.commit(txn), CommitRecord::Gone);
        let answer = register.decide(txn);
        assert_eq!(answer.decision, Some(Decision::Aborted));
        assert_eq!(answer.standing, Standing::Closed);
    }

    #[test]
    fn nobody_enrolls_twice() {
        let register = fixture();
        let incarnation = register.enrolled().incarnation;
        assert!(enroll(&register.connection, incarnation, Timestamp::EPOCH).is_err());
    }

    #[test]
    fn an_incarnation_stays_as_long_as_a_commit_record_of_it() {
        let register = fixture();
        let txn = register.enrolled();
        let aborted = TxnId { sequence: 2, ..txn };
        register.commit(txn);
        register.decide(aborted);
        assert!(!drop_incarnation(&register.connection, txn.incarnation).unwrap());
        assert_eq!(
            forget(&Statements::new(&register.connection), &[txn, aborted]).unwrap(),
            1
        );
        assert!(drop_incarnation(&register.connection, txn.incarnation).unwrap());
        assert_eq!(outcomes(&register.connection, None, 9).unwrap(), []);
    }

    #[test]
    fn sqlite_itself_keeps_an_incarnation_that_has_a_record() {
        let register = fixture();
        let txn = register.enrolled();
        register.commit(txn);
        let deleted = register
            .connection
            .execute("DELETE FROM votive_incarnation", []);
        assert!(deleted.is_err());
    }

    #[test]
    fn outcomes_come_in_order_and_in_pages() {
        let register = fixture();
        let first = register.enrolled();
        let txns = [1, 2, 3].map(|sequence| TxnId { sequence, ..first });
        for txn in txns {
            register.commit(txn);
        }
        let page = outcomes(&register.connection, Some(first), 1).unwrap();
        assert_eq!(
            page,
            [OutcomeRow {
                txn: txns[1],
                decision: Decision::Committed,
                stores: vec![register.register],
            }]
        );
    }

    #[test]
    fn an_incarnation_is_listed_as_it_was_enrolled() {
        let register = fixture();
        let incarnation = register.enrolled().incarnation;
        let rows = incarnations(&register.connection).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].incarnation, incarnation);
        assert_eq!(
            (rows[0].started_at, rows[0].closed),
            (Timestamp::EPOCH, false)
        );
    }

    #[test]
    fn whatever_reports_an_outcome_makes_the_commit_a_real_one() {
        let register = fixture();
        let count = || -> i64 {
            register
                .connection
                .query_row("SELECT flush_count FROM votive_resource", [], |row| {
                    row.get(0)
                })
                .unwrap()
        };
        let txn = register.enrolled();
        register.decide(txn);
        register.decide(txn);
        outcomes(&register.connection, None, 1).unwrap();
        incarnations(&register.connection).unwrap();
        close(&register.connection, txn.incarnation).unwrap();
        assert_eq!(count(), 5);
    }

    #[test]
    fn a_clone_has_the_name_of_its_original_but_another_fingerprint() {
        let register = fixture();
        register.connection.execute_batch("COMMIT").unwrap();
        let [original, copy] = ["app.db", "copy.db"].map(|name| register.folder.path().join(name));
        std::fs::copy(original, &copy).unwrap();
        let clone = Connection::open(copy).unwrap();
        let found = identity(&clone).unwrap().unwrap();
        assert_eq!(found.id, register.register);
        assert_ne!(found.fingerprint, fingerprint(&clone).unwrap());
        adopt(&clone).unwrap();
        let adopted = identity(&clone).unwrap().unwrap();
        assert_eq!(adopted.fingerprint, fingerprint(&clone).unwrap());
    }
}
