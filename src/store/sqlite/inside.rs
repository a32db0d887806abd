//! Whether a connection that is not ours is inside a transaction, whatever its driver takes it for: SQLite may have
//! ended that by itself, as after an `INSERT OR ROLLBACK` that failed, or when the disk was full.

use std::fmt::Display;

/// Changes nothing outside of a transaction, and is refused inside of one before anything is executed. What has to be
/// judged is its compilation, so no driver may keep it compiled.
pub(crate) const PROBE: &str = "PRAGMA temp.synchronous = 1";

/// How SQLite refuses the probe inside of a transaction.
const REFUSAL: &str = "Safety level may not be changed inside a transaction";

/// Whether the connection is inside a transaction, by what came of the [`PROBE`].
///
/// # Errors
/// It failed for another reason, so that nobody knows.
pub(crate) fn is_inside<E: Display>(probed: Result<(), E>) -> Result<bool, E> {
    match probed {
        Ok(()) => Ok(false),
        Err(error) if error.to_string().contains(REFUSAL) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn it_is_told_whether_sqlite_is_inside_a_transaction() {
        let connection = Connection::open_in_memory().unwrap();
        let ask = || is_inside(connection.execute_batch(PROBE)).unwrap();
        let note = "CREATE TABLE note (n integer CHECK (n > 0))";
        connection.execute_batch(note).unwrap();
        assert!(!ask());
        for begin in ["BEGIN", "SAVEPOINT one", "BEGIN IMMEDIATE"] {
            connection.execute_batch(begin).unwrap();
            assert!(ask() && ask(), "{begin}");
            let fails = "INSERT OR ROLLBACK INTO note VALUES (0)";
            connection.execute_batch(fails).unwrap_err();
            assert!(!ask(), "{begin}");
        }
    }

    #[test]
    fn another_failure_says_nothing() {
        assert_eq!(is_inside(Err("disk I/O error")), Err("disk I/O error"));
    }
}
