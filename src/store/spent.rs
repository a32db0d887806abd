//! Outcome records that nobody will ask for any more.
//!
//! Of a transaction in which no other store has a part only the owner ever asks, and that only until it knows the
//! outcome. Then the record is *spent*. The next transaction of the same incarnation gives the row its own name: one
//! row is changed where one would be deleted and another written, and the incarnation that it refers to need not be
//! looked up again.

use parking_lot::Mutex;

use crate::id::{Incarnation, TxnId};

/// Records whose owner knows them: their rows are renamed or deleted by the next write of this process.
#[derive(Debug, Default)]
pub(crate) struct Spent(Mutex<Vec<TxnId>>);

impl Spent {
    /// Takes one whose row a transaction of this incarnation may rename.
    pub(crate) fn take(&self, incarnation: Incarnation) -> Option<TxnId> {
        let mut spent = self.0.lock();
        let is_own = |txn: &TxnId| txn.incarnation == incarnation;
        let place = spent.iter().rposition(is_own)?;
        Some(spent.swap_remove(place))
    }

    /// Takes all of them.
    pub(crate) fn take_all(&self) -> Vec<TxnId> {
        std::mem::take(&mut *self.0.lock())
    }

    /// Takes what goes when a transaction of this incarnation commits: one whose row it may rename, or, if there is
    /// none, all.
    #[cfg(feature = "sqlite")]
    pub(crate) fn take_for(&self, incarnation: Incarnation) -> Vec<TxnId> {
        self.take(incarnation)
            .map_or_else(|| self.take_all(), |own| vec![own])
    }

    /// Notes that these are known.
    pub(crate) fn add(&self, txns: impl IntoIterator<Item = TxnId>) {
        self.0.lock().extend(txns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_renames_a_record_of_its_own_incarnation() {
        let spent = Spent::default();
        let txn = |incarnation, sequence| TxnId {
            incarnation: Incarnation::from_u64(incarnation),
            sequence,
        };
        spent.add([txn(1, 1), txn(2, 1), txn(1, 2)]);
        assert_eq!(spent.take(Incarnation::from_u64(1)), Some(txn(1, 2)));
        assert_eq!(spent.take(Incarnation::from_u64(3)), None);
        assert_eq!(spent.take_all(), [txn(1, 1), txn(2, 1)]);
    }
}
