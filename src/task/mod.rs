//! What a task *is*: data, and the one table of what may happen to it. Nothing here runs anything.

mod account;
mod follow_up;
mod key;
mod name;
mod options;
mod payload;
mod record;
mod retry;
mod state;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use account::{Account, FAILURES_MAX, Failure, Position};
pub use follow_up::FollowUp;
pub use key::kind_key;
pub use name::Name;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use options::coded::{decoded as decoded_options, encoded as encoded_options};
#[cfg(feature = "file")]
pub(crate) use options::unusual as unusual_options;
pub use options::{
    AGEING_DEFAULT, AGEING_MAX, GROUP_LIMIT_MAX, Hold, OnDuplicate, Options, Unique, Uniqueness,
};
pub use payload::{Format, Payload, PayloadError, PayloadLimits};
pub use record::{Counts, Record};
pub use retry::RetryPolicy;
pub use state::{DeadReason, Event, State, StateSet};

/// The queue that is meant where none is named.
pub const QUEUE_DEFAULT: &str = "default";

/// A unit of work to run later: data with a kind.
///
/// A producer needs only this; the code that a task runs is a `Handler`, registered by the consumer.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Index {
///     document: i64,
/// }
///
/// impl votive::Task for Index {
///     const KIND: &'static str = "index";
/// }
/// ```
#[doc(alias = "job")]
#[doc(alias = "message")]
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// The type tag under which the task is stored and its handler is found. At most 255 bytes.
    const KIND: &'static str;

    /// The version of the payload's shape. Raise it with each change that old payloads do not fit.
    const VERSION: u32 = 0;

    /// The queue that [`Queues`](crate::Queues) put tasks of this kind into. Defaults to `default`.
    const QUEUE: &'static str = QUEUE_DEFAULT;

    /// Makes every task of this kind the only one of its payload, unless its options name a key of
    /// their own; see [`Unique::by_payload`] and [`Uniqueness::MERGE`]. Defaults to none.
    const UNIQUE: Option<Uniqueness> = None;

    /// Returns the options with which tasks of this kind are enqueued unless the caller says
    /// otherwise. Defaults to [`Options::default`].
    #[must_use]
    fn options() -> Options {
        Options::default()
    }

    /// Reads a payload that an older (or newer) version of this kind wrote.
    ///
    /// Called instead of plain decoding whenever `payload.version` differs from
    /// [`VERSION`](Self::VERSION). Defaults to decoding it as if it were of this version.
    ///
    /// # Errors
    /// The task cannot be read; it is kept, and counts as failed.
    fn upgrade(payload: &Payload) -> Result<Self, PayloadError> {
        payload.decode()
    }
}
