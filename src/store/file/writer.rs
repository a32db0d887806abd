//! Group commit: operations that arrive together share one append, and so one wait for the disk.
//!
//! There is no thread of its own. Callers line up; the first one leads: it takes who is there, waits for
//! the lock of the journal, reads what other processes appended, does everybody's work, appends it and
//! flushes it once, and only then hands out the results, refusals too, since a refusal may be due to
//! another member. Whatever cannot be appended is undone.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::body::{Body, Shelf};
use super::book::{self, Book, CHANGES, Page};
use super::desk::Desk;
use super::dispatch::CLAIM;
use super::error::{Fault, Result};
use super::journal::{Draft, Entered, Journal};
use super::state::State;
use crate::codec;
use crate::failpoint;
use crate::store::Kind;
use crate::store::ledger::{Fact, Noted};
use crate::time::Clock;

/// How many operations share an append at most.
const MEMBERS_MAX: usize = 256;

/// Whether an operation waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// It may be lost by a power failure until a later one is flushed.
    Deferred,
    /// It is on disk when it returns, and so is all that was there before it.
    Flushed,
}

/// One operation of the contract that may change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) durability: Durability,
    /// Where a crash test may have the process die: before it is appended, and after it is flushed.
    pub(super) failpoints: [&'static str; 2],
}

/// The writing side of a store.
#[derive(Default)]
pub(super) struct Writer {
    line: Mutex<Line>,
    moved: Condvar,
}

#[derive(Default)]
struct Line {
    members: VecDeque<Box<dyn Member>>,
    /// How many are being led; nobody else leads meanwhile.
    led: usize,
}

impl Writer {
    /// How many operations have lined up and are not done.
    pub(super) fn waiting(&self) -> usize {
        let line = self.line.lock();
        line.members.len() + line.led
    }

    /// Does an operation, all of it or nothing, and appends what it did.
    ///
    /// An error whose kind is not [`Kind::Unknown`] promises that nothing changed.
    pub(super) fn run<T: Send + 'static>(
        &self,
        state: &Mutex<State>,
        write: Write,
        operation: impl FnOnce(&mut Desk<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let slot = Arc::new(Mutex::new(None));
        let job = Box::new(Job {
            write,
            operation: Some(operation),
            result: None,
            slot: Arc::clone(&slot),
        });
        let mut line = self.line.lock();
        line.members.push_back(job);
        loop {
            if let Some(result) = slot.lock().take() {
                return result;
            }
            if line.led > 0 {
                self.moved.wait(&mut line);
                continue;
            }
            let count = line.members.len().min(MEMBERS_MAX);
            let mut members: Vec<_> = line.members.drain(..count).collect();
            line.led = count;
            drop(line);
            let lead = Lead(self);
            let ended = state.lock().commit(&mut members);
            for member in members {
                member.end(&ended);
            }
            drop(lead);
            line = self.line.lock();
        }
    }
}

/// Lets the next one lead, even if this one panics.
struct Lead<'w>(&'w Writer);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.line.lock().led = 0;
        self.0.moved.notify_all();
    }
}

impl State {
    fn commit(&mut self, members: &mut [Box<dyn Member>]) -> Result<()> {
        let appended = self.work(members)?;
        if appended > 0 {
            self.tidy(appended);
        }
        Ok(())
    }

    /// Does the members' work and appends it; returns how many bytes that were.
    fn work(&mut self, members: &mut [Box<dyn Member>]) -> Result<usize> {
        let now = self.clock.now();
        let (mut entered, book) = self.enter()?;
        book.latest = book.latest.max(now);
        let mut group = Group::of(book);
        let mut draft = entered.draft();
        // A claim reads its tasks from the journal, where those of its neighbours are not yet.
        members.sort_by_key(|member| member.write() != CLAIM);
        for member in members.iter_mut() {
            group.work(member.as_mut(), &mut entered, &mut draft);
        }
        let writes = || members.iter().map(|member| member.write());
        let is_flushed = writes().any(|write| write.durability == Durability::Flushed);
        let must_flush = is_flushed && !(draft.is_empty() && entered.is_flushed());
        if draft.is_empty() && !is_flushed {
            return Ok(0);
        }
        writes().for_each(|write| failpoint::hit(write.failpoints[0]));
        append(&mut entered, &draft, must_flush)?;
        group.settle();
        writes().for_each(|write| failpoint::hit(write.failpoints[1]));
        Ok(draft.len())
    }
}

fn append(entered: &mut Entered<'_>, draft: &Draft, must_flush: bool) -> Result<()> {
    if !draft.is_empty() {
        entered.append(draft)?;
    }
    if must_flush {
        entered.flush()?;
    }
    Ok(())
}

/// What the members did to the book, until it is appended: undone unless it is.
struct Group<'b> {
    book: &'b mut Book,
    noted: Noted,
}

impl<'b> Group<'b> {
    fn of(book: &'b mut Book) -> Self {
        let noted = book.ledger.noted();
        Self { book, noted }
    }

    /// Does the work of one member, and writes down what it did.
    fn work(&mut self, member: &mut dyn Member, journal: &mut Journal, draft: &mut Draft) {
        let noted = self.book.ledger.noted();
        let mut desk = Desk {
            ledger: &mut self.book.ledger,
            shelf: Shelf::new(book::blobs_of(draft.next()), &mut self.book.shared),
            journal,
        };
        let done = member.work(&mut desk);
        let blobs = done.and_then(|()| desk.shelf.blobs());
        let written = blobs.and_then(|blobs| {
            let facts = self.book.ledger.facts_since(noted);
            self.book.write(draft, &blobs, facts)
        });
        if let Err(fault) = written {
            self.book.ledger.rollback(noted);
            member.fail(fault);
        }
    }

    fn settle(&mut self) {
        self.book.ledger.settle();
        self.noted = self.book.ledger.noted();
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.book.ledger.rollback(self.noted);
    }
}

impl Book {
    /// Adds a record to a draft, unless there is nothing to say.
    pub(super) fn write(
        &mut self,
        draft: &mut Draft,
        blobs: &[u8],
        facts: Vec<Fact<Body>>,
    ) -> Result<()> {
        if facts.is_empty() {
            return Ok(());
        }
        let page = codec::encode(&Page {
            at: self.latest,
            fingerprint: None,
            facts,
        })?;
        let length = u32::try_from(blobs.len()).unwrap_or(u32::MAX).to_le_bytes();
        draft.push((CHANGES, &[&length, blobs, &page]))?;
        Ok(())
    }
}

/// One operation in the line, whatever it returns.
pub(super) trait Member: Send {
    fn write(&self) -> Write;
    /// Does the work and keeps the result.
    fn work(&mut self, desk: &mut Desk<'_>) -> Result<()>;
    /// Keeps another result: that the work was in vain.
    fn fail(&mut self, fault: Fault);
    /// Hands out the result, or the failure of the whole group.
    fn end(self: Box<Self>, ended: &Result<()>);
}

struct Job<T, F> {
    write: Write,
    operation: Option<F>,
    result: Option<Result<T>>,
    slot: Arc<Mutex<Option<Result<T>>>>,
}

impl<T, F> Member for Job<T, F>
where
    T: Send,
    F: FnOnce(&mut Desk<'_>) -> Result<T> + Send,
{
    fn write(&self) -> Write {
        self.write
    }

    fn work(&mut self, desk: &mut Desk<'_>) -> Result<()> {
        let Some(operation) = self.operation.take() else {
            return Ok(());
        };
        let result = operation(desk);
        let done = result.as_ref().map(drop).map_err(Fault::clone);
        self.result = Some(result);
        done
    }

    fn fail(&mut self, fault: Fault) {
        self.result = Some(Err(fault));
    }

    fn end(mut self: Box<Self>, ended: &Result<()>) {
        let result = match ended {
            Ok(()) => self.result.take(),
            Err(fault) => Some(Err(fault.clone())),
        };
        *self.slot.lock() = result;
    }
}

/// A job that ends without a result had a leader that panicked: nobody is left waiting for it.
impl<T, F> Drop for Job<T, F> {
    fn drop(&mut self) {
        self.slot
            .lock()
            .get_or_insert_with(|| Err(Kind::Unknown.into()));
    }
}
