//! Marks that say something as JSON: read, and changed unless somebody else was faster.

use serde::Serialize;

use crate::store::{self, Change, Kind, Store};

/// A mark as it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    key: String,
    value: Option<Vec<u8>>,
}

impl Found {
    /// Reads a mark.
    ///
    /// # Errors
    /// As [`Inspect::mark`](store::Inspect::mark); nothing changed.
    pub(super) fn read(store: &dyn Store, key: String) -> store::Result<Self> {
        let value = store.mark(&key)?;
        Ok(Self { key, value })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// What it says; `None` if there is none.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// Has it say something else.
    ///
    /// # Errors
    /// [`Kind::Other`] if that cannot be written as JSON.
    pub(super) fn saying<T: Serialize>(
        self,
        it: &T,
        store: &dyn Store,
        operation: &'static str,
    ) -> store::Result<Change> {
        let value = serde_json::to_vec(it).map_err(|error| {
            let backend = store.capabilities().backend;
            store::Error::new(Kind::Other, backend, operation).with_source(error)
        })?;
        Ok(self.into_change(Some(value)))
    }

    /// Removes it.
    pub(super) fn removed(self) -> Change {
        self.into_change(None)
    }

    fn into_change(self, value: Option<Vec<u8>>) -> Change {
        Change::Mark {
            key: self.key,
            expect: self.value,
            value,
        }
    }
}
