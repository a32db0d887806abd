//! Opening a journal: others go on appending while it is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::append::Entered;
use super::folder::Folder;
use super::frame::{self, Label};
use super::segment::{self, HEADER_LENGTH, Header, Number};
use super::{FILES_MAX, Journal, Tail, Visit, scan};
use crate::id::StoreId;
use crate::store::Kind;
use crate::store::file::error::{Fault, Result};

/// What whoever opens a journal adds to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New<'b> {
    /// The first record, if there is no journal yet; `None` if none is to be made.
    pub(crate) base: Option<&'b [u8]>,
    /// How much room is made at a time for what is to be appended.
    pub(crate) room: u64,
}

impl Journal {
    /// Opens the journal in a folder, makes it if there is none, and reads it.
    ///
    /// # Blocking
    /// Waits for those who append. Others go on while it is read.
    pub(crate) fn open(folder: Folder, new: New<'_>, visit: &mut Visit<'_>) -> Result<Self> {
        let mut lock = folder.lock_file()?;
        acquire(&folder, &mut lock)?;
        let begun = first(&folder, new.base).and_then(|()| oldest(&folder));
        let (file, header) = begun?;
        let mut journal = Self {
            folder,
            lock,
            store: header.store,
            oldest: header.oldest,
            tail: Tail::new(&header, file),
            files: BTreeMap::new(),
            room: new.room,
            flush_count: 0,
            is_poisoned: false,
        };
        let mut end = Entered(&mut journal).open_next()?;
        loop {
            journal.read_unlocked(end, visit)?;
            if !journal.is_followed()? {
                break;
            }
            end = journal.enter()?.open_next()?;
        }
        let mut entered = journal.enter()?;
        entered.follow(Journal::read_all_to, visit)?;
        entered.settle()?;
        entered.clear_away(header.number)?;
        drop(entered);
        Ok(journal)
    }

    /// Reads the segments that were opened, up to the `end` that the last one had: all of it is whole, except perhaps
    /// its very end.
    fn read_unlocked(&mut self, end: u64, visit: &mut Visit<'_>) -> Result<()> {
        while let Some(file) = self.files.remove(&(self.tail.number + 1)) {
            let end = self.tail.file.metadata()?.len();
            if let Some(offset) = self.read_all_to(end, visit)? {
                return Err(self.damaged(offset));
            }
            self.go_on_to(self.tail.number + 1, file)?;
        }
        self.read_to(end, visit).map(drop)
    }
}

impl Entered<'_> {
    /// Opens the segments that come next, so that they can be read even when they are given up, but not more than may
    /// be open at a time; returns the length of the last one. After that their names are on disk: whoever made the last
    /// one may have died before it had seen to that.
    fn open_next(&mut self) -> Result<u64> {
        self.files.clear();
        let mut last = Arc::clone(&self.tail.file);
        let mut number = self.tail.number + 1;
        while self.files.len() < FILES_MAX && self.folder.has(number)? {
            (last, _) = open_segment(&self.folder, number)?;
            self.files.insert(number, Arc::clone(&last));
            number += 1;
        }
        self.folder.sync()?;
        Ok(last.metadata()?.len())
    }
}

/// The oldest segment from which others lead to the last one. What comes before a gap was given up, or else a segment
/// is missing.
fn oldest(folder: &Folder) -> Result<(Arc<File>, Header)> {
    let mut numbers = folder.segments()?.into_iter().rev();
    let mut oldest = numbers.next().ok_or(Kind::Unavailable)?;
    while numbers.next().is_some_and(|number| number + 1 == oldest) {
        oldest -= 1;
    }
    open_segment(folder, oldest)
}

/// Makes the first segment if there is none and one is to be made.
fn first(folder: &Folder, base: Option<&[u8]>) -> Result<()> {
    match base {
        None => folder.refuse_emptied(),
        Some(base) if folder.segments()?.is_empty() => make_first(folder, base),
        Some(_) => Ok(()),
    }
}

fn make_first(folder: &Folder, base: &[u8]) -> Result<()> {
    let header = Header {
        store: StoreId::random(),
        number: 1,
        oldest: 1,
        first: 1,
    };
    // Before there is anything in it, for whoever finds something there does not do it any more.
    folder.sync_parent()?;
    folder.create(1, &segment_with(header, (1, base))?)?;
    Ok(())
}

pub(super) fn segment_with(header: Header, (record_type, base): (u8, &[u8])) -> Result<Vec<u8>> {
    let mut content = header.to_bytes();
    let label = Label {
        record_type,
        id: header.first,
        flushed: header.first - 1,
    };
    frame::write(&mut content, label, &[base]).ok_or_else(too_long)?;
    Ok(content)
}

pub(super) fn open_segment(folder: &Folder, number: Number) -> Result<(Arc<File>, Header)> {
    let path = folder.segment(number);
    let file = Arc::new(File::options().read(true).write(true).open(path)?);
    let header = read_header(folder, number, &file)?;
    Ok((file, header))
}

pub(super) fn read_header(folder: &Folder, number: Number, file: &File) -> Result<Header> {
    let path = folder.segment(number);
    let mut bytes = [0; HEADER_LENGTH];
    scan::read_at(file, &mut bytes, 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::from(segment::Refusal::Foreign.kind(&path)),
        _ => error.into(),
    })?;
    let header = Header::from_bytes(&bytes);
    header.map_err(|refusal| refusal.kind(&path).into())
}

/// Waits for the lock. If its file was removed meanwhile, others may hold that of a new one: then that is waited for.
pub(super) fn acquire(folder: &Folder, lock: &mut File) -> Result<()> {
    loop {
        wait_for(lock)?;
        let is_lock = folder.is_lock(lock);
        if matches!(is_lock, Ok(true)) {
            return Ok(());
        }
        lock.unlock()?;
        is_lock?;
        folder.refuse_emptied()?;
        *lock = folder.lock_file()?;
    }
}

fn wait_for(lock: &File) -> io::Result<()> {
    loop {
        match lock.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

pub(super) fn too_long() -> Fault {
    let max = frame::BODY_LENGTH_MAX;
    Kind::Invalid(format!("a batch is longer than {max} bytes")).into()
}
