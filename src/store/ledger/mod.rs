//! The ledger: which tasks there are, how they stand, what is staged and who committed. It is the part
//! of a store that decides, shared by the backends that keep it in memory.
//!
//! Invariant: what an operation does follows from the ledger and the operation's arguments alone. It
//! reads no clock, rolls no dice and asks for nobody's presence, so that a backend can write what it
//! did into a journal, and doing the same again in the same order leads to the same ledger.
//!
//! | operation | besides the batch, a journal needs |
//! | --- | --- |
//! | [`Ledger::stage`] | transaction, register, time |
//! | [`Ledger::publish`], [`Ledger::discard`] | transaction, time |
//! | [`Ledger::apply`] | transaction, the stores that prepared, time |
//! | [`Ledger::promote`] | queue, time; nothing if it promoted none |
//! | [`Ledger::give`] | task, consumer, token, time |
//! | the operations of [`Outcomes`] | their arguments |
//!
//! An operation that is refused has changed nothing, and need not be written. A task is known by its
//! sequence, which is its place in the order of publishing and is not used again.
//!
//! What of a task is needed for deciding is in its [`Entry`]; the rest, its *body*, is whatever the
//! backend's [`Keeper`] makes of it: the thing itself, or the place on a disk where it is.
//!
//! A batch is *tried for real*: each change is made on the content, and a refused one undoes those
//! before it. Staging tries a batch, undoes it and keeps it; whatever it was judged by stays reserved or
//! pinned until it is published or discarded, so that publishing, which makes the same changes again,
//! cannot be refused.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `entry.rs` | what is known of a task |
//! | `entries.rs` | tasks by their sequence |
//! | `content.rs` | the tasks and marks, and the list that undoes |
//! | `index.rs`, `row.rs` | where tasks are found; a pure function of the tasks, rebuilt by `faults` |
//! | `reserved.rs` | what staged batches keep from others |
//! | `change.rs` | what each change does |
//! | `stage.rs` `outcomes.rs` `claim.rs` `look.rs` | what the roles of the contract need |

mod change;
mod claim;
mod content;
mod entries;
mod entry;
mod hash;
mod index;
mod look;
mod outcomes;
mod reserved;
mod row;
mod stage;

use std::collections::BTreeMap;

use crate::id::TxnId;
use crate::store::Kind;
use content::Content;
use stage::Ended;

pub(in crate::store) use claim::Claimant;
pub(in crate::store) use entry::{Cold, Entry, Keeper};
pub(in crate::store) use index::Sequence;
pub(in crate::store) use outcomes::Outcomes;
pub(in crate::store) use stage::{Commit, Staged};

/// What came of an operation, or why it was refused.
pub(in crate::store) type Judged<T> = Result<T, Kind>;

/// The ledger. `B` is the body of a task.
#[derive(Debug)]
pub(in crate::store) struct Ledger<B> {
    content: Content<B>,
    staged: BTreeMap<TxnId, Staged>,
    ended: Ended,
    /// Who committed.
    pub(in crate::store) outcomes: Outcomes,
}

impl<B> Default for Ledger<B> {
    fn default() -> Self {
        Self {
            content: Content::default(),
            staged: BTreeMap::new(),
            ended: Ended::default(),
            outcomes: Outcomes::default(),
        }
    }
}
