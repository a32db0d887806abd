//! The journal: a folder of segments, each a row of records, to which any number of processes append.
//!
//! Owns one invariant: whoever appends has first read all that was appended before, so that all
//! processes see the same records in the same order. Who appends holds a kernel lock for as long as
//! that takes, and nobody reads what was not wholly written.
//!
//! A segment that is followed by another one is on disk and never changes. Only the end of the last one
//! may be torn: what is unreadable there and was never known to be on disk is cut off. Anything else
//! that is unreadable is damaged, and is reported with the file and the offset.

mod append;
pub(crate) mod folder;
pub(crate) mod frame;
mod open;
mod scan;
pub(crate) mod segment;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Fault, Result};
use crate::id::StoreId;
use crate::store::Kind;
pub(crate) use append::{Draft, Entered};
use folder::Folder;
use frame::{Frame, HEAD_LENGTH, Label};
pub(crate) use open::New;
use open::{acquire, open_segment, read_header};
use scan::{Scanner, Step};
use segment::{HEADER_LENGTH, Header, Number};

/// The record by which segments are given up: the journal's own. Other types are its user's.
pub(crate) const REMOVED: u8 = 0;

/// How many segments are kept open to read from, beside the last.
const FILES_MAX: usize = 64;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: Number,
    pub(crate) offset: u64,
}

/// Takes the records one after the other.
pub(crate) type Visit<'v> = dyn FnMut(Place, Frame<'_>) -> Result<()> + 'v;

pub(crate) struct Journal {
    folder: Folder,
    lock: File,
    store: StoreId,
    /// The oldest segment that is needed.
    oldest: Number,
    tail: Tail,
    files: BTreeMap<Number, Arc<File>>,
    /// How much room is made at a time for what is to be appended.
    room: u64,
    flush_count: u64,
    /// Whether a flush failed: then nobody knows what is on disk.
    is_poisoned: bool,
}

/// The end of the journal, as far as it was read.
struct Tail {
    number: Number,
    file: Arc<File>,
    length: u64,
    /// Where the record ends that the segment begins with.
    base_end: u64,
    /// Up to where there is room: zeros, which take less of a flush to overwrite than a longer file does.
    room_end: u64,
    /// The id of the last record, and of the last one that is known to be on disk.
    last: u64,
    flushed: u64,
    /// The ids and offsets of the records that are not known to be on disk.
    unflushed: VecDeque<(u64, u64)>,
    /// Whether a flush vouches for all that is in the file: one that failed before the file was opened here is told to
    /// nobody here, so what others had appended by then has to be written once more.
    is_settled: bool,
}

impl Journal {
    pub(crate) fn store(&self) -> StoreId {
        self.store
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The oldest segment that is needed.
    pub(crate) fn oldest(&self) -> Number {
        self.oldest
    }

    /// The segment that is appended to, and its length.
    pub(crate) fn end(&self) -> Place {
        Place {
            segment: self.tail.number,
            offset: self.tail.length,
        }
    }

    /// How long the segment that is appended to was when it was made.
    pub(crate) fn base_end(&self) -> u64 {
        self.tail.base_end
    }

    /// How often this process has waited for the disk since the journal was opened.
    pub(crate) fn flush_count(&self) -> u64 {
        self.flush_count
    }

    /// Whether all that was read is known to be on disk.
    pub(crate) fn is_flushed(&self) -> bool {
        self.tail.flushed == self.tail.last
    }

    /// Whether others have appended since.
    pub(crate) fn is_behind(&self) -> Result<bool> {
        self.refuse_poisoned()?;
        Ok(self.tail.has_more()? || self.is_followed()? || !self.has_tail()?)
    }

    fn is_followed(&self) -> Result<bool> {
        Ok(self.folder.has(self.tail.number + 1)?)
    }

    /// Whether so much was appended and given up since that nothing leads from here to the end: then the
    /// journal must be opened anew.
    pub(crate) fn is_lost(&self) -> Result<bool> {
        Ok(!self.has_tail()? && !self.is_followed()?)
    }

    /// Whether the segment that was read last is still in the folder: a file that was opened tells by itself
    /// where it can, without a look for its name.
    #[cfg(unix)]
    pub(super) fn has_tail(&self) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.tail.file.metadata()?.nlink() > 0)
    }

    /// Whether the segment that was read last is still in the folder.
    #[cfg(not(unix))]
    pub(super) fn has_tail(&self) -> io::Result<bool> {
        self.folder.has(self.tail.number)
    }

    /// Waits until nobody else appends, and keeps everybody else from it.
    pub(crate) fn enter(&mut self) -> Result<Entered<'_>> {
        self.refuse_poisoned()?;
        acquire(&self.folder, &mut self.lock)?;
        Ok(Entered(self))
    }

    /// Opens the journal anew and reads all of it. It must be there, and be the same: what was promised in it is in no
    /// other one.
    pub(crate) fn open_again(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        self.folder.refuse_emptied()?;
        let new = New {
            base: None,
            room: self.room,
        };
        let found = Self::open(self.folder.clone(), new, visit)?;
        if found.store != self.store {
            let what = format!(
                "{} has store {} now, and had {} when it was opened: put that back, or open it again",
                self.folder.path().display(),
                found.store,
                self.store
            );
            return Err(Kind::NoStore(what).into());
        }
        *self = found;
        Ok(())
    }

    /// Reads bytes of a record that was read before.
    pub(crate) fn read(&mut self, at: Place, bytes: &mut [u8]) -> Result<()> {
        let file = self.file(at.segment)?;
        scan::read_at(&file, bytes, at.offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.corrupt(at, "it ends before a record that was read")
            }
            _ => error.into(),
        })
    }

    /// Reads the records of a segment from an offset on, until `visit` has had enough. Returns the next
    /// offset; `None` at the end of the segment.
    pub(crate) fn revisit(
        &mut self,
        from: Place,
        visit: &mut dyn FnMut(Place, Frame<'_>) -> Result<bool>,
    ) -> Result<Option<u64>> {
        let file = self.file(from.segment)?;
        let at = from.offset.max(HEADER_LENGTH as u64);
        let mut scanner = Scanner::new(&file, (at, file.metadata()?.len()));
        loop {
            let goes_on = match scanner.next()? {
                Step::End => return Ok(None),
                Step::Broken(offset) => {
                    let at = Place { offset, ..from };
                    return Err(self.corrupt(at, "a record that was whole is not"));
                }
                Step::Record(offset, frame) => visit(Place { offset, ..from }, frame)?,
            };
            if !goes_on {
                return Ok(Some(scanner.at()));
            }
        }
    }

    pub(crate) fn path(&self, number: Number) -> PathBuf {
        self.folder.segment(number)
    }

    pub(crate) fn corrupt(&self, at: Place, what: &str) -> Fault {
        let path = self.path(at.segment);
        Fault::corrupt(format!(
            "{} at offset {}: {what}",
            path.display(),
            at.offset
        ))
    }

    fn file(&mut self, number: Number) -> Result<Arc<File>> {
        if number == self.tail.number {
            return Ok(Arc::clone(&self.tail.file));
        }
        if let Some(file) = self.files.get(&number) {
            return Ok(Arc::clone(file));
        }
        let (file, _) = open_segment(&self.folder, number)?;
        if self.files.len() >= FILES_MAX {
            self.files.pop_first();
        }
        self.files.insert(number, Arc::clone(&file));
        Ok(file)
    }

    fn refuse_poisoned(&self) -> Result<()> {
        if self.is_poisoned {
            return Err(Kind::Poisoned.into());
        }
        Ok(())
    }

    /// Reads whole records up to `end`, and returns where one is not whole.
    pub(super) fn read_to(&mut self, end: u64, visit: &mut Visit<'_>) -> Result<Option<u64>> {
        let file = Arc::clone(&self.tail.file);
        if end < self.tail.length {
            return Err(self.corrupt(self.end(), "the segment was cut short"));
        }
        if !self.tail.has_more()? {
            return Ok(None);
        }
        let mut scanner = Scanner::new(&file, (self.tail.length, end));
        loop {
            match scanner.next()? {
                Step::End => return Ok(None),
                Step::Broken(offset) => return Ok(Some(offset)),
                Step::Record(offset, frame) => {
                    self.take(offset, frame, visit)?;
                    self.tail.length = scanner.at();
                    if offset == HEADER_LENGTH as u64 {
                        self.tail.base_end = scanner.at();
                    }
                }
            }
        }
    }

    /// The same where the power may have failed: then there may be something after what looks like room.
    pub(super) fn read_all_to(&mut self, end: u64, visit: &mut Visit<'_>) -> Result<Option<u64>> {
        let broken = self.read_to(end, visit)?;
        let rest = (self.tail.length, end);
        if broken.is_none() && !scan::is_all_room(&self.tail.file, rest)? {
            return Ok(Some(self.tail.length));
        }
        Ok(broken)
    }

    fn take(&mut self, offset: u64, frame: Frame<'_>, visit: &mut Visit<'_>) -> Result<()> {
        let at = Place {
            segment: self.tail.number,
            offset,
        };
        if frame.label.id != self.tail.last + 1 {
            return Err(self.corrupt(at, "a record is missing before this one"));
        }
        if frame.label.record_type == REMOVED {
            let removed = frame
                .body
                .first_chunk()
                .map(|bytes| u32::from_le_bytes(*bytes));
            let removed = removed.ok_or_else(|| self.corrupt(at, "which segment was given up"))?;
            self.oldest = self.oldest.max(removed + 1);
            self.files = self.files.split_off(&self.oldest);
        } else {
            visit(at, frame)?;
        }
        self.tail.saw(frame.label, offset);
        Ok(())
    }

    pub(super) fn go_on_to(&mut self, number: Number, file: Arc<File>) -> Result<()> {
        let header = read_header(&self.folder, number, &file)?;
        let at = Place {
            segment: number,
            offset: 0,
        };
        if header.store != self.store || header.first != self.tail.last + 1 {
            return Err(self.corrupt(at, "the segment does not follow the one before it"));
        }
        self.oldest = self.oldest.max(header.oldest);
        let before = std::mem::replace(&mut self.tail, Tail::new(&header, file));
        if self.files.len() < FILES_MAX {
            self.files.insert(before.number, before.file);
        }
        Ok(())
    }

    pub(super) fn damaged(&self, offset: u64) -> Fault {
        let at = Place {
            segment: self.tail.number,
            offset,
        };
        self.corrupt(at, "a record that was on disk is not whole")
    }
}

impl Tail {
    fn new(header: &Header, file: Arc<File>) -> Self {
        Self {
            number: header.number,
            file,
            length: HEADER_LENGTH as u64,
            base_end: HEADER_LENGTH as u64,
            room_end: 0,
            last: header.first - 1,
            // A segment gets its name when its first record is on disk.
            flushed: header.first,
            unflushed: VecDeque::new(),
            is_settled: false,
        }
    }

    /// Whether something was appended that was not read.
    fn has_more(&self) -> io::Result<bool> {
        let mut head = [0; HEAD_LENGTH];
        scan::read_some_at(&self.file, &mut head, self.length)?;
        Ok(!scan::is_room(&head))
    }

    fn saw(&mut self, label: Label, offset: u64) {
        self.last = label.id;
        self.unflushed.push_back((label.id, offset));
        self.flushed = self.flushed.max(label.flushed);
        while self
            .unflushed
            .front()
            .is_some_and(|(id, _)| *id <= self.flushed)
        {
            self.unflushed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::Range;
    use std::path::Path;

    use super::*;

    /// A journal, and the bodies of the records that it has read.
    struct Reader {
        journal: Journal,
        seen: Vec<String>,
    }

    fn see(seen: &mut Vec<String>) -> impl FnMut(Place, Frame<'_>) -> Result<()> {
        |_, frame| {
            seen.push(String::from_utf8(frame.body.to_vec()).unwrap());
            Ok(())
        }
    }

    impl Reader {
        fn try_open(path: &Path) -> Result<Self> {
            Self::try_open_with(path, 0)
        }

        fn try_open_with(path: &Path, room: u64) -> Result<Self> {
            let mut seen = Vec::new();
            let folder = Folder::open(path, true)?;
            let new = New {
                base: Some(b"base"),
                room,
            };
            let journal = Journal::open(folder, new, &mut see(&mut seen))?;
            Ok(Self { journal, seen })
        }

        fn open(path: &Path) -> Self {
            Self::try_open(path).unwrap()
        }

        fn catch_up(&mut self) {
            let mut entered = self.journal.enter().unwrap();
            entered.catch_up(&mut see(&mut self.seen)).unwrap();
        }

        /// Appends a record, and waits for the disk if it `is_flushed`.
        fn append(&mut self, body: &str, is_flushed: bool) -> Place {
            let mut entered = self.journal.enter().unwrap();
            entered.catch_up(&mut see(&mut self.seen)).unwrap();
            let mut draft = entered.draft();
            let at = draft.push((2, &[body.as_bytes()])).unwrap();
            entered.append(&draft).unwrap();
            if is_flushed {
                entered.flush().unwrap();
            }
            at
        }

        fn roll(&mut self) {
            self.journal.enter().unwrap().roll((1, b"base")).unwrap();
        }
    }

    /// Changes a byte of the first segment.
    fn damage(path: &Path, offset: u64) {
        let path = path.join(segment::name(1));
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        scan::read_at(&file, &mut byte, offset).unwrap();
        scan::write_at(&file, &[!byte[0]], offset).unwrap();
    }

    /// Makes zeros of some bytes of the first segment.
    fn erase(path: &Path, bytes: Range<u64>) {
        let path = path.join(segment::name(1));
        let file = File::options().write(true).open(path).unwrap();
        let length = usize::try_from(bytes.end - bytes.start).unwrap();
        scan::write_at(&file, &vec![0; length], bytes.start).unwrap();
    }

    fn add_to_end(path: &Path, bytes: &[u8]) {
        let path = path.join(segment::name(1));
        let mut content = fs::read(&path).unwrap();
        content.extend(bytes);
        fs::write(path, content).unwrap();
    }

    #[test]
    fn what_one_appends_the_other_reads() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (Reader::open(folder.path()), Reader::open(folder.path()));
        one.append("a", true);
        assert!(other.journal.is_behind().unwrap());
        other.append("b", false);
        one.append("c", true);
        other.catch_up();
        assert_eq!(other.seen, ["base", "a", "c"]);
        assert_eq!(one.seen, ["base", "b"]);
        assert_eq!(Reader::open(folder.path()).seen, ["base", "a", "b", "c"]);
    }

    #[test]
    fn a_file_to_lock_that_was_removed_keeps_nobody_apart_from_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        let mut one = Reader::open(folder.path());
        fs::remove_file(&lock).unwrap();
        let mut other = Reader::open(folder.path());
        one.append("a", true);
        other.append("b", true);
        let entered = one.journal.enter().unwrap();
        assert!(File::open(&lock).unwrap().try_lock().is_err());
        drop(entered);
        one.append("c", true);
        assert_eq!(Reader::open(folder.path()).seen, ["base", "a", "b", "c"]);
    }

    #[test]
    fn a_torn_end_is_cut_off_by_who_comes_next() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (Reader::open(folder.path()), Reader::open(folder.path()));
        one.append("a", true);
        add_to_end(folder.path(), &[9, 0, 0, 0, 2, 3]);
        other.append("b", true);
        assert_eq!(other.seen, ["base", "a"]);
        assert_eq!(Reader::open(folder.path()).seen, ["base", "a", "b"]);
    }

    /// A record as it is on disk.
    fn written((id, flushed): (u64, u64), body: &[u8]) -> Vec<u8> {
        let label = Label {
            record_type: 2,
            id,
            flushed,
        };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, label, &[body]).unwrap();
        bytes
    }

    /// Bytes that could be anything.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn a_large_record_that_is_torn_is_cut_off_without_long_search() {
        let folder = tempfile::tempdir().unwrap();
        Reader::open(folder.path()).append("a", true);
        let torn = written((3, 2), &noise(16 << 20));
        add_to_end(folder.path(), &torn[..torn.len() / 2]);
        assert_eq!(Reader::open(folder.path()).seen, ["base", "a"]);
        let left = fs::metadata(folder.path().join(segment::name(1))).unwrap();
        assert!(left.len() < 1_000);
    }

    #[test]
    fn a_record_in_the_body_of_one_that_is_torn_is_not_taken_for_a_later_one() {
        const BILLION: u64 = 1_000_000_000;
        let folder = tempfile::tempdir().unwrap();
        Reader::open(folder.path()).append("a", true);
        let inner = written((BILLION + 1, BILLION), b"x");
        let torn = written((3, 2), &[&inner[..], &[7; 100]].concat());
        add_to_end(folder.path(), &torn[..torn.len() - 50]);
        assert_eq!(Reader::open(folder.path()).seen, ["base", "a"]);
    }

    #[test]
    fn damage_of_what_was_on_disk_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::open(folder.path());
        let at = one.append("a", true);
        one.append("b", true);
        damage(folder.path(), at.offset + 21);
        let fault = Reader::try_open(folder.path()).map(drop).unwrap_err();
        let named = format!("0000000001.journal at offset {}", at.offset);
        assert!(matches!(fault.kind, Kind::Corrupt(text) if text.contains(&named)));
    }

    #[test]
    fn what_was_lost_before_it_was_flushed_is_cut_off_with_all_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::open(folder.path());
        one.append("a", true);
        let lost = one.append("b", false);
        one.append("c", false);
        damage(folder.path(), lost.offset + 21);
        assert_eq!(Reader::open(folder.path()).seen, ["base", "a"]);
    }

    #[test]
    fn a_new_segment_is_followed_by_all() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (Reader::open(folder.path()), Reader::open(folder.path()));
        one.append("a", false);
        one.roll();
        other.append("b", true);
        one.append("c", true);
        assert_eq!(other.seen, ["base", "a", "base"]);
        assert_eq!(one.seen, ["base", "b"]);
        assert_eq!(
            Reader::open(folder.path()).seen,
            ["base", "a", "base", "b", "c"]
        );
    }

    #[test]
    fn what_others_had_appended_to_a_new_segment_is_flushed_by_who_comes_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (Reader::open(folder.path()), Reader::open(folder.path()));
        one.roll();
        one.append("a", false);
        other.catch_up();
        assert!(other.journal.is_flushed());
        one.append("b", false);
        other.catch_up();
        assert_eq!(other.journal.flush_count(), 1);
        assert_eq!(other.seen, ["base", "base", "a", "b"]);
    }

    #[test]
    fn damage_before_a_later_segment_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::open(folder.path());
        let at = one.append("a", false);
        one.roll();
        damage(folder.path(), at.offset + 21);
        let fault = Reader::try_open(folder.path()).map(drop).unwrap_err();
        assert!(matches!(fault.kind, Kind::Corrupt(text) if text.contains("0000000001.journal")));
    }

    #[test]
    fn a_segment_that_is_given_up_is_not_read_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::open(folder.path());
        one.append("a", true);
        one.roll();
        one.journal.enter().unwrap().remove_oldest().unwrap();
        one.append("b", true);
        let two = Reader::open(folder.path());
        assert_eq!(
            (two.seen, two.journal.oldest()),
            (vec!["base".into(), "b".into()], 2)
        );
    }

    #[test]
    fn a_segment_that_should_have_gone_goes() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join(segment::name(1));
        let mut one = Reader::open(folder.path());
        one.roll();
        let kept = fs::read(&first).unwrap();
        one.journal.enter().unwrap().remove_oldest().unwrap();
        fs::write(&first, kept).unwrap();
        assert_eq!(Reader::open(folder.path()).journal.oldest(), 2);
        assert!(!first.exists());
    }

    #[test]
    fn a_segment_that_is_needed_and_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::open(folder.path());
        one.roll();
        fs::remove_file(folder.path().join(segment::name(1))).unwrap();
        let fault = Reader::try_open(folder.path()).map(drop).unwrap_err();
        assert!(matches!(fault.kind, Kind::Corrupt(text) if text.contains("0000000001.journal")));
    }

    #[test]
    fn what_is_appended_into_room_is_read_by_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::try_open_with(folder.path(), 100).unwrap();
        let mut other = Reader::try_open_with(folder.path(), 1_000).unwrap();
        one.append("a", true);
        assert!(other.journal.is_behind().unwrap());
        other.append("b", false);
        one.append(&"c".repeat(2_000), true);
        one.roll();
        other.append("d", true);
        let seen = Reader::open(folder.path()).seen;
        assert_eq!(seen.concat(), format!("baseab{}based", "c".repeat(2_000)));
    }

    #[test]
    fn what_a_power_failure_left_behind_room_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::try_open_with(folder.path(), 1_000).unwrap();
        let lost = one.append("b", false);
        let kept = one.append("c", false);
        erase(folder.path(), lost.offset..kept.offset);
        let mut two = Reader::try_open_with(folder.path(), 1_000).unwrap();
        two.append("d", true);
        assert_eq!(two.seen, ["base"]);
        assert_eq!(Reader::open(folder.path()).seen, ["base", "d"]);
    }

    #[test]
    fn a_record_that_was_on_disk_and_looks_like_room_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::try_open_with(folder.path(), 1_000).unwrap();
        let at = one.append("a", true);
        let next = one.append("b", true);
        erase(folder.path(), at.offset..next.offset);
        let fault = Reader::try_open(folder.path()).map(drop).unwrap_err();
        let named = format!("0000000001.journal at offset {}", at.offset);
        assert!(matches!(fault.kind, Kind::Corrupt(text) if text.contains(&named)));
    }

    /// How many files of a folder this process has open.
    #[cfg(target_os = "linux")]
    fn open_count(folder: &Path) -> usize {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        let files = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        files.filter(|file| file.starts_with(folder)).count()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_journal_of_many_segments_is_read_with_few_files_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let mut one = Reader::open(&path);
        (0..FILES_MAX + 10).for_each(|_| one.roll());
        drop(one);
        let (mut seen, mut open_max) = (0, 0);
        let new = New {
            base: None,
            room: 0,
        };
        let folder = Folder::open(&path, false).unwrap();
        let read = Journal::open(folder, new, &mut |_, _| {
            open_max = open_max.max(open_count(&path));
            seen += 1;
            Ok(())
        });
        assert_eq!(read.unwrap().tail.number as usize, seen);
        assert!(open_max <= FILES_MAX + 2, "{open_max}");
    }

    #[test]
    fn a_record_is_read_again_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Reader::open(folder.path());
        let at = one.append("abc", false);
        one.roll();
        let mut bytes = [0; 3];
        let body = Place {
            offset: at.offset + 21,
            ..at
        };
        one.journal.read(body, &mut bytes).unwrap();
        assert_eq!(&bytes, b"abc");
    }
}
