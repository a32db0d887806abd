//! The servers that all sites share, one of each kind, and the databases in them that sites are lent.
#![cfg(test)]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::layout::{Layout, Program};
use parking_lot::Mutex;
use postgres::{Client, NoTls};
use votive_testbed::{Postgres, Redis, or_skip};

/// Drops all that a site made in a database: making a new one takes far longer.
const EMPTY: &str = "
    DO $$
    DECLARE found record;
    BEGIN
        FOR found IN SELECT nspname FROM pg_namespace
            WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'
        LOOP
            EXECUTE format('DROP SCHEMA %I CASCADE', found.nspname);
        END LOOP;
        CREATE SCHEMA public;
    END $$";

static REDIS: LazyLock<Option<Redis>> =
    LazyLock::new(|| or_skip(Redis::start(votive_testbed::redis::Options::default())));

static POSTGRES: LazyLock<Option<Postgres>> = LazyLock::new(|| or_skip(start_postgres()));

/// Databases that nobody uses.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Starts a server that can prepare transactions.
pub(crate) fn start_postgres() -> votive_testbed::Result<Postgres> {
    let options = votive_testbed::postgres::Options::default();
    Postgres::start(options.setting("max_prepared_transactions", "100"))
}

pub(crate) fn redis() -> Option<&'static Redis> {
    REDIS.as_ref()
}

pub(crate) fn postgres() -> Option<&'static Postgres> {
    POSTGRES.as_ref()
}

/// Whether the servers of a layout are installed.
pub(crate) fn are_there(layout: Layout) -> bool {
    let redis = || redis().is_some();
    let postgres = || postgres().is_some();
    (!layout.needs(Program::Redis) || redis()) && (!layout.needs(Program::Postgres) || postgres())
}

/// An empty database of the shared server, to be given back.
pub(crate) struct Lent(String);

impl Lent {
    pub(crate) fn new(server: &Postgres) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let free = FREE.lock().pop();
        Self(free.unwrap_or_else(|| {
            let name = format!("site_{}", COUNT.fetch_add(1, Ordering::SeqCst));
            server.create_database(&name).unwrap();
            name
        }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let server = POSTGRES.as_ref().map(|server| server.url_of(&self.0));
        let emptied = server.map(|url| Client::connect(&url, NoTls)?.batch_execute(EMPTY));
        // One that cannot be emptied, because something in it is in doubt, is left alone.
        if let Some(Ok(())) = emptied {
            FREE.lock().push(std::mem::take(&mut self.0));
        }
    }
}
