//! The task and its handler: an index entry for a document, in one transaction with its completion.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use votive::Task;
use votive::handler::Context;
use votive::resource::rusqlite::Database;
use votive::txn::BoxError;

/// Index this document.
#[derive(Serialize, Deserialize)]
pub(crate) struct Index {
    /// Its row.
    pub document: i64,
}

impl Task for Index {
    const KIND: &'static str = "index";
}

/// Indexes a document.
///
/// It reads the total before it writes, in a deferred transaction: when another worker commits in
/// between, the snapshot is stale, SQLite refuses the first write, and the task runs again at once.
pub(crate) fn index(
    database: &Database,
    task: &Index,
    context: &mut Context<'_>,
) -> Result<(), BoxError> {
    let id = context.attempt().task.to_bytes();
    let session = database.join(context.work())?;
    let (documents, sections): (i64, i64) = session
        .prepare_cached("SELECT documents, sections FROM total")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let added = session
        .prepare_cached(
            "INSERT INTO search (path, heading, body)
             SELECT path, heading, body FROM section JOIN document ON document = id WHERE id = ?1",
        )?
        .execute([task.document])?;
    session
        .prepare_cached("INSERT INTO indexed (document, task) VALUES (?1, ?2)")?
        .execute(params![task.document, id])?;
    session
        .prepare_cached("UPDATE total SET documents = ?1, sections = ?2")?
        .execute(params![documents + 1, sections + i64::try_from(added)?])?;
    Ok(())
}
