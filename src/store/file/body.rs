//! What of a task stays on disk: its *body*, and what was remarked on it later.
//!
//! The blobs of a record lie before its facts, so that it is known where a blob will be as soon as it
//! is known where the record will be. Each has a checksum of its own, since it is read by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{Fault, Result};
use super::journal::segment::Number;
use super::journal::{Journal, Place};
use crate::codec;
use crate::store::Kind;
use crate::store::ledger::{Alike, Cold, Entry, Keeper};
use crate::task::{Account, Name, Options, Payload, Record};

/// The checksum at the end of a blob.
const CHECKSUM_LENGTH: usize = 4;

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    segment: Number,
    offset: u32,
    length: u32,
}

impl Span {
    /// Of what is not kept.
    const NOWHERE: Self = Self {
        segment: 0,
        offset: 0,
        length: 0,
    };
}

/// Where the parts of a task are that the ledger has no use for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Body {
    /// To be filtered by, so here and not there.
    #[serde(with = "shared_kind")]
    kind: Arc<Name>,
    home: Span,
    remarks: Option<Box<Remarks>>,
}

/// A kind as it is encoded.
mod shared_kind {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::task::Name;

    pub(super) fn serialize<S: Serializer>(kind: &Arc<Name>, to: S) -> Result<S::Ok, S::Error> {
        (**kind).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Name>, D::Error> {
        Name::deserialize(from).map(Arc::new)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Remarks {
    account: Option<Span>,
    progress: Option<Span>,
}

/// What is at home.
#[derive(Serialize, Deserialize)]
struct Said {
    payload: Payload,
    #[serde(with = "crate::task::unusual_options")]
    options: Arc<Options>,
}

impl Body {
    pub(super) fn kind(&self) -> &Name {
        &self.kind
    }

    /// Whether a part of it is in a segment.
    pub(super) fn is_in(&self, segment: Number) -> bool {
        self.spans().any(|span| span.segment == segment)
    }

    /// How many bytes it takes on disk.
    pub(super) fn size(&self) -> u64 {
        self.spans().map(|span| u64::from(span.length)).sum()
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        let remarks = self.remarks.iter();
        let remarks = remarks.flat_map(|remarks| [remarks.account, remarks.progress]);
        remarks.flatten().chain([self.home])
    }

    fn remarks(&mut self) -> &mut Remarks {
        self.remarks.get_or_insert_default()
    }
}

/// Reads the record of a task.
pub(super) fn record(entry: &Entry<Body>, journal: &mut Journal) -> Result<Record> {
    let Body {
        kind,
        home,
        remarks,
    } = &entry.body;
    let mut read = || -> Result<Record> {
        let said: Said = decode(*home, journal)?;
        let remarks = remarks.as_deref().cloned().unwrap_or_default();
        let account = remarks.account.map(|span| decode(span, journal));
        let progress = remarks.progress.map(|span| decode(span, journal));
        let cold = Cold {
            kind: Name::clone(kind),
            payload: said.payload,
            account: account.transpose()?,
            progress: progress.transpose()?,
        };
        Ok(Record {
            options: said.options,
            ..entry.record(cold)
        })
    };
    read().map_err(|fault| fault.of_task(entry.id()))
}

fn decode<T: DeserializeOwned>(span: Span, journal: &mut Journal) -> Result<T> {
    let bytes = read(span, journal)?;
    let (blob, _) = bytes
        .split_last_chunk::<CHECKSUM_LENGTH>()
        .unwrap_or((&[], &[0; 4]));
    Ok(codec::decode(blob)?)
}

/// Reads a blob with its checksum.
fn read(span: Span, journal: &mut Journal) -> Result<Vec<u8>> {
    let at = Place {
        segment: span.segment,
        offset: u64::from(span.offset),
    };
    let mut bytes = vec![0; span.length as usize];
    journal.read(at, &mut bytes)?;
    let sealed = bytes.split_last_chunk::<CHECKSUM_LENGTH>();
    let is_whole = sealed
        .is_some_and(|(blob, checksum)| crc32c::crc32c(blob) == u32::from_le_bytes(*checksum));
    if is_whole {
        return Ok(bytes);
    }
    Err(journal.corrupt(at, "a part of a task is not whole"))
}

/// Names and options that many tasks share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    names: BTreeSet<Arc<Name>>,
    options: Alike,
}

impl Shared {
    /// How many names are shared; who uses more has others for each task.
    const NAMES_MAX: usize = 10_000;

    /// Has a task share what others have too.
    pub(super) fn share(&mut self, entry: &mut Entry<Body>) {
        entry.queue = Name::clone(&self.name(&entry.queue));
        entry.body.kind = self.name(&entry.body.kind);
        entry.options = self.options.share(&entry.options);
    }

    fn name(&mut self, name: &Name) -> Arc<Name> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name = Arc::new(name.clone());
        if self.names.len() < Self::NAMES_MAX {
            self.names.insert(Arc::clone(&name));
        }
        name
    }
}

/// Collects the blobs of one record.
pub(super) struct Shelf<'s> {
    /// Where the first will be.
    place: Place,
    pub(super) blobs: Vec<u8>,
    shared: &'s mut Shared,
    /// The first that could not be encoded.
    failed: Option<Fault>,
}

impl<'s> Shelf<'s> {
    pub(super) fn new(place: Place, shared: &'s mut Shared) -> Self {
        Self {
            place,
            blobs: Vec::new(),
            shared,
            failed: None,
        }
    }

    /// Ends with what could not be encoded, if there was any.
    pub(super) fn blobs(self) -> Result<Vec<u8>> {
        self.failed.map_or(Ok(self.blobs), Err)
    }

    /// Takes over the parts of a body.
    pub(super) fn take_over(&mut self, body: &Body, journal: &mut Journal) -> Result<Body> {
        let mut copy = |span: Span| -> Result<Span> {
            let start = self.blobs.len();
            self.blobs.extend(read(span, journal)?);
            self.span(start)
        };
        let remarks = body.remarks.as_deref().cloned().unwrap_or_default();
        let copied = Body {
            kind: Arc::clone(&body.kind),
            home: copy(body.home)?,
            remarks: body.remarks.is_some().then(Box::default),
        };
        let remarks = Remarks {
            account: remarks.account.map(&mut copy).transpose()?,
            progress: remarks.progress.map(copy).transpose()?,
        };
        let remarks = copied.remarks.is_some().then(|| Box::new(remarks));
        Ok(Body { remarks, ..copied })
    }

    /// Where the blob is that begins at `start` and ends the shelf.
    fn span(&self, start: usize) -> Result<Span> {
        let offset = self.place.offset + start as u64;
        let length = self.blobs.len() - start;
        match (u32::try_from(offset), u32::try_from(length)) {
            (Ok(offset), Ok(length)) => Ok(Span {
                segment: self.place.segment,
                offset,
                length,
            }),
            _ => Err(Kind::Invalid("a segment is longer than 4 GiB".to_owned()).into()),
        }
    }

    /// Puts a value on the shelf. Where it cannot be, the whole record fails in the end.
    fn put<T: Serialize>(&mut self, value: &T) -> Span {
        let start = self.blobs.len();
        let encoded = codec::encode_into(value, &mut self.blobs).map_err(Fault::from);
        let put = encoded.and_then(|()| {
            let checksum = crc32c::crc32c(self.blobs.get(start..).unwrap_or_default());
            self.blobs.extend_from_slice(&checksum.to_le_bytes());
            self.span(start)
        });
        put.unwrap_or_else(|fault| {
            self.failed.get_or_insert(fault);
            Span::NOWHERE
        })
    }
}

/// What the ledger needs of the options of a task.
fn needed(options: &Options) -> Options {
    Options {
        priority: options.priority,
        ageing: options.ageing,
        expires_at: options.expires_at,
        unique: options.unique.clone(),
        group: options.group.clone(),
        group_limit: options.group_limit,
        about: options.about.clone(),
        retention: options.retention,
        ghost: options.ghost,
        ..Options::default()
    }
}

impl Keeper<Body> for Shelf<'_> {
    fn keep(&mut self, record: &Record) -> Body {
        let said = Said {
            payload: record.payload.clone(),
            options: Arc::clone(&record.options),
        };
        let mut body = Body {
            kind: self.shared.name(&record.kind),
            home: self.put(&said),
            remarks: None,
        };
        // One that comes from another store has a history.
        if let Some(account) = &record.account {
            self.account(&mut body, account);
        }
        if let Some(progress) = &record.progress {
            self.progress(&mut body, Some(progress));
        }
        body
    }

    fn options(&mut self, record: &Record) -> Arc<Options> {
        if record.options.are_usual() {
            return Arc::clone(&record.options);
        }
        self.shared.options.share(&needed(&record.options).shared())
    }

    fn account(&mut self, body: &mut Body, account: &Account) {
        body.remarks().account = Some(self.put(account));
    }

    fn progress(&mut self, body: &mut Body, progress: Option<&str>) {
        match progress {
            Some(text) => body.remarks().progress = Some(self.put(&text)),
            None => {
                if let Some(remarks) = &mut body.remarks {
                    remarks.progress = None;
                }
            }
        }
    }
}

/// Keeps nothing: for batches that are only tried.
pub(super) struct Trial;

impl Keeper<Body> for Trial {
    fn keep(&mut self, record: &Record) -> Body {
        Body {
            kind: Arc::new(record.kind.clone()),
            home: Span::NOWHERE,
            remarks: None,
        }
    }

    fn account(&mut self, _: &mut Body, _: &Account) {}

    fn progress(&mut self, _: &mut Body, _: Option<&str>) {}
}
