//! Where a store is, for each kind of store that several processes can share.
#![cfg(test)]

use std::any::Any;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use votive_testbed::{Postgres, Redis, or_skip, postgres, redis};

/// One server of each kind for all stores of a test program; the next store is another one in it.
static REDIS: LazyLock<Option<Redis>> =
    LazyLock::new(|| or_skip(Redis::start(redis::Options::default())));
static POSTGRES: LazyLock<Option<Postgres>> =
    LazyLock::new(|| or_skip(Postgres::start(postgres::Options::default())));
static STORES: AtomicU32 = AtomicU32::new(0);

/// A store's address, and what has to live as long as it is used.
pub(crate) struct Home {
    pub(crate) url: String,
    _keeps: Option<Box<dyn Any>>,
}

fn in_folder(scheme: &str) -> Home {
    let folder = tempfile::tempdir().unwrap();
    Home {
        url: format!("{scheme}://{}/tasks", folder.path().display()),
        _keeps: Some(Box::new(folder)),
    }
}

pub(crate) fn sqlite() -> Home {
    in_folder("sqlite")
}

pub(crate) fn file() -> Home {
    in_folder("file")
}

/// A store of its own at a server.
fn at(server: &str, parameter: &str) -> Home {
    let number = STORES.fetch_add(1, Ordering::Relaxed);
    Home {
        url: format!("{server}?{parameter}=home_{number}"),
        _keeps: None,
    }
}

pub(crate) fn redis() -> Option<Home> {
    let server = REDIS.as_ref()?;
    Some(at(&server.url(), "name"))
}

pub(crate) fn postgres() -> Option<Home> {
    let server = POSTGRES.as_ref()?;
    Some(at(&server.url(), "schema"))
}
