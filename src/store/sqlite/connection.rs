//! Connections to the file, with every pragma read back: SQLite ignores one that it does not know.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::{Fault, Result};
use super::options::Options;
use super::schema::{self, Content};
use crate::store::Kind;

/// All statements of this backend fit; the default of 16 would have them compiled again and again.
const STATEMENTS_MAX: usize = 128;

/// How many idle read connections are kept.
const READERS_MAX: usize = 8;

/// Opens the write connection, making or migrating the tables; a file that is not ours stays as it is.
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<Connection> {
    let create = if options.create {
        OpenFlags::SQLITE_OPEN_CREATE
    } else {
        OpenFlags::empty()
    };
    if !options.create && !path.try_exists()? {
        let what = format!("there is no file {}", path.display());
        return Err(Kind::NoStore(what).into());
    }
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | create, options)?;
    let content = schema::recognise(&connection)?;
    if !options.create && !matches!(content, Content::Store(_)) {
        let what = format!("nothing of one is in {}", path.display());
        return Err(Kind::NoStore(what).into());
    }
    if connection.is_readonly("main")? {
        return Err(Kind::ReadOnly.into());
    }
    set(&connection, "journal_mode", "wal")?;
    set(&connection, "synchronous", &2)?;
    set(
        &connection,
        "wal_autocheckpoint",
        &options.wal_autocheckpoint,
    )?;
    if let Some(pages) = &options.max_page_count {
        set(&connection, "max_page_count", pages)?;
    }
    migrate(&connection)?;
    Ok(connection)
}

/// Looks again inside the write transaction: another process may have been faster.
fn migrate(connection: &Connection) -> Result<()> {
    if schema::recognise(connection)? == Content::Store(schema::VERSION) {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = schema::recognise(connection)
        .and_then(|content| schema::migrate(connection, &content))
        .and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if migrated.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    migrated
}

fn open(path: &Path, flags: OpenFlags, options: &Options) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| why_not_opened(path, flags, error))?;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Without this, binding another value may compile a cached statement again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    set(&connection, "foreign_keys", &1)?;
    set(&connection, "trusted_schema", &0)?;
    Ok(connection)
}

/// SQLite only says that it could not; the file system knows why. The file is not opened to find out: when it is closed
/// again the kernel drops all locks that this process has on it, also those of connections that are open.
fn why_not_opened(path: &Path, flags: OpenFlags, error: rusqlite::Error) -> Fault {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let found =
        std::fs::metadata(folder.unwrap_or(Path::new("."))).and_then(|_| std::fs::metadata(path));
    match found {
        Ok(found) if found.is_dir() => Kind::Foreign("it is a directory".to_owned()).into(),
        Ok(found) if is_closed_to_some(&found) => Fault::from(error).with_kind(Kind::ReadOnly),
        Ok(_) => error.into(),
        Err(io)
            if io.kind() == std::io::ErrorKind::NotFound
                && flags.contains(OpenFlags::SQLITE_OPEN_CREATE)
                && folder.is_none_or(Path::exists) =>
        {
            Fault::from(error).with_kind(Kind::ReadOnly)
        }
        Err(io) => io.into(),
    }
}

/// Whether there are users who may not read a file; one that all may read is opened if only for that.
#[cfg(unix)]
fn is_closed_to_some(file: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.permissions().mode() & 0o444 != 0o444
}

#[cfg(not(unix))]
fn is_closed_to_some(_file: &Metadata) -> bool {
    false
}

/// Sets a pragma and asserts that it took.
fn set<V>(connection: &Connection, pragma: &str, value: &V) -> Result<()>
where
    V: rusqlite::ToSql + ToString + ?Sized,
{
    connection
        .pragma_update_and_check(None, pragma, value, |_| Ok(()))
        .or_else(no_answer)?;
    let found: rusqlite::types::Value =
        connection.pragma_query_value(None, pragma, |row| row.get(0))?;
    let found = match found {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    if found == value.to_string() {
        return Ok(());
    }
    Err(Kind::Invalid(format!(
        "the file does not take {pragma} = {}",
        value.to_string()
    ))
    .into())
}

/// Many pragmas answer nothing when they are set.
fn no_answer(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        other => Err(other),
    }
}

/// Makes the commits that follow wait for the disk, or not. Not inside a transaction.
pub(super) fn set_synchronous(connection: &Connection, full: bool) -> Result<()> {
    let pragma = if full {
        "PRAGMA synchronous = FULL"
    } else {
        "PRAGMA synchronous = NORMAL"
    };
    Ok(connection.execute_batch(pragma)?)
}

/// Copies all of the log into the database, waits for the disk, and has the log begin anew. Not inside a transaction.
pub(super) fn empty_log(connection: &Connection) -> Result<()> {
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let (is_busy, found, copied) = connection.query_row(checkpoint, [], |row| {
        Ok((
            row.get::<_, bool>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, i64>(2)?,
        ))
    })?;
    if is_busy || found != copied {
        return Err(Kind::Unavailable.into());
    }
    Ok(())
}

/// Connections that only read. Each reader has one to itself, so that a long look blocks nobody.
pub(super) struct Readers {
    path: PathBuf,
    options: Options,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path, options: Options) -> Self {
        Self {
            path: path.to_owned(),
            options,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Runs `look` in one read transaction, so that all of it sees the same state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().pop();
        let connection = idle.map_or_else(|| self.open(), Ok)?;
        connection.prepare_cached("BEGIN")?.execute([])?;
        let seen = look(&connection);
        connection.prepare_cached("COMMIT")?.execute([])?;
        let mut idle = self.idle.lock();
        if idle.len() < READERS_MAX {
            idle.push(connection);
        }
        seen
    }

    /// Opens one more connection, for who keeps it.
    pub(super) fn open(&self) -> Result<Connection> {
        let connection = open(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE, &self.options)?;
        set(&connection, "query_only", &1)?;
        Ok(connection)
    }
}
