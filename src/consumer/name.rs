//! The name by which people tell consumers apart: no two live consumers of a store bear the same.
//!
//! Who bears a name is a mark in the store: the incarnation of the manager whose transactions the
//! consumer runs. A stop removes the mark. One that a crash left behind counts as long as its
//! incarnation is not proved dead.

use std::sync::Arc;

use super::verdict::chain;
use crate::queue;
use crate::register::Register;
use crate::store::{self, Change, Kind, Store};
use crate::txn::{BoxError, TransactionManager};

/// How many suffixes are tried.
const NAMESAKES_MAX: u32 = 1_000;

/// A name that nobody else bears. Dropping it gives it back.
pub(super) struct Name {
    store: Arc<dyn Store>,
    manager: TransactionManager,
    text: String,
    bearer: Vec<u8>,
}

impl Name {
    /// Takes a name, with a suffix if a live consumer bears it.
    pub(super) fn take(
        store: &Arc<dyn Store>,
        manager: &TransactionManager,
        wanted: &str,
    ) -> Result<Self, BoxError> {
        for number in 1..NAMESAKES_MAX {
            let text = match number {
                1 => wanted.to_owned(),
                _ => format!("{wanted}-{number}"),
            };
            if let Some(name) = Self::take_if_free(store, manager, text)? {
                if number > 1 {
                    tracing::warn!(wanted, name = name.text, "a live consumer bears this name");
                }
                return Ok(name);
            }
        }
        Err(format!("{NAMESAKES_MAX} live consumers are named `{wanted}`").into())
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn take_if_free(
        store: &Arc<dyn Store>,
        manager: &TransactionManager,
        text: String,
    ) -> Result<Option<Self>, BoxError> {
        let found = store.mark(&key(&text))?;
        if let Some(bearer) = &found
            && is_alive(&**store, bearer)?
        {
            return Ok(None);
        }
        let bearer = manager.incarnation().to_string().into_bytes();
        let value = Some(bearer.clone());
        match write(store, manager, &text, found, value) {
            Ok(()) => Ok(Some(Self {
                store: Arc::clone(store),
                manager: manager.clone(),
                text,
                bearer,
            })),
            Err(error) if is_taken(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let bearer = Some(std::mem::take(&mut self.bearer));
        if let Err(error) = write(&self.store, &self.manager, &self.text, bearer, None) {
            let (name, error) = (&self.text, chain(&*error));
            tracing::warn!(name, ?error, "the name stays taken until this process ends");
        }
    }
}

fn key(name: &str) -> String {
    format!("consumer/{name}")
}

/// Whether somebody may still run under this incarnation.
fn is_alive(store: &dyn Store, bearer: &[u8]) -> Result<bool, BoxError> {
    let departed = Register::departed(store)?;
    let mut present = store.incarnations()?.into_iter();
    Ok(present.any(|row| {
        let is_bearer = row.incarnation.to_string().as_bytes() == bearer;
        is_bearer && !row.closed && !departed.contains(&row.incarnation)
    }))
}

fn is_taken(error: &BoxError) -> bool {
    let kind = store::Error::among(&**error).map(|error| &error.kind);
    matches!(kind, Some(Kind::MarkChanged(_)))
}

fn write(
    store: &Arc<dyn Store>,
    manager: &TransactionManager,
    name: &str,
    expect: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
) -> Result<(), BoxError> {
    let key = key(name);
    let mut txn = manager.begin()?;
    queue::change(store, &mut txn, Change::Mark { key, expect, value })?;
    txn.commit()?;
    Ok(())
}
