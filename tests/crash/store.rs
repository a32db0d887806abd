//! The stores, opened for children.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use votive::store::Store;
use votive::store::file::{self, FileStore};
use votive::store::postgres::{self, PostgresStore};
use votive::store::redis::{self, RedisStore};
use votive::store::sqlite::{self, SqliteStore};

use crate::layout::Backend;
use crate::site::Site;
use crate::world::Result;

/// Checkpoints come often, so that crashes meet them.
pub(crate) const CHECKPOINT_PAGES: u32 = 40;

/// The journal goes on in new files often, so that crashes meet that, and what follows from it.
const SEGMENT_SIZE: u64 = 4_096;

/// How long a server may take to answer; far more than it needs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How many connections of a store work at once. Each is a process of the server, which has all statements to plan
/// anew.
const CONNECTIONS_MAX: usize = 3;

/// A store as what it is: an application in the same database must know.
pub(crate) enum Opened {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
    Other(Arc<dyn Store>),
}

impl Opened {
    /// Opens the store of a site that is called `name`, and makes it if it is missing.
    pub(crate) fn open(backend: Backend, site: &Site, name: &str) -> Result<Self> {
        match backend {
            Backend::Sqlite => {
                let options = sqlite::Options::default()
                    .poll_interval(Duration::from_millis(20))
                    .wal_autocheckpoint(CHECKPOINT_PAGES);
                let path = site.file(&format!("{name}.db"));
                Ok(Self::Sqlite(Arc::new(SqliteStore::open(path, options)?)))
            }
            Backend::File => {
                let options = file::Options::default()
                    .poll_interval(Duration::from_millis(20))
                    .segment_size(SEGMENT_SIZE);
                let store = FileStore::open(site.file(name), options)?;
                Ok(Self::Other(Arc::new(store)))
            }
            Backend::Postgres => {
                let options = postgres::Options::default()
                    .schema(name)
                    .connections_max(CONNECTIONS_MAX)
                    .answer_timeout(ANSWER_TIMEOUT);
                let store = PostgresStore::open(&site.database(0), options)?;
                Ok(Self::Postgres(Arc::new(store)))
            }
            Backend::Redis => {
                let options = redis::Options::from_url(&site.redis(name).parse()?)?;
                let options = options.response_timeout(ANSWER_TIMEOUT);
                Ok(Self::Other(Arc::new(RedisStore::open(options)?)))
            }
        }
    }

    pub(crate) fn into_store(self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => store,
            Self::Postgres(store) => store,
            Self::Other(store) => store,
        }
    }
}
