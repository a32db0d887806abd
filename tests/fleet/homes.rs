//! Where the fleet's store is, for each kind of store that several processes can share.
#![cfg(test)]

use std::any::Any;

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
