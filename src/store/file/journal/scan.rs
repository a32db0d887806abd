//! Reading the records of a segment one after the other.

use std::fs::File;
use std::io;

use super::frame::{self, Frame, HEAD_LENGTH};

/// How much is read at once: at first, since there may be little, and at most.
const CHUNK_MIN: usize = 16 << 10;
const CHUNK_MAX: usize = 1 << 20;

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'b> {
    /// A record, and where it begins.
    Record(u64, Frame<'b>),
    /// Nothing more, or room for what is still to come.
    End,
    /// What begins here is no whole record.
    Broken(u64),
}

/// Reads the records of a file between two offsets.
pub(crate) struct Scanner<'f> {
    file: &'f File,
    /// Where the next record begins, and what is not read any more.
    at: u64,
    end: u64,
    chunk: usize,
    buffer: Vec<u8>,
    /// Where in the buffer `at` is.
    start: usize,
}

impl<'f> Scanner<'f> {
    /// Reads from one offset to another, a chunk at a time.
    pub(crate) fn new(file: &'f File, (at, end): (u64, u64)) -> Self {
        Self {
            file,
            at,
            end,
            chunk: CHUNK_MIN,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Where the next record begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn next(&mut self) -> io::Result<Step<'_>> {
        let (at, left) = (self.at, self.left());
        if left == 0 {
            return Ok(Step::End);
        }
        let has_head = self.fill(HEAD_LENGTH)?;
        if is_room(self.rest().get(..HEAD_LENGTH.min(left)).unwrap_or_default()) {
            return Ok(Step::End);
        }
        if !has_head {
            return Ok(Step::Broken(at));
        }
        let length = frame::length(self.rest()).filter(|length| *length <= left);
        let Some(length) = length else {
            return Ok(Step::Broken(at));
        };
        self.fill(length)?;
        let start = self.start;
        let record = self.buffer.get(start..start + length);
        let Some(frame) = record.and_then(frame::read) else {
            return Ok(Step::Broken(at));
        };
        self.start += length;
        self.at += length as u64;
        Ok(Step::Record(at, frame))
    }

    fn left(&self) -> usize {
        usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX)
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Has at least `length` bytes in the buffer, or all that there are; says which.
    fn fill(&mut self, length: usize) -> io::Result<bool> {
        let have = self.rest().len();
        if have >= length {
            return Ok(true);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let wanted = length.max(self.chunk).min(self.left());
        self.buffer.resize(wanted, 0);
        let free = self.buffer.get_mut(have..).unwrap_or_default();
        read_at(self.file, free, self.at + have as u64)?;
        self.chunk = CHUNK_MAX.min(2 * self.chunk);
        Ok(wanted >= length)
    }
}

/// Whether nothing was written here yet: no record begins with so many zeros.
pub(crate) fn is_room(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Whether there is nothing but room between two offsets.
pub(crate) fn is_all_room(file: &File, (mut at, end): (u64, u64)) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK_MAX];
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let length = left.min(CHUNK_MAX);
        let chunk = chunk.get_mut(..length).unwrap_or_default();
        read_at(file, chunk, at)?;
        if !is_room(chunk) {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

/// Whether a whole record behind one that is not knows that there was more on disk than the records up to `id`, after
/// which the broken one comes.
///
/// What is broken can be anything, records among it, so a place is looked at closely only if one of this journal may
/// begin there: so many records as its id says fit before it, and it knows of more than `id`.
pub(crate) fn is_known_behind(file: &File, (broken, end): (u64, u64), id: u64) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK_MAX];
    let mut at = broken + frame::LENGTH_MIN as u64;
    while at + HEAD_LENGTH as u64 <= end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let bytes = chunk.get_mut(..left.min(CHUNK_MAX)).unwrap_or_default();
        read_at(file, bytes, at)?;
        for head in bytes.windows(HEAD_LENGTH) {
            let id_max = id + 1 + (at - broken) / frame::LENGTH_MIN as u64;
            let is_likely = frame::label(head).is_some_and(|label| {
                id < label.flushed && label.flushed < label.id && label.id <= id_max
            });
            if is_likely && is_whole(file, (at, end), head)? {
                return Ok(true);
            }
            at += 1;
        }
    }
    Ok(false)
}

/// Whether a record that begins with this head is whole, and ends in time.
fn is_whole(file: &File, (at, end): (u64, u64), head: &[u8]) -> io::Result<bool> {
    let length = frame::length(head).filter(|length| *length as u64 <= end - at);
    let mut record = vec![0; length.unwrap_or_default()];
    read_at(file, &mut record, at)?;
    Ok(frame::read(&record).is_some())
}

/// Fills `bytes` from an offset, without moving a position that others share.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Reads what there is at an offset, which may be less than fills `bytes`, or nothing.
pub(crate) fn read_some_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    match read_at(file, bytes, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        read => read,
    }
}

/// Writes all of `bytes` at an offset.
#[cfg(unix)]
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes = bytes.get_mut(count..).unwrap_or_default();
                offset += count as u64;
            }
        }
    }
    Ok(())
}

#[cfg(windows)]
pub(crate) fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset += count as u64;
            }
        }
    }
    Ok(())
}
