//! The envelope of everything that votive writes to disk or wire: one version byte, then postcard.

mod bounded;
mod depth;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use bounded::{from_json, from_postcard, to_json, to_postcard};

/// Why bytes could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value encodes to more bytes than the limit.
    #[error("{size} bytes are more than the limit of {max}")]
    TooLarge {
        /// The size of the encoded value in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The value is nested deeper than the limit.
    #[error("nested deeper than {max} levels")]
    TooDeep {
        /// The limit in levels.
        max: usize,
    },
    /// The bytes were written by a newer version.
    #[error("format version {found}, but this program reads up to {known}")]
    NewerVersion {
        /// The version byte found.
        found: u8,
        /// The newest version that this program reads.
        known: u8,
    },
    /// The bytes are not what they should be.
    #[error("malformed bytes")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The version byte that this program writes, and the newest that it reads.
pub const VERSION: u8 = 1;

/// Encodes a value behind a version byte.
///
/// # Errors
/// [`CodecError::Malformed`] if the value refuses to be serialized.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(SIZE_USUAL);
    encode_into(value, &mut bytes)?;
    Ok(bytes)
}

/// Encodes a value behind a version byte, at the end of what is there. After an error only that is there.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = bytes.len();
    bytes.push(VERSION);
    let encoded = postcard::serialize_with_flavor(value, Appended(bytes));
    encoded.map_err(|error| {
        bytes.truncate(start);
        CodecError::Malformed(error.into())
    })
}

/// Room for what is encoded most often.
const SIZE_USUAL: usize = 128;

/// Appends what postcard writes, a block at a time.
struct Appended<'b>(&'b mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes what [`encode`] gave.
///
/// # Errors
/// [`CodecError::NewerVersion`] or [`CodecError::Malformed`], also when bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let malformed = |what: &str| CodecError::Malformed(what.to_owned().into());
    let (&version, body) = bytes.split_first().ok_or_else(|| malformed("empty"))?;
    if version == 0 {
        return Err(malformed("version 0"));
    }
    if version > VERSION {
        return Err(CodecError::NewerVersion {
            found: version,
            known: VERSION,
        });
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(malformed(&format!("{} bytes too many", rest.len()))),
        Err(error) => Err(CodecError::Malformed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_refused_by_number() {
        let mut bytes = encode("task").unwrap();
        assert_eq!(decode::<String>(&bytes).unwrap(), "task");
        bytes[0] = VERSION + 1;
        let error = decode::<String>(&bytes).unwrap_err();
        assert!(matches!(
            error,
            CodecError::NewerVersion { found: 2, known: 1 }
        ));
    }

    #[test]
    fn nothing_and_too_much_are_malformed() {
        let mut bytes = encode(&7_u8).unwrap();
        bytes.push(0);
        for bytes in [&bytes[..], &[], &[0, 7], &[1]] {
            let error = decode::<u8>(bytes).unwrap_err();
            assert!(matches!(error, CodecError::Malformed(_)), "{bytes:?}");
        }
    }
}
