//! Appending to the journal, rolling its end over to a new segment, and giving up its oldest one.

use std::ops::{Deref, DerefMut};

use super::frame::{self, Label};
use super::open::{open_segment, segment_with, too_long};
use super::segment::{Header, Number};
use super::{Journal, Place, REMOVED, Visit, scan};
use crate::failpoint;
use crate::store::Kind;
use crate::store::file::error::{Fault, Result};

/// Reads the last segment up to an offset.
type ReadTo = fn(&mut Journal, u64, &mut Visit<'_>) -> Result<Option<u64>>;

/// Records that are to be appended together.
pub(crate) struct Draft {
    place: Place,
    last: u64,
    flushed: u64,
    bytes: Vec<u8>,
}

/// The journal while this process may append to it.
pub(crate) struct Entered<'j>(pub(super) &'j mut Journal);

impl Entered<'_> {
    /// Reads what others have appended, and cuts off what one of them was about to append when it died.
    pub(crate) fn catch_up(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        self.follow(Journal::read_to, visit)?;
        self.settle()
    }

    pub(super) fn follow(&mut self, read_to: ReadTo, visit: &mut Visit<'_>) -> Result<()> {
        loop {
            let end = self.tail.file.metadata()?.len();
            self.tail.room_end = end;
            if let Some(broken) = read_to(self, end, visit)? {
                self.cut(broken, end)?;
            }
            let next = self.tail.number + 1;
            if !self.folder.has(next)? {
                return if self.has_tail()? {
                    Ok(())
                } else {
                    Err(Kind::Unavailable.into())
                };
            }
            let (file, _) = open_segment(&self.folder, next)?;
            // Whoever made it may have died before its name was on disk.
            if let Err(error) = self.folder.sync() {
                return Err(self.poison(error.into()).with_kind(Kind::Poisoned));
            }
            self.go_on_to(next, file)?;
        }
    }

    fn cut(&mut self, broken: u64, end: u64) -> Result<()> {
        let last = self.tail.last;
        let is_damage = self.tail.flushed > last
            || self.folder.has(self.tail.number + 1)?
            || scan::is_known_behind(&self.tail.file, (broken, end), last)?;
        if is_damage {
            return Err(self.damaged(broken));
        }
        let file = self.path(self.tail.number);
        tracing::warn!(file = %file.display(), offset = broken, bytes = end - broken,
            "the torn end of the journal is cut off: nobody was told that it was there");
        self.tail.file.set_len(broken)?;
        // Before anything is written in its place: it must not come back behind that.
        self.tail.file.sync_data()?;
        self.tail.room_end = broken;
        Ok(())
    }

    /// Begins to write down what is to be appended.
    pub(crate) fn draft(&self) -> Draft {
        Draft {
            place: self.end(),
            last: self.tail.last,
            flushed: self.tail.flushed,
            bytes: Vec::new(),
        }
    }

    /// Appends the records; all that was read before must have been read.
    ///
    /// An error whose kind is not [`Kind::Unknown`] promises that nothing was appended.
    pub(crate) fn append(&mut self, draft: &Draft) -> Result<()> {
        self.make_room(draft.bytes.len() as u64);
        let tail = &self.0.tail;
        if let Err(error) = scan::write_at(&tail.file, &draft.bytes, tail.length) {
            let fault = Fault::from(error);
            return match tail.file.set_len(tail.length) {
                Ok(()) => {
                    self.tail.room_end = self.tail.length;
                    Err(fault)
                }
                Err(error) => {
                    tracing::error!(%error, "what was half appended could not be taken back");
                    Err(self.poison(fault))
                }
            };
        }
        let tail = &mut self.0.tail;
        for id in tail.last + 1..=draft.last {
            tail.unflushed.push_back((id, tail.length));
        }
        tail.length += draft.bytes.len() as u64;
        tail.last = draft.last;
        Ok(())
    }

    /// Writes zeros after what is about to be appended, unless there is room for it: most records then overwrite
    /// something, and the disk has only them to write. Without room it goes as well, but not as fast.
    fn make_room(&mut self, length: u64) {
        let (end, room) = (self.tail.length + length, self.room);
        let from = end.max(self.tail.room_end);
        if room == 0 || end <= self.tail.room_end {
            return;
        }
        let to = (end + room).next_multiple_of(room);
        let zeros = vec![0; usize::try_from(to - from).unwrap_or_default()];
        match scan::write_at(&self.tail.file, &zeros, from) {
            Ok(()) => self.tail.room_end = to,
            Err(error) => {
                tracing::debug!(%error, "no room could be made at the end of the journal");
            }
        }
    }

    /// Waits until all that was read and appended is on disk.
    ///
    /// A failure poisons the journal: the system may have dropped what it could not write, and say next
    /// time that all is well.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match self.tail.file.sync_data() {
            Ok(()) => {
                self.tail.flushed = self.tail.last;
                self.tail.unflushed.clear();
                self.0.flush_count += 1;
                Ok(())
            }
            Err(error) => Err(self.poison(error.into())),
        }
    }

    fn poison(&mut self, fault: Fault) -> Fault {
        self.0.is_poisoned = true;
        fault.with_kind(Kind::Unknown)
    }

    /// Writes what was not known to be on disk when the segment was opened once more, and flushes it. Where a flush
    /// failed, only what is written anew is flushed by the next.
    pub(super) fn settle(&mut self) -> Result<()> {
        if !self.tail.is_settled
            && let Some((_, offset)) = self.tail.unflushed.front().copied()
        {
            self.write_again(offset)?;
        }
        self.tail.is_settled = true;
        Ok(())
    }

    fn write_again(&mut self, offset: u64) -> Result<()> {
        let length = usize::try_from(self.tail.length - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        scan::read_at(&self.tail.file, &mut bytes, offset)?;
        scan::write_at(&self.tail.file, &bytes, offset)?;
        self.flush()
    }

    /// Begins a new segment, whose first record is `base`. An error leaves the journal as it was,
    /// except that it may be poisoned.
    pub(crate) fn roll(&mut self, base: (u8, &[u8])) -> Result<()> {
        if !self.is_flushed() {
            self.flush()?;
        }
        let tail = &self.0.tail;
        let header = Header {
            store: self.store,
            number: tail.number + 1,
            oldest: self.oldest,
            first: tail.last + 1,
        };
        let content = segment_with(header, base)?;
        failpoint::hit("file.compact.before_rename");
        self.folder.create(header.number, &content)?;
        failpoint::hit("file.compact.after_rename");
        if let Err(error) = self.folder.sync() {
            return Err(self.poison(error.into()));
        }
        failpoint::hit("file.compact.after_sync");
        let (file, _) = open_segment(&self.folder, header.number)?;
        self.go_on_to(header.number, file)?;
        let tail = &mut self.0.tail;
        tail.last = header.first;
        tail.length = content.len() as u64;
        tail.base_end = tail.length;
        tail.is_settled = true;
        Ok(())
    }

    /// Gives up the oldest segment, of which nothing is needed any more.
    pub(crate) fn remove_oldest(&mut self) -> Result<()> {
        let removed = self.oldest;
        let mut draft = self.draft();
        draft.push((REMOVED, &[&removed.to_le_bytes()]))?;
        self.append(&draft)?;
        failpoint::hit("file.compact.before_flush");
        self.flush()?;
        failpoint::hit("file.compact.before_remove");
        self.0.oldest = removed + 1;
        self.files.remove(&removed);
        self.folder.remove(removed)?;
        failpoint::hit("file.compact.after_remove");
        self.folder.sync()?;
        Ok(())
    }

    /// Removes segments that were given up by somebody who died before they were gone.
    pub(super) fn clear_away(&mut self, first: Number) -> Result<()> {
        if first > self.oldest {
            let at = Place {
                segment: first - 1,
                offset: 0,
            };
            return Err(self.corrupt(at, "the segment is missing"));
        }
        for number in self.folder.segments()? {
            if number < self.oldest {
                self.folder.remove(number)?;
            }
        }
        Ok(())
    }
}

impl Deref for Entered<'_> {
    type Target = Journal;

    fn deref(&self) -> &Journal {
        self.0
    }
}

impl DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Journal {
        self.0
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::error!(%error, "the lock of the journal could not be given back");
        }
    }
}

impl Draft {
    /// Adds a record of a type and the parts of its body; returns where it will be.
    pub(crate) fn push(&mut self, (record_type, parts): (u8, &[&[u8]])) -> Result<Place> {
        let at = self.next();
        let label = Label {
            record_type,
            id: self.last + 1,
            flushed: self.flushed,
        };
        frame::write(&mut self.bytes, label, parts).ok_or_else(too_long)?;
        self.last += 1;
        Ok(at)
    }

    /// Where the next record will be.
    pub(crate) fn next(&self) -> Place {
        Place {
            offset: self.place.offset + self.bytes.len() as u64,
            ..self.place
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes will be appended.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}
