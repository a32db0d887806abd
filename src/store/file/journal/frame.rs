//! How one record lies in a segment. Numbers are little-endian.
//!
//! | bytes | what |
//! | --: | --- |
//! | 4 | the length of the body |
//! | 1 | the type of the record |
//! | 8 | its id: one more than that of the record before it |
//! | 8 | the id of the last record that was known to be on disk when this one was written |
//! | n | the body |
//! | 4 | CRC-32C of all of these |

/// The bytes before the body.
pub(crate) const HEAD_LENGTH: usize = 21;

/// The bytes after the body.
const CHECKSUM_LENGTH: usize = 4;

/// The length of a record without a body: of the shortest.
pub(crate) const LENGTH_MIN: usize = HEAD_LENGTH + CHECKSUM_LENGTH;

/// The longest body.
pub(crate) const BODY_LENGTH_MAX: usize = 1 << 30;

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) record_type: u8,
    pub(crate) id: u64,
    /// The last record that was on disk when this one was written. What is unreadable before it is
    /// damaged; what is unreadable after it was never promised to anybody.
    pub(crate) flushed: u64,
}

/// A record, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'b> {
    pub(crate) label: Label,
    pub(crate) body: &'b [u8],
}

/// Appends a record whose body has these parts. `None`, and nothing is appended, if it is too long.
pub(crate) fn write(into: &mut Vec<u8>, label: Label, parts: &[&[u8]]) -> Option<()> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).ok();
    let length = length.filter(|length| *length as usize <= BODY_LENGTH_MAX)?;
    let start = into.len();
    into.extend(length.to_le_bytes());
    into.push(label.record_type);
    into.extend(label.id.to_le_bytes());
    into.extend(label.flushed.to_le_bytes());
    for part in parts {
        into.extend_from_slice(part);
    }
    let checksum = crc32c::crc32c(into.get(start..)?);
    into.extend(checksum.to_le_bytes());
    Some(())
}

/// Returns how many bytes a record has that begins with `head`; `None` if no record begins so.
pub(crate) fn length(head: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*head.first_chunk()?) as usize;
    (length <= BODY_LENGTH_MAX).then_some(HEAD_LENGTH + length + CHECKSUM_LENGTH)
}

/// Reads a record that fills `bytes`; `None` if it is not whole.
pub(crate) fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let (sealed, checksum) = bytes.split_last_chunk::<CHECKSUM_LENGTH>()?;
    let (head, body) = sealed.split_at_checked(HEAD_LENGTH)?;
    let label = label(head)?;
    let is_whole = length(head) == Some(bytes.len())
        && crc32c::crc32c(sealed) == u32::from_le_bytes(*checksum);
    is_whole.then_some(Frame { label, body })
}

/// Reads what a record with this head would say of itself, were it whole.
pub(crate) fn label(head: &[u8]) -> Option<Label> {
    let (_, rest) = head.split_first_chunk::<4>()?;
    let (record_type, rest) = rest.split_first()?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let flushed = rest.first_chunk::<8>()?;
    Some(Label {
        record_type: *record_type,
        id: u64::from_le_bytes(*id),
        flushed: u64::from_le_bytes(*flushed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label {
        record_type: 2,
        id: 7,
        flushed: 5,
    };

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, LABEL, &[b"ab", b"c"]).unwrap();
        bytes
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let bytes = written();
        let frame = read(&bytes).unwrap();
        assert_eq!((frame.label, frame.body), (LABEL, &b"abc"[..]));
        assert_eq!(length(&bytes), Some(bytes.len()));
    }

    #[test]
    fn a_record_with_any_bit_flipped_is_not_whole() {
        for bit in 0..written().len() * 8 {
            let mut bytes = written();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn a_part_of_a_record_is_not_whole() {
        let bytes = written();
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), None);
        }
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(read(&[0; HEAD_LENGTH + CHECKSUM_LENGTH]), None);
    }
}
