//! Where the fleet's store is, for each kind of store that several processes can share.
#![cfg(test)]

use std::any::Any;

use votive_testbed::{Redis, or_skip, redis};

/// A store's address, and what has to live as long as it is used.
pub(crate) struct Home {
    pub(crate) url: String,
    _keeps: Box<dyn Any>,
}

pub(crate) fn sqlite() -> Home {
    let folder = tempfile::tempdir().unwrap();
    Home {
        url: format!("sqlite://{}/tasks.db", folder.path().display()),
        _keeps: Box::new(folder),
    }
}

pub(crate) fn redis() -> Option<Home> {
    let server = or_skip(Redis::start(redis::Options::default()))?;
    Some(Home {
        url: server.url(),
        _keeps: Box::new(server),
    })
}

pub(crate) fn file() -> Home {
    let folder = tempfile::tempdir().unwrap();
    Home {
        url: format!("file://{}/tasks", folder.path().display()),
        _keeps: Box::new(folder),
    }
}
