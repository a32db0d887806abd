//! Conveniences over the contract, the same for every store.

use crate::id::{TaskId, TxnId};
use crate::store::{Amendment, Applied, Batch, Change, Result, Store};
use crate::task::StateSet;

/// What can be said in terms of the contract. Implemented for every store.
pub trait StoreExt: Store {
    /// Applies a batch in the transaction `txn`, which has no other part.
    ///
    /// # Errors
    /// As [`Stage::apply`](crate::store::Stage::apply).
    fn apply_alone(&self, txn: TxnId, batch: &Batch) -> Result<Applied> {
        self.apply(txn, batch, &[], self.now()?)
    }

    /// Amends one task that is in one of the `expect`ed states, in the transaction `txn`.
    ///
    /// # Errors
    /// As [`Stage::apply`](crate::store::Stage::apply).
    fn amend(
        &self,
        txn: TxnId,
        task: TaskId,
        expect: StateSet,
        amendment: Amendment,
    ) -> Result<()> {
        let change = Change::Amend {
            task,
            expect,
            amendment,
        };
        self.apply_alone(txn, &Batch::new(vec![change])).map(drop)
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
