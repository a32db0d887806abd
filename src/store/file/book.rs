//! What a process knows of a store: the ledger that it has read from the journal, and how it is
//! written there.
//!
//! The body of a record is the length of its blobs, the blobs, and a [`Page`] of facts.

use serde::{Deserialize, Serialize};

use super::body::{Body, Shared};
use super::error::{Fault, Result};
use super::journal::frame::Frame;
use super::journal::{Draft, Place};
use crate::codec;
use crate::store::Kind;
use crate::store::ledger::{Fact, Ledger};
use crate::time::Timestamp;

/// A record with which a segment begins: all but the tasks and the staged batches.
pub(super) const BASE: u8 = 1;

/// A record of what an operation did.
const CHANGES: u8 = 2;

/// The bytes before the blobs: their length.
pub(super) const BLOBS_LENGTH: usize = 4;

/// What a record says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Page<'l> {
    /// When it was written, by the clock of the store.
    pub(super) at: Timestamp,
    /// In which folder the store was made or adopted, where that is said.
    pub(super) fingerprint: Option<String>,
    pub(super) facts: Vec<Fact<'l, Body>>,
}

impl<'l> Page<'l> {
    /// What is so since an operation that was done at `at`.
    pub(super) fn of(at: Timestamp, facts: Vec<Fact<'l, Body>>) -> Self {
        Self {
            at,
            fingerprint: None,
            facts,
        }
    }

    /// Adds a record that says this to a draft, unless there is nothing to say.
    pub(super) fn write(&self, draft: &mut Draft, blobs: &[u8]) -> Result<()> {
        if self.facts.is_empty() {
            return Ok(());
        }
        let page = codec::encode(self)?;
        let length = u32::try_from(blobs.len()).unwrap_or(u32::MAX).to_le_bytes();
        draft.push((CHANGES, &[&length, blobs, &page]))?;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) ledger: Ledger<Body>,
    pub(super) shared: Shared,
    /// The latest instant of any record.
    pub(super) latest: Timestamp,
    pub(super) fingerprint: String,
}

impl Book {
    /// An empty book of a store that is made in the folder of this fingerprint.
    pub(super) fn new(fingerprint: String) -> Self {
        let mut ledger = Ledger::default();
        ledger.track();
        Self {
            ledger,
            shared: Shared::default(),
            latest: Timestamp::EPOCH,
            fingerprint,
        }
    }

    /// Takes up what a record says.
    pub(super) fn take_up(&mut self, frame: Frame<'_>) -> Result<()> {
        let mut page = read(frame)?;
        for fact in &mut page.facts {
            if let Fact::Task(_, entry) = fact {
                self.shared.share(entry.to_mut());
            }
        }
        self.ledger.take_up(page.facts);
        self.latest = self.latest.max(page.at);
        self.fingerprint = page
            .fingerprint
            .unwrap_or_else(|| std::mem::take(&mut self.fingerprint));
        Ok(())
    }

    /// The body of the record that a segment begins with.
    pub(super) fn base(&self) -> Result<Vec<u8>> {
        let page = Page {
            at: self.latest,
            fingerprint: Some(self.fingerprint.clone()),
            facts: self.ledger.rest(),
        };
        let mut body = vec![0; BLOBS_LENGTH];
        body.extend(codec::encode(&page)?);
        Ok(body)
    }
}

/// Reads what a record says.
pub(super) fn read(frame: Frame<'_>) -> Result<Page<'static>> {
    let malformed = || Fault::from(Kind::Corrupt("a record has no facts".to_owned()));
    let (length, rest) = frame.body.split_first_chunk().ok_or_else(malformed)?;
    let facts = rest.get(u32::from_le_bytes(*length) as usize..);
    Ok(codec::decode(facts.ok_or_else(malformed)?)?)
}

/// Where the first blob of a record is that is at `at`.
pub(super) fn blobs_of(at: Place) -> Place {
    Place {
        offset: at.offset + (super::journal::frame::HEAD_LENGTH + BLOBS_LENGTH) as u64,
        ..at
    }
}
