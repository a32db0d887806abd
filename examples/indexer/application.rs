//! The application: a database of documents, and the one transaction in which a file becomes one.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params};
use votive::queue::Queue;
use votive::resource::rusqlite::{Database, Options};
use votive::store::Store;
use votive::store::sqlite::{self, SqliteStore};
use votive::txn::{BoxError, TransactionManager, Work};

use crate::indexing::Index;
use crate::sections;

type Result<T> = std::result::Result<T, BoxError>;

/// The documents, what is searched, and a log of every run of a task, so that a doubled one would show.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS document (
        id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, digest INTEGER NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS section (
        document INTEGER NOT NULL REFERENCES document, heading TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS section_document ON section (document);
    CREATE TABLE IF NOT EXISTS indexed (document INTEGER NOT NULL, task BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS total (documents INTEGER NOT NULL, sections INTEGER NOT NULL);
    INSERT INTO total SELECT 0, 0 WHERE NOT EXISTS (SELECT * FROM total);
    CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5 (path UNINDEXED, heading, body);";

/// Everything that the job works with.
#[derive(Clone)]
pub(crate) struct Application {
    /// Begins transactions.
    pub manager: TransactionManager,
    /// Where tasks go.
    pub queue: Queue,
    /// The documents, for producers: their transactions wait for each other.
    pub documents: Database,
    /// The same database, for handlers: their transactions meet in conflicts, which are retried.
    pub index: Database,
    /// The file of the documents, to look into.
    pub file: PathBuf,
}

/// Whether documents and tasks share one database file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One file: *enlisted*, one commit for both.
    OneFile,
    /// Two files: *prepared*, two-phase commit with the register in the documents' file.
    TwoFiles,
}

/// Why a file was not taken; its transaction was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// Its bytes are not UTF-8.
    #[error("not UTF-8")]
    NotText,
    /// A file with the same content is there already.
    #[error("a duplicate")]
    Duplicate,
}

/// What became of a file.
pub(crate) struct Taken {
    /// Sections that were kept.
    pub kept: usize,
    /// Sections that were rolled back.
    pub rolled_back: usize,
}

impl Application {
    /// Opens the databases in `folder`, and makes them if they are missing.
    pub(crate) fn open(folder: &Path, layout: Layout) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.join("documents.db");
        let deferred = Options::default().deferred(true);
        let (store, documents, index) = match layout {
            Layout::OneFile => {
                let store = Arc::new(SqliteStore::open(&file, sqlite::Options::default())?);
                let documents = Database::sharing(Arc::clone(&store))?;
                (
                    Arc::clone(&store),
                    documents,
                    Database::sharing_with(store, deferred)?,
                )
            }
            Layout::TwoFiles => {
                Database::migrate(&file)?;
                let store = SqliteStore::open(folder.join("queue.db"), sqlite::Options::default())?;
                let index = Database::open_with(&file, deferred)?;
                (Arc::new(store), Database::open(&file)?, index)
            }
        };
        Connection::open(&file)?.execute_batch(TABLES)?;
        let queue = Queue::new(store as Arc<dyn Store>, "default")?;
        Ok(Self {
            manager: TransactionManager::new(),
            queue,
            documents,
            index,
            file,
        })
    }

    /// Makes a document of the file `path`, and enqueues the task that indexes it, in one transaction.
    ///
    /// The outer error means that the job cannot go on; the inner one, that this file was rejected.
    pub(crate) fn take(
        &self,
        path: &Path,
        name: &str,
    ) -> Result<std::result::Result<Taken, Rejected>> {
        let bytes = fs::read(path)?;
        let run = self.manager.run(5, |txn| self.take_in(txn, &bytes, name));
        match run {
            Ok((taken, _committed)) => Ok(Ok(taken)),
            Err(error) => rejection(&error).map(Err).ok_or_else(|| error.into()),
        }
    }

    fn take_in(&self, work: &mut Work, bytes: &[u8], name: &str) -> Result<Taken> {
        let session = self.documents.join(work)?;
        let known = session.query_row(
            "SELECT EXISTS (SELECT * FROM document WHERE digest = ?1)",
            [digest(bytes)],
            |row| row.get::<_, bool>(0),
        )?;
        session.execute(
            "INSERT INTO document (path, digest) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING",
            params![name, digest(bytes)],
        )?;
        let document = session.last_insert_rowid();
        // The task comes before the checks: if they fail, it is the abort that takes it back.
        self.queue.enqueue(work, &Index { document })?;
        if known {
            return Err(Rejected::Duplicate.into());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Rejected::NotText)?;
        self.take_sections(work, document, text)
    }

    /// Inserts each section behind a savepoint, and goes back to it if the section turns out bad.
    fn take_sections(&self, work: &mut Work, document: i64, text: &str) -> Result<Taken> {
        let mut taken = Taken {
            kept: 0,
            rolled_back: 0,
        };
        for section in sections::split(text) {
            let mut savepoint = work.savepoint()?;
            self.documents.join(&mut savepoint)?.execute(
                "INSERT INTO section (document, heading, body) VALUES (?1, ?2, ?3)",
                params![document, section.heading, section.body],
            )?;
            if section.check().is_ok() {
                taken.kept += 1;
            } else {
                savepoint.rollback()?;
                taken.rolled_back += 1;
            }
        }
        Ok(taken)
    }

    /// Opens the documents for reading.
    pub(crate) fn reader(&self) -> Result<Connection> {
        Ok(Connection::open(&self.file)?)
    }
}

/// Whether the file of this name is a document already, from an earlier run.
pub(crate) fn knows(reader: &Connection, name: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT * FROM document WHERE path = ?1)";
    Ok(reader
        .prepare_cached(sql)?
        .query_row([name], |row| row.get(0))?)
}

/// Finds the rejection in an error's chain.
fn rejection(error: &(dyn std::error::Error + 'static)) -> Option<Rejected> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rejected) = error.downcast_ref() {
            return Some(*rejected);
        }
        next = error.source();
    }
    None
}

fn digest(bytes: &[u8]) -> i64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish().cast_signed()
}
