//! Group commit, by the [line](crate::store::line) of those who write: who leads waits for the lock of the journal,
//! reads what other processes appended, does everybody's work, appends it and flushes it once. Whatever
//! cannot be appended is undone.

use std::sync::Arc;

use parking_lot::Mutex;

use super::body::Shelf;
use super::book::{self, Book, Page};
use super::desk::Desk;
use super::dispatch::CLAIM;
use super::error::{Fault, Result};
use super::journal::{Draft, Entered, Journal};
use super::state::State;
use crate::failpoint;
use crate::store::Kind;
use crate::store::ledger::Noted;
use crate::store::line::{self, Line};
use crate::time::Clock;

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
pub(super) struct Writer(Line<Job, Fault>);

type Member = line::Member<Job, Fault>;

/// An operation that has lined up. It keeps its result where its caller finds it.
struct Job {
    write: Write,
    operation: Option<Operation>,
}

type Operation = Box<dyn FnOnce(&mut Desk<'_>) -> Result<()> + Send>;

impl Writer {
    /// How many operations have lined up and are not done.
    pub(super) fn waiting(&self) -> usize {
        self.0.waiting()
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
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let operation = move |desk: &mut Desk<'_>| {
            *keep.lock() = Some(operation(desk)?);
            Ok(())
        };
        let job = Job {
            write,
            operation: Some(Box::new(operation)),
        };
        self.0.run(job, |members| state.lock().commit(members))?;
        let result = kept.lock().take();
        result.ok_or(Kind::Unknown.into())
    }
}

impl State {
    fn commit(&mut self, members: &mut [Member]) -> Result<()> {
        let appended = self.work(members)?;
        if appended > 0 {
            self.tidy(appended);
        }
        Ok(())
    }

    /// Does the members' work and appends it; returns how many bytes that were.
    fn work(&mut self, members: &mut [Member]) -> Result<usize> {
        let now = self.clock.now();
        let (mut entered, book) = self.enter()?;
        book.latest = book.latest.max(now);
        let mut group = Group::of(book);
        let mut draft = entered.draft();
        // A claim reads its tasks from the journal, where those of its neighbours are not yet.
        members.sort_by_key(|member| member.job.write != CLAIM);
        for member in members.iter_mut() {
            member.result = group.work(&mut member.job, &mut entered, &mut draft);
        }
        let writes = || members.iter().map(|member| member.job.write);
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
    fn work(&mut self, job: &mut Job, journal: &mut Journal, draft: &mut Draft) -> Result<()> {
        let noted = self.book.ledger.noted();
        let mut desk = Desk {
            ledger: &mut self.book.ledger,
            shelf: Shelf::new(book::blobs_of(draft.next()), &mut self.book.shared),
            journal,
        };
        let operation = job.operation.take().ok_or(Kind::Unknown)?;
        let done = operation(&mut desk);
        let blobs = done.and_then(|()| desk.shelf.blobs());
        let written = blobs.and_then(|blobs| {
            let facts = self.book.ledger.facts_since(noted);
            Page::of(self.book.latest, facts).write(draft, &blobs)
        });
        if written.is_err() {
            self.book.ledger.rollback(noted);
        }
        written
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
