//! What a segment begins with, and what its file is called. Numbers are little-endian.
//!
//! | bytes | what |
//! | --: | --- |
//! | 16 | `votive journal` and two zeros |
//! | 1 | the version of the format, now 1 |
//! | 16 | the store |
//! | 4 | the number of the segment |
//! | 4 | its generation: the number of the oldest segment that was needed when it was made |
//! | 8 | the id of its first record |
//! | 4 | CRC-32C of all of these |

use std::path::Path;

use crate::id::StoreId;
use crate::store::Kind;

const MAGIC: &[u8; 16] = b"votive journal\0\0";

/// The newest version of the format, which this program writes.
pub(crate) const VERSION: u8 = 1;

/// The bytes before the first record.
pub(crate) const HEADER_LENGTH: usize = 53;

/// The number of a segment; the first is 1.
pub(crate) type Number = u32;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store: StoreId,
    pub(crate) number: Number,
    /// The oldest segment that was needed when this one was made: what cleaning has come to.
    pub(crate) oldest: Number,
    /// The id of the first record.
    pub(crate) first: u64,
}

/// Why a file is not a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It belongs to another program.
    Foreign,
    /// It was made by a newer version of votive.
    Newer(u8),
    /// It is one of ours, and damaged.
    Damaged,
}

impl Header {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend(self.store.to_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.oldest.to_le_bytes());
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Refusal::Foreign)?;
        let (&version, rest) = rest.split_first().ok_or(Refusal::Damaged)?;
        if version > VERSION {
            return Err(Refusal::Newer(version));
        }
        let sealed = bytes.split_last_chunk::<4>();
        let is_whole = sealed.is_some_and(|(sealed, checksum)| {
            crc32c::crc32c(sealed) == u32::from_le_bytes(*checksum)
        });
        let header = Self::from_fields(rest).filter(|_| is_whole);
        header.ok_or(Refusal::Damaged)
    }

    fn from_fields(bytes: &[u8]) -> Option<Self> {
        let (store, rest) = bytes.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (oldest, rest) = rest.split_first_chunk()?;
        Some(Self {
            store: StoreId::from_bytes(*store),
            number: u32::from_le_bytes(*number),
            oldest: u32::from_le_bytes(*oldest),
            first: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

impl Refusal {
    /// What the refusal of the segment at `path` is to whoever wanted to open the store.
    pub(crate) fn kind(&self, path: &Path) -> Kind {
        let path = path.display();
        match self {
            Self::Foreign => Kind::Foreign(format!("{path} is not a segment of a journal")),
            Self::Newer(found) => Kind::NewerVersion {
                found: u32::from(*found),
                known: u32::from(VERSION),
            },
            Self::Damaged => Kind::Corrupt(format!("{path} at offset 0: its header")),
        }
    }
}

/// The name of the file of a segment.
pub(crate) fn name(number: Number) -> String {
    format!("{number:010}.journal")
}

/// The name of a segment that is being made.
pub(crate) fn name_new(number: Number) -> String {
    format!("{number:010}.journal.new")
}

/// The segment whose file has this name.
pub(crate) fn number(name: &str) -> Option<Number> {
    let digits = name.strip_suffix(".journal")?;
    let is_ours = digits.len() == 10 && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_ours.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            store: StoreId::from_bytes([9; 16]),
            number: 3,
            oldest: 2,
            first: 77,
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let bytes = header().to_bytes();
        assert_eq!(bytes.len(), HEADER_LENGTH);
        assert_eq!(Header::from_bytes(&bytes), Ok(header()));
    }

    #[test]
    fn a_header_of_another_program_or_version_or_with_damage_is_told_apart() {
        let change = |at: usize, to: u8| {
            let mut bytes = header().to_bytes();
            bytes[at] = to;
            Header::from_bytes(&bytes).unwrap_err()
        };
        assert_eq!(change(0, b'V'), Refusal::Foreign);
        assert_eq!(change(16, 2), Refusal::Newer(2));
        assert_eq!(change(40, 1), Refusal::Damaged);
    }

    #[test]
    fn a_name_tells_the_number() {
        assert_eq!(number(&name(42)), Some(42));
        assert_eq!(number(&name_new(42)), None);
        assert_eq!(number("42.journal"), None);
    }
}
