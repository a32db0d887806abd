//! The task's own value in encoded form. The store keeps these bytes and never decodes them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::CodecError;
use crate::task::Task;

/// How the bytes of a payload are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Format {
    /// Postcard: what Rust producers write.
    Postcard,
    /// JSON: what the command line, HTTP and Python write.
    Json,
    /// Bytes that only the handler understands.
    Bytes,
}

/// How large and how deeply nested a payload may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLimits {
    /// The largest number of encoded bytes. Defaults to 1 MiB.
    pub size_max: usize,
    /// The deepest nesting. Defaults to 64 levels.
    pub depth_max: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            size_max: 1 << 20,
            depth_max: 64,
        }
    }
}

/// An encoded value: its bytes, their format, and the version of the shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// How the bytes are encoded.
    pub format: Format,
    /// `Task::VERSION` of the writer.
    pub version: u32,
    /// The encoded value.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
}

/// Why a payload could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("payload of kind `{kind}`")]
#[non_exhaustive]
pub struct PayloadError {
    /// The kind of the task.
    pub kind: String,
    /// What is wrong with the bytes or the value.
    #[source]
    pub source: CodecError,
}

/// Bytes as one length and one block, instead of a sequence of numbers.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        <Vec<u8>>::deserialize(from)
    }
}

impl Payload {
    /// Encodes a task as postcard, checking it against `limits`.
    ///
    /// # Errors
    /// The value is too large, too deep, or refuses to be serialized. Nothing was enqueued.
    pub fn encode<T: Task>(task: &T, limits: PayloadLimits) -> Result<Self, PayloadError> {
        let _ = (task, limits);
        unimplemented!("slice 2")
    }

    /// Decodes the value, checking [`PayloadLimits::default`]'s depth.
    ///
    /// # Errors
    /// The bytes are not a `T`, or are [`Format::Bytes`].
    pub fn decode<T: Task>(&self) -> Result<T, PayloadError> {
        let _ = std::marker::PhantomData::<fn() -> T>;
        fn assert<T: DeserializeOwned>() {}
        assert::<T>();
        unimplemented!("slice 2")
    }
}
