//! A kit for the tests of applications: what it asserts is what really happens. Nothing here replaces a
//! store, a transaction or a consumer by something that only looks like one.
//!
//! | file | what it does |
//! | --- | --- |
//! | `expect` | says what is, or is not, enqueued, before the commit and after it |
//! | `rehearse` | runs one task in a transaction that is rolled back |
//! | `drain` | runs a consumer until nothing is left to run |
//! | `crash` | kills the application at random instants, and has it compared with its tasks |
//!
//! A store that wants no setting up is `memory://`; one with a clock that stands still is
//! [`MemoryStore::with_clock`](crate::store::memory::MemoryStore::with_clock) with a
//! [`ManualClock`](crate::time::ManualClock).

mod crash;
mod drain;
mod expect;
mod rehearse;

pub use crash::{CrashError, CrashReport, CrashTest, compare, settle};
pub use drain::{DrainError, drain};
pub use expect::{
    Expected, assert_enqueued, assert_visible, assert_visible_within, refute_enqueued,
    refute_visible,
};
pub use rehearse::{Rehearsal, rehearse};
