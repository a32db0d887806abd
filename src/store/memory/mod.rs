//! The memory store: the contract in its plainest form, for programs whose tasks may end with them.
//!
//! Invariant: everything is behind one lock, and what becomes of a task is decided in one place, the
//! ledger (`store/ledger`). This store adds what a ledger leaves to its backend: who is present, who is
//! woken, and where the bodies of tasks are; here they are beside the ledger's entries.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `body.rs` | what is kept of a task beside its entry |
//! | `stage.rs` `register.rs` `dispatch.rs` `notify.rs` `inspect.rs` | the roles of the contract |

mod body;
mod dispatch;
mod inspect;
mod notify;
mod register;
mod stage;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use body::Whole;

use crate::id::{ConsumerId, Incarnation, StoreId, TxnId};
use crate::register::Tier;
use crate::store::ledger::{Cold, Ledger};
use crate::store::{Capabilities, Error, Kind, Store};
use crate::time::{Clock, Monotonic, SystemClock, Timestamp};

/// A store in the memory of this process. Everything in it ends with the last [`Arc`] that holds it.
///
/// Its tier is *volatile*: a task is visible if and only if its transaction committed, for as long as
/// the process lives.
///
/// ```
/// use votive::store::memory::MemoryStore;
/// use votive::store::Inspect;
///
/// let store = MemoryStore::new();
/// assert_eq!(store.capabilities().backend, "memory");
/// ```
pub struct MemoryStore {
    id: StoreId,
    capabilities: Capabilities,
    clock: Monotonic,
    host: String,
    shared: Arc<Shared>,
}

/// What the store and the presences that it gave out share.
struct Shared {
    state: Mutex<State>,
    /// Rung whenever somebody who waits might be served.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ledger: Ledger<Cold>,
    whole: Whole,
    /// A commit that nobody but its owner will ask for, and its owner knows of it.
    known: Option<TxnId>,
    /// How many presences each attended incarnation has.
    present: BTreeMap<Incarnation, usize>,
    /// The consumer that claimed last.
    claimed_last: Option<Arc<ConsumerId>>,
    visit_count: u64,
    interrupt_count: u64,
}

impl MemoryStore {
    /// Creates an empty store that goes by the clock of the operating system.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Creates an empty store that goes by `clock`, except that its time never goes backwards.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            id: StoreId::random(),
            capabilities: Capabilities::new("memory", Tier::Volatile),
            clock: Monotonic::new(clock, Timestamp::EPOCH),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            shared: Arc::new(Shared {
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    /// Returns how many tasks claims have looked at so far. It grows with what is claimed, promoted and
    /// reclaimed, and not with what merely lies in the store.
    #[must_use]
    pub fn visit_count(&self) -> u64 {
        self.shared.state.lock().visit_count
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn refused(operation: &'static str) -> impl FnOnce(Kind) -> Error {
    move |kind| Error::new(kind, "memory", operation)
}
