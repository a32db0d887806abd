//! Opening a journal: others go on appending while it is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::folder::Folder;
use super::frame::{self, Label};
use super::segment::{self, HEADER_LENGTH, Header, Number};
use super::{Journal, Tail, Visit, scan};
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
        let listed = first(&folder, new.base).and_then(|()| Listed::read(&folder));
        lock.unlock()?;
        let listed = listed?;
        let (oldest, end) = (listed.header.number, listed.end);
        let mut journal = listed.into_journal(folder, lock)?;
        journal.room = new.room;
        journal.read_unlocked(end, visit)?;
        let mut entered = journal.enter()?;
        entered.follow(Journal::read_all_to, visit)?;
        entered.settle()?;
        entered.clear_away(oldest)?;
        drop(entered);
        Ok(journal)
    }

    /// Reads what was there when the segments were listed, up to the `end` that the last one had: all
    /// of it is whole, except perhaps its very end.
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

/// The segments that were there, opened, so that they can be read even when they are given up.
struct Listed {
    /// Of the first one.
    header: Header,
    files: BTreeMap<Number, Arc<File>>,
    /// The length of the last one.
    end: u64,
}

impl Listed {
    fn read(folder: &Folder) -> Result<Self> {
        let mut first = None;
        let mut files = BTreeMap::new();
        // From the last one back: what comes before a gap was given up, or else a segment is missing.
        for number in folder.segments()?.into_iter().rev() {
            let oldest = files.first_key_value().map(|(oldest, _)| *oldest);
            if oldest.is_some_and(|oldest| oldest != number + 1) {
                break;
            }
            let (file, header) = open_segment(folder, number)?;
            first = Some(header);
            files.insert(number, file);
        }
        let (_, last) = files.last_key_value().ok_or(Kind::Unavailable)?;
        let end = last.metadata()?.len();
        let header = first.ok_or(Kind::Unavailable)?;
        Ok(Self { header, files, end })
    }

    fn into_journal(mut self, folder: Folder, lock: File) -> Result<Journal> {
        let file = self.files.remove(&self.header.number);
        let file = file.ok_or(Kind::Unavailable)?;
        Ok(Journal {
            folder,
            lock,
            store: self.header.store,
            oldest: self.header.oldest,
            tail: Tail::new(&self.header, file),
            files: self.files,
            room: 0,
            flush_count: 0,
            is_poisoned: false,
        })
    }
}

/// Makes the first segment if there is none and one is to be made. After that the names of all segments are on disk:
/// whoever made the last one may have died before it had seen to that.
fn first(folder: &Folder, base: Option<&[u8]>) -> Result<()> {
    match base {
        None => folder.refuse_emptied()?,
        Some(base) if folder.segments()?.is_empty() => make_first(folder, base)?,
        Some(_) => {}
    }
    folder.sync()?;
    Ok(())
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
