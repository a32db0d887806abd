//! The task's own value in encoded form. The store keeps these bytes and never decodes them.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
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
    /// The encoded value. A clone shares it.
    #[serde(with = "bytes")]
    pub bytes: Arc<[u8]>,
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
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        <Vec<u8>>::deserialize(from).map(Arc::from)
    }
}

impl Payload {
    /// Encodes a task as postcard, checking it against `limits`.
    ///
    /// # Errors
    /// The value is too large, too deep, or refuses to be serialized. Nothing was enqueued.
    pub fn encode<T: Task>(task: &T, limits: PayloadLimits) -> Result<Self, PayloadError> {
        let bytes = codec::to_postcard(task, limits.size_max, limits.depth_max)
            .map_err(PayloadError::of::<T>)?;
        Ok(Self {
            format: Format::Postcard,
            version: T::VERSION,
            bytes,
        })
    }

    /// Takes a JSON text as it is, after checking that it is one and within `limits`. `version` is
    /// the `Task::VERSION` that the text was written for.
    ///
    /// # Errors
    /// The text is too large, too deep, or not JSON.
    pub fn from_json(text: &str, version: u32, limits: PayloadLimits) -> Result<Self, CodecError> {
        let bytes = text.trim().as_bytes();
        check_size(bytes, limits)?;
        codec::from_json::<serde_json::Value>(bytes, limits.depth_max)?;
        Ok(Self {
            format: Format::Json,
            version,
            bytes: bytes.into(),
        })
    }

    /// Encodes any value as JSON, checking it against `limits`.
    ///
    /// # Errors
    /// The value is too large, too deep, or has no form in JSON.
    pub fn json<R: Serialize + ?Sized>(
        value: &R,
        limits: PayloadLimits,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            format: Format::Json,
            version: 0,
            bytes: codec::to_json(value, limits.size_max, limits.depth_max)?,
        })
    }

    /// Decodes any value within `limits`; postcard and JSON alike.
    ///
    /// # Errors
    /// The bytes are not an `R`, or are [`Format::Bytes`].
    pub fn read<R: DeserializeOwned>(&self, limits: PayloadLimits) -> Result<R, CodecError> {
        check_size(&self.bytes, limits)?;
        match self.format {
            Format::Postcard => codec::from_postcard(&self.bytes, limits.depth_max),
            Format::Json => codec::from_json(&self.bytes, limits.depth_max),
            Format::Bytes => Err(CodecError::Malformed(
                "bytes that only their handler understands".into(),
            )),
        }
    }

    /// Decodes the value within [`PayloadLimits::default`]; postcard and JSON alike.
    ///
    /// The version is not looked at: see [`Task::upgrade`].
    ///
    /// # Errors
    /// The bytes are not a `T`, or are [`Format::Bytes`].
    pub fn decode<T: Task>(&self) -> Result<T, PayloadError> {
        self.decode_within(PayloadLimits::default())
    }

    /// Decodes the value within other limits, for tasks that were encoded within them.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_within<T: Task>(&self, limits: PayloadLimits) -> Result<T, PayloadError> {
        self.read(limits).map_err(PayloadError::of::<T>)
    }

    /// Shows the payload as JSON, for people and for programs in other languages.
    ///
    /// A JSON payload is shown as it is; any other, which only its own type can read, as an object
    /// with `format`, `version`, `size` and the bytes as `hex`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let json = (self.format == Format::Json)
            .then(|| codec::from_json(&self.bytes, PayloadLimits::default().depth_max));
        match json {
            Some(Ok(value)) => value,
            _ => serde_json::json!({
                "format": self.format.name(),
                "version": self.version,
                "size": self.bytes.len(),
                "hex": hex(&self.bytes),
            }),
        }
    }
}

impl Format {
    /// Returns the name that the command line and the documents use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postcard => "postcard",
            Self::Json => "json",
            Self::Bytes => "bytes",
        }
    }
}

impl PayloadError {
    /// Says of which kind of task the payload is: for an [`upgrade`](Task::upgrade) that has [read](Payload::read) an
    /// older shape.
    #[must_use]
    pub fn of<T: Task>(source: CodecError) -> Self {
        Self {
            kind: T::KIND.to_owned(),
            source,
        }
    }
}

fn check_size(bytes: &[u8], limits: PayloadLimits) -> Result<(), CodecError> {
    let (size, max) = (bytes.len(), limits.size_max);
    if size > max {
        return Err(CodecError::TooLarge { size, max });
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Mail {
        to: Vec<String>,
        copies: Option<u32>,
    }

    impl Task for Mail {
        const KIND: &'static str = "mail";
        const VERSION: u32 = 3;
    }

    const LIMITS: PayloadLimits = PayloadLimits {
        size_max: 64,
        depth_max: 3,
    };

    fn mail(to: &str) -> Mail {
        Mail {
            to: vec![to.to_owned()],
            copies: None,
        }
    }

    proptest! {
        #[test]
        fn a_task_survives_its_payload(to: Vec<String>, copies: Option<u32>) {
            let task = Mail { to, copies };
            let payload = Payload::encode(&task, PayloadLimits::default()).unwrap();
            prop_assert_eq!(payload.version, 3);
            prop_assert_eq!(payload.decode::<Mail>().unwrap(), task);
        }

        #[test]
        fn json_is_decoded_as_well_as_postcard(to: Vec<String>, copies: Option<u32>) {
            let task = Mail { to, copies };
            let text = serde_json::to_string(&task).unwrap();
            let payload = Payload::from_json(&text, 3, PayloadLimits::default()).unwrap();
            prop_assert_eq!(payload.decode::<Mail>().unwrap(), task);
        }
    }

    #[test]
    fn a_payload_over_the_limit_is_refused_with_its_size_and_kind() {
        let error = Payload::encode(&mail(&"x".repeat(100)), LIMITS).unwrap_err();
        assert_eq!(error.kind, "mail");
        assert_eq!(
            error.source.to_string(),
            "103 bytes are more than the limit of 64"
        );
    }

    #[test]
    fn json_over_the_limits_is_refused() {
        let long = format!("\"{}\"", "x".repeat(100));
        let large = Payload::from_json(&long, 0, LIMITS).unwrap_err();
        assert!(matches!(large, CodecError::TooLarge { size: 102, max: 64 }));
        let deep = Payload::from_json("[[[[1]]]]", 0, LIMITS).unwrap_err();
        assert!(matches!(deep, CodecError::TooDeep { max: 3 }));
    }

    #[test]
    fn malformed_json_is_refused_before_it_is_enqueued() {
        let error = Payload::from_json("{\"to\":", 0, LIMITS).unwrap_err();
        assert!(matches!(error, CodecError::Malformed(_)));
    }

    #[test]
    fn raw_bytes_are_only_for_their_handler() {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [1, 0xab].into(),
        };
        assert!(payload.decode::<Mail>().is_err());
        let shown = serde_json::json!({"format": "bytes", "version": 0, "size": 2, "hex": "01ab"});
        assert_eq!(payload.to_json(), shown);
    }

    #[test]
    fn a_json_payload_is_shown_as_it_is() {
        let payload = Payload::from_json(" {\"a\": [1]} ", 0, LIMITS).unwrap();
        assert_eq!(payload.to_json(), serde_json::json!({"a": [1]}));
    }
}
