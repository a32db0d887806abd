//! What all threads of a store share: the journal, and the book that was read from it.

use std::sync::Arc;

use super::book::{BASE, Book};
use super::compact::Cleaning;
use super::error::Result;
use super::journal::{Entered, Journal};
use crate::store::notify::Bell;
use crate::time::Monotonic;

pub(super) struct State {
    pub(super) journal: Journal,
    pub(super) book: Book,
    pub(super) cleaning: Cleaning,
    pub(super) segment_size: u64,
    pub(super) bell: Arc<Bell>,
    pub(super) clock: Arc<Monotonic>,
}

impl State {
    /// Keeps others from appending, and takes up what they have appended.
    pub(super) fn enter(&mut self) -> Result<(Entered<'_>, &mut Book)> {
        if self.journal.is_lost()? {
            self.begin_anew()?;
        }
        let mut entered = self.journal.enter()?;
        let book = &mut self.book;
        let mut count = 0;
        entered.catch_up(&mut |_, frame| {
            count += 1;
            book.take_up(frame)
        })?;
        // Whoever waits in this process has not been told by those who appended.
        if count > 0 {
            self.bell.ring();
        }
        Ok((entered, book))
    }

    /// Opens the store again: for one who has not looked for so long that what it has not read yet is
    /// given up in part.
    fn begin_anew(&mut self) -> Result<()> {
        let mut book = Book::new(String::new());
        self.journal
            .open_again(&mut |_, frame| book.take_up(frame))?;
        self.book = book;
        self.cleaning = Cleaning::default();
        self.bell.ring();
        Ok(())
    }

    /// Writes down that the store is to be believed where it is now.
    pub(super) fn adopt(&mut self) -> Result<()> {
        let (mut entered, book) = self.enter()?;
        book.fingerprint = entered.folder().fingerprint()?;
        entered.roll((BASE, &book.base()?))
    }

    /// Takes up what others have appended, if there is anything.
    pub(super) fn refresh(&mut self) -> Result<()> {
        if self.journal.is_behind()? {
            self.enter()?;
        }
        Ok(())
    }
}
