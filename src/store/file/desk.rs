//! What an operation works with, while nobody else changes anything.

use super::body::{Body, Shelf};
use super::journal::Journal;
use crate::store::ledger::Ledger;

/// The ledger, what keeps the bodies of its tasks, and the journal to read them from.
pub(super) struct Desk<'d> {
    pub(super) ledger: &'d mut Ledger<Body>,
    pub(super) shelf: Shelf<'d>,
    pub(super) journal: &'d mut Journal,
}
