//! Giving back space: cleaning the journal from its oldest end.
//!
//! What is still true of the oldest segment is said again at the end of the journal; then the segment is
//! given up. That is done in small steps, each by whoever has just appended something, so that nobody
//! waits for long and no thread is needed. A process that dies between two steps leaves things said
//! twice, which is as good as once; whoever goes on later begins with the segment anew.
//!
//! A segment begins with all that is true but the tasks and the staged batches, so of the segments
//! before it only those are needed.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::SEGMENT_SIZE_MAX;
use super::body::Shelf;
use super::book::{self, BASE, Book, Page};
use super::error::Result;
use super::journal::segment::Number;
use super::journal::{Entered, Place};
use super::state::State;
use crate::failpoint;
use crate::id::TxnId;
use crate::store::ledger::{Fact, Sequence};

/// How much of a segment one step looks at, at least and at most.
const STEP_MIN: usize = 64 << 10;
const STEP_MAX: usize = 1 << 20;

/// How much faster is cleaned than appended.
const HASTE: usize = 4;

/// How far cleaning has come.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    /// Segments before this one are to be cleaned.
    target: Number,
    /// Where the next step begins.
    next: Option<Place>,
}

/// What a step found to be said in the oldest segment.
#[derive(Debug, Default)]
struct Said {
    tasks: BTreeSet<Sequence>,
    staged: BTreeSet<TxnId>,
}

impl State {
    /// Does what is due after something was appended. A failure is nobody's who appended: it is tried
    /// again after the next.
    pub(super) fn tidy(&mut self, appended: usize) {
        if let Err(fault) = self.roll_if_long() {
            tracing::warn!(?fault, "the journal could not go on in a new segment");
        }
        let budget = appended.saturating_mul(HASTE).clamp(STEP_MIN, STEP_MAX);
        if let Err(fault) = self.clean(budget) {
            tracing::error!(?fault, "the journal could not be cleaned");
            self.cleaning = Cleaning::default();
        }
    }

    fn roll_if_long(&mut self) -> Result<()> {
        if self.journal.end().offset < self.segment_length() {
            return Ok(());
        }
        self.roll()?;
        self.cleaning.target = self.target();
        Ok(())
    }

    /// From how many bytes on the journal goes on in a new segment. Not before there is half as much in this one as it
    /// began with, or else what segments begin with would be nearly all that is written.
    fn segment_length(&self) -> u64 {
        let base_end = self.journal.base_end();
        let length = self.segment_size.max(base_end + base_end / 2);
        length.min(SEGMENT_SIZE_MAX)
    }

    fn roll(&mut self) -> Result<()> {
        let (mut entered, book) = self.enter()?;
        entered.roll((BASE, &book.base()?))
    }

    /// Up to which segment to clean, so that what is there is about twice what is needed.
    fn target(&self) -> Number {
        let oldest = self.journal.oldest();
        let count = u64::from(self.journal.end().segment - oldest);
        let for_tasks = self
            .segment_length()
            .saturating_sub(self.journal.base_end());
        // At the limit of a segment's length what it begins with may leave nothing.
        let for_tasks = for_tasks.max(self.segment_size / 2);
        let spare = self.book.size() * 2 / for_tasks + 1;
        let excess = Number::try_from(count.saturating_sub(spare)).unwrap_or(Number::MAX);
        oldest.saturating_add(excess)
    }

    /// Cleans a bit of the oldest segment, if that is due.
    fn clean(&mut self, budget: usize) -> Result<()> {
        let oldest = self.journal.oldest();
        if oldest < self.cleaning.target && oldest < self.journal.end().segment {
            self.step(budget)?;
        }
        Ok(())
    }

    /// Gives back all the space that can be, in steps between which others go on.
    pub(super) fn begin_compaction(&mut self) -> Result<Number> {
        self.roll()?;
        Ok(self.journal.end().segment)
    }

    /// Cleans a bit of the segments before `target`; returns whether there is more to clean.
    pub(super) fn compact(&mut self, target: Number) -> Result<bool> {
        if self.journal.oldest() < target {
            self.step(STEP_MAX)?;
        }
        Ok(self.journal.oldest() < target)
    }

    fn step(&mut self, budget: usize) -> Result<()> {
        let next = self.cleaning.next.take();
        let (mut entered, book) = self.enter()?;
        let oldest = entered.oldest();
        let from = next.filter(|next| next.segment == oldest).unwrap_or(Place {
            segment: oldest,
            offset: 0,
        });
        let (said, next) = look(&mut entered, from, budget)?;
        say_again(&mut entered, book, &said)?;
        if next.is_none() {
            entered.remove_oldest()?;
        }
        drop(entered);
        self.cleaning.next = next.map(|offset| Place { offset, ..from });
        Ok(())
    }
}

/// Looks what a bit of a segment says; returns where to go on.
fn look(entered: &mut Entered<'_>, from: Place, budget: usize) -> Result<(Said, Option<u64>)> {
    let mut said = Said::default();
    let next = entered.revisit(from, &mut |at, frame| {
        if frame.label.record_type != super::journal::REMOVED {
            said.add(book::read(frame)?);
        }
        Ok(at.offset - from.offset < budget as u64)
    })?;
    Ok((said, next))
}

impl Said {
    fn add(&mut self, page: Page<'_>) {
        for fact in page.facts {
            match fact {
                Fact::Task(sequence, _) | Fact::Moved(sequence, _) => {
                    self.tasks.insert(sequence);
                }
                Fact::Staged(txn, _) => {
                    self.staged.insert(txn);
                }
                _ => {}
            }
        }
    }
}

/// Says again at the end what is still true.
fn say_again(entered: &mut Entered<'_>, book: &mut Book, said: &Said) -> Result<()> {
    let mut draft = entered.draft();
    let mut shelf = Shelf::new(book::blobs_of(draft.next()), &mut book.shared);
    let mut facts = Vec::new();
    for sequence in &said.tasks {
        let entry = book.ledger.task(*sequence);
        let Some(entry) = entry.filter(|entry| entry.body.is_in(entered.oldest())) else {
            continue;
        };
        let mut entry = entry.clone();
        entry.body = shelf.take_over(&entry.body, entered)?;
        facts.push(Fact::Task(*sequence, Cow::Owned(entry)));
    }
    for txn in &said.staged {
        let staged = book.ledger.staged(*txn);
        facts.extend(staged.map(|staged| Fact::Staged(*txn, Cow::Owned(staged.clone()))));
    }
    let blobs = shelf.blobs()?;
    if facts.is_empty() {
        return Ok(());
    }
    let page = Page::of(book.latest, facts);
    page.write(&mut draft, &blobs)?;
    failpoint::hit("file.compact.before_write");
    entered.append(&draft)?;
    failpoint::hit("file.compact.after_write");
    book.ledger.take_up(page.facts);
    Ok(())
}

impl Book {
    /// About how many bytes of the journal are needed.
    fn size(&self) -> u64 {
        self.ledger
            .tasks()
            .map(|entry| entry.body.size() + ENTRY_SIZE)
            .sum()
    }
}

/// About how much there is in the journal of a task beside its body.
const ENTRY_SIZE: u64 = 128;
