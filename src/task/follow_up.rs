//! A task that is enqueued when another one ends, in the same step.

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::task::{Name, OnDuplicate, Options, Payload, PayloadError, PayloadLimits, Task, Unique};

/// A task that is enqueued when another one ends, in the same step as that end.
///
/// It is kept in the options of the other one, encoded. A follow-up may have follow-ups of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FollowUp {
    /// The queue that it goes into, in the same store; `None` is that of the task that it follows.
    pub queue: Option<Name>,
    /// Its type tag.
    pub kind: Name,
    /// Its encoded value.
    pub payload: Payload,
    /// [`Options`], encoded, so that nothing is nested in what is read.
    options: Vec<u8>,
}

impl FollowUp {
    /// Encodes a task with the options of its kind.
    ///
    /// # Errors
    /// The value is larger or deeper than [`PayloadLimits::default`] allows.
    pub fn new<T: Task>(task: &T) -> Result<Self, PayloadError> {
        Self::with_options(task, T::options())
    }

    /// Encodes a task with options of its own.
    ///
    /// A follow-up never stands in the way of the end that it follows: if its unique key is taken, it
    /// merges, even where the options say that it refuses; and the capacity of its queue is not asked.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options<T: Task>(task: &T, mut options: Options) -> Result<Self, PayloadError> {
        let payload = Payload::encode(task, PayloadLimits::default())?;
        options.unique = options.unique.or_else(|| Unique::of_kind::<T>(&payload));
        Self::of_payload(Name::fixed(T::KIND), payload, options)
    }

    /// Takes a task that is encoded already.
    ///
    /// # Errors
    /// The options cannot be encoded.
    pub fn of_payload(
        kind: impl Into<Name>,
        payload: Payload,
        mut options: Options,
    ) -> Result<Self, PayloadError> {
        let kind = kind.into();
        if let Some(unique) = &mut options.unique {
            unique.on_duplicate = OnDuplicate::Merge;
        }
        let options = codec::encode(&options).map_err(|source| PayloadError {
            kind: kind.to_string(),
            source,
        })?;
        Ok(Self {
            queue: None,
            kind,
            payload,
            options,
        })
    }

    /// Sets the queue that it goes into. Defaults to that of the task that it follows.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<Name>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Decodes its options.
    ///
    /// # Errors
    /// The bytes are not options, or those of a later version.
    pub fn options(&self) -> Result<Options, CodecError> {
        codec::decode(&self.options)
    }
}
