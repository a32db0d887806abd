//! The outcome of a transaction that this store decides by itself, written by the very statement that does what the
//! transaction is about.
//!
//! Nobody but its owner ever asks for such an outcome, and when the owner knows it, the record is
//! [spent](crate::store::spent::Spent): but for one that it learnt by asking, after an answer was lost, whose record
//! stays until the incarnation is dropped. The next transaction of the same incarnation gives the spent row its own
//! name: one row is changed where one would be deleted and another written, and the server need not look again whether
//! there is the incarnation that it refers to. That the incarnation stays is as certain as by a lock on it: it is not
//! dropped while a record of it is there, and at each moment there is this one, by its former name or by its new one.

use super::value::Value;
use crate::id::{ResourceId, TxnId};

/// A statement that writes the outcome, too. Behind its own parameters come those of the outcome: the transaction,
/// its incarnation, the stores, and the record whose row is renamed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alone {
    pub(super) fresh: &'static str,
    pub(super) renamed: &'static str,
}

/// Writes that a transaction committed, unless it was decided or staged before; what follows sees it as `outcome`.
macro_rules! written {
    ($txn:literal, $incarnation:literal, $stores:literal) => {
        concat!(
            "outcome AS (
                 INSERT INTO @.outcome (txn, incarnation, outcome, stores)
                 SELECT ",
            $txn,
            "::bytea, i.id, 'commit', ",
            $stores,
            "::bytea FROM @.incarnation i WHERE i.id = ",
            $incarnation,
            "::bigint AND NOT i.closed
                     AND NOT EXISTS (SELECT 1 FROM @.staged s WHERE s.txn = ",
            $txn,
            "::bytea)
                 FOR KEY SHARE OF i ON CONFLICT DO NOTHING RETURNING 1), "
        )
    };
}

/// Does the same by renaming a spent record. If the transaction was decided before, that is a duplicate.
macro_rules! renamed {
    ($txn:literal, $incarnation:literal, $stores:literal, $spent:literal) => {
        concat!(
            "outcome AS (
                 UPDATE @.outcome SET txn = ",
            $txn,
            "::bytea, stores = ",
            $stores,
            "::bytea WHERE txn = ",
            $spent,
            "::bytea AND outcome = 'commit' AND incarnation = ",
            $incarnation,
            "::bigint
                     AND EXISTS (SELECT 1 FROM @.incarnation i WHERE i.id = ",
            $incarnation,
            "::bigint AND NOT i.closed)
                     AND NOT EXISTS (SELECT 1 FROM @.staged s WHERE s.txn = ",
            $txn,
            "::bytea)
                 RETURNING 1), "
        )
    };
}

/// A statement of these parts together with the outcome, whose parameters have the numbers that are given: all of
/// it is done, as the condition at the end says, or it fails by a division. Its commit waits for the disk.
macro_rules! alone {
    ([$txn:literal, $incarnation:literal, $stores:literal, $spent:literal], $parts:expr, $is_all:expr) => {
        $crate::store::postgres::outcome::Alone {
            fresh: concat!(
                "WITH ",
                $crate::store::postgres::outcome::written!($txn, $incarnation, $stores),
                $parts,
                " SELECT 1 / CASE WHEN pg_catalog.set_config('synchronous_commit', 'on', true) = 'on'
                     AND EXISTS (SELECT 1 FROM outcome) AND ",
                $is_all,
                " THEN 1 ELSE 0 END"
            ),
            renamed: concat!(
                "WITH ",
                $crate::store::postgres::outcome::renamed!($txn, $incarnation, $stores, $spent),
                $parts,
                " SELECT 1 / CASE WHEN pg_catalog.set_config('synchronous_commit', 'on', true) = 'on'
                     AND EXISTS (SELECT 1 FROM outcome) AND ",
                $is_all,
                " THEN 1 ELSE 0 END"
            ),
        }
    };
}
pub(super) use {alone, renamed, written};

impl Alone {
    /// The text and all of its parameters.
    pub(super) fn statement(
        self,
        mut values: Vec<Value>,
        (txn, stores): (TxnId, &[ResourceId]),
        spent: Option<TxnId>,
    ) -> (&'static str, Vec<Value>) {
        let stores: Vec<u8> = stores.iter().flat_map(|id| id.to_bytes()).collect();
        values.extend([txn.into(), txn.incarnation.into(), stores.into()]);
        match spent {
            Some(spent) => {
                values.push(spent.into());
                (self.renamed, values)
            }
            None => (self.fresh, values),
        }
    }
}
