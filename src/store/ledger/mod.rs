//! The ledger: which tasks there are, how they stand, what is staged and who committed. It is the part
//! of a store that decides, shared by the backends that keep it in memory.
//!
//! Invariant: what an operation does follows from the ledger and the operation's arguments alone. It
//! reads no clock, rolls no dice and asks for nobody's presence. A backend that keeps a journal has the
//! ledger [note](Ledger::track) what is done, writes the [facts](Fact) down, and takes up those that
//! others wrote: not what was asked for is in the journal, but what came of it.
//!
//! An operation that is refused has changed nothing. A task is known by its
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
//! | `entry.rs`, `alike.rs` | what is known of a task, and what of it is shared |
//! | `entries.rs` | tasks by their sequence |
//! | `content.rs` | the tasks and marks, and the list that undoes |
//! | `index.rs`, `ranks.rs`, `row.rs`, `kept.rs`, `keys.rs`, `groups.rs` | where tasks are found; a pure function of the tasks, rebuilt by `faults` |
//! | `reserved.rs` `resting.rs` | what staged batches keep from others; keys that rest |
//! | `change.rs` | what each change does |
//! | `tracked.rs` `facts.rs` | what was done, for a backend that writes it down |
//! | `stage.rs` `outcomes.rs` `claim.rs` `look.rs` | what the roles of the contract need |

mod alike;
mod change;
mod claim;
mod content;
mod entries;
mod entry;
#[cfg(feature = "file")]
mod facts;
mod groups;
mod hash;
mod index;
mod kept;
mod keys;
mod look;
mod outcomes;
mod ranks;
mod reserved;
mod resting;
mod row;
mod stage;
mod tracked;

use crate::id::TxnId;
use crate::store::Kind;
use content::Content;
use stage::Ended;
use tracked::Tracked;

pub(in crate::store) use alike::Alike;
pub(in crate::store) use claim::Claimant;
pub(in crate::store) use entry::{Cold, Entry, Keeper};
#[cfg(feature = "file")]
pub(in crate::store) use facts::Fact;
pub(in crate::store) use index::Sequence;
pub(in crate::store) use outcomes::Outcomes;
pub(in crate::store) use stage::{Commit, Staged};

/// What came of an operation, or why it was refused.
pub(in crate::store) type Judged<T> = Result<T, Kind>;

/// How much a ledger had noted of what was done, at some time.
#[cfg(feature = "file")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Noted {
    content: usize,
    staged: usize,
    ended: usize,
    rows: usize,
    incarnations: usize,
}

/// The ledger. `B` is the body of a task.
#[derive(Debug)]
pub(in crate::store) struct Ledger<B> {
    content: Content<B>,
    staged: Tracked<TxnId, Staged>,
    ended: Ended,
    /// Who committed.
    pub(in crate::store) outcomes: Outcomes,
}

impl<B> Default for Ledger<B> {
    fn default() -> Self {
        Self {
            content: Content::default(),
            staged: Tracked::default(),
            ended: Ended::default(),
            outcomes: Outcomes::default(),
        }
    }
}
