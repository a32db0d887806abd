//! What is wrong with a store, a line each: everything that is on disk is read again.

use super::book::Book;
use super::error::Result;
use super::journal::folder::Folder;
use super::journal::{Journal, New};
use super::{FileStore, body};
use crate::store::Kind;

/// Reads the journal from its beginning, as if the store was opened, and all parts of all tasks.
pub(super) fn check(store: &FileStore) -> Result<Vec<String>> {
    let mut book = Book::new(String::new());
    let folder = Folder::open(&store.path, false)?;
    let new = New {
        base: None,
        room: 0,
    };
    let read = Journal::open(folder, new, &mut |_, frame| book.take_up(frame));
    let mut journal = match read {
        Ok(journal) => journal,
        Err(fault) => return complaint(fault.kind),
    };
    let mut faults = book.ledger.faults();
    for entry in book.ledger.tasks() {
        if let Err(fault) = body::record(entry, &mut journal) {
            faults.extend(complaint(fault.kind)?);
        }
    }
    faults.extend(store.read(|state| Ok(state.book.ledger.faults()))?);
    Ok(faults)
}

/// Damage is what was looked for; anything else kept it from being found.
fn complaint(kind: Kind) -> Result<Vec<String>> {
    match kind {
        Kind::Corrupt(what) => Ok(vec![what]),
        other => Err(other.into()),
    }
}
