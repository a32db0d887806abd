//! Tasks as the store keeps them: fields in `MessagePack`, all of them texts, behind a mark that most often says their
//! state. A claim that is not logged is kept beside its task.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use redis::Value;

use super::error::{Fault, Result};
use super::reply;
use crate::codec;
use crate::id::ConsumerId;
use crate::store::Listed;
use crate::task::{DeadReason, Record, State};
use crate::time::Timestamp;

/// How long the token and the sequence are that an unlogged claim begins with.
const CLAIM_HEAD: usize = 48;

/// How much of that is the holder.
const HOLDER: usize = 16;

/// How many digits say how many places a group has.
const LIMIT: usize = 4;

/// A task: a mark, and fields by name.
struct Fields<'v> {
    mark: u8,
    texts: BTreeMap<&'v [u8], &'v [u8]>,
}

impl<'v> Fields<'v> {
    fn read(kept: &'v Value) -> Result<Self> {
        let read = |bytes: &'v [u8]| {
            let (mark, fields) = bytes.split_first()?;
            let mut reader = Reader(fields);
            if matches!(mark, b':' | b'=') {
                reader.limits()?;
                reader.sized()?;
                reader.sized()?;
            }
            let count = reader.map()?;
            let texts = (0..count).map(|_| Some((reader.text()?, reader.text()?)));
            Some(Self {
                mark: *mark,
                texts: texts.collect::<Option<_>>()?,
            })
        };
        read(reply::bytes(kept)?).ok_or_else(|| Fault::corrupt("its fields cannot be read"))
    }

    /// The state that the mark says, or a field where the mark says none.
    fn state(&self) -> Result<State> {
        match self.mark {
            b'.' | b':' | b',' => Ok(State::Ready),
            b'=' => Ok(State::Waiting),
            b';' => Ok(State::Claimed),
            _ => {
                let state = self.text("state")?.and_then(State::from_name);
                state.ok_or_else(|| Fault::corrupt("its state is missing"))
            }
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'v str>> {
        let text = self.texts.get(name.as_bytes()).copied();
        text.map(std::str::from_utf8)
            .transpose()
            .map_err(|_| Fault::corrupt(format!("its field `{name}` is not a text")))
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let text = self.text(name)?;
        text.map(|text| parsed(name, text)).transpose()
    }

    fn at(&self, name: &str) -> Result<Option<Timestamp>> {
        Ok(self.parsed(name)?.map(Timestamp::from_micros))
    }

    fn count(&self, name: &str) -> Result<u32> {
        Ok(self.parsed(name)?.unwrap_or(0))
    }
}

fn parsed<T: FromStr>(name: &str, text: &str) -> Result<T> {
    let unread = |_| Fault::corrupt(format!("its field `{name}` is `{text}`"));
    text.parse().map_err(unread)
}

/// What is kept of a new task that is Ready at once, but for when it was published and its sequence: the script adds
/// these behind it, where it ends with the name of the first.
pub(super) fn new(record: &Record) -> Vec<u8> {
    let options = &record.options;
    let span = |span: Duration| span.as_micros().to_string();
    let fields = [
        ("queue", Some(record.queue.to_string())),
        ("priority", Some(options.priority.to_string())),
        ("ageing", options.ageing.map(span)),
        ("retention", options.retention.map(span)),
    ];
    let fields: Vec<_> = fields
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
        .collect();
    let mark = if options.retention.is_some() {
        b','
    } else {
        b'.'
    };
    // A map of so many, of at most six.
    let count = u8::try_from(fields.len() + ADDED).unwrap_or_default();
    let mut kept = vec![mark, 0x80 | count];
    for (name, text) in &fields {
        push_text(&mut kept, name);
        push_text(&mut kept, text);
    }
    push_text(&mut kept, "published_at");
    kept
}

/// How many fields a script adds.
const ADDED: usize = 2;

fn push_text(kept: &mut Vec<u8>, text: &str) {
    let size = text.len();
    match u8::try_from(size) {
        Ok(size) if size < 32 => kept.push(0xa0 | size),
        Ok(size) => kept.extend([0xd9, size]),
        // A name of a queue is shorter.
        Err(_) => {
            kept.push(0xdb);
            kept.extend(u32::try_from(size).unwrap_or_default().to_be_bytes());
        }
    }
    kept.extend(text.as_bytes());
}

/// Reads of `MessagePack` what scripts write: texts, and how many there are of them. `None` is anything else.
struct Reader<'v>(&'v [u8]);

impl<'v> Reader<'v> {
    fn take(&mut self, size: usize) -> Option<&'v [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes a number of so many bytes, big-endian.
    fn number(&mut self, size: usize) -> Option<usize> {
        let bytes = self.take(size)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| (number << 8) | usize::from(*byte)),
        )
    }

    /// Takes a name, which has its length before it.
    fn sized(&mut self) -> Option<&'v [u8]> {
        let size = self.number(1)?;
        self.take(size)
    }

    /// Takes a key, a group and how many places that has.
    fn limits(&mut self) -> Option<()> {
        self.sized()?;
        self.sized()?;
        self.take(LIMIT).map(drop)
    }

    fn map(&mut self) -> Option<usize> {
        match self.number(1)? {
            head @ 0x80..=0x8f => Some(head - 0x80),
            0xde => self.number(2),
            _ => None,
        }
    }

    fn array(&mut self) -> Option<usize> {
        match self.number(1)? {
            head @ 0x90..=0x9f => Some(head - 0x90),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'v [u8]> {
        let size = match self.number(1)? {
            head @ 0xa0..=0xbf => head - 0xa0,
            0xd9 => self.number(1)?,
            0xda => self.number(2)?,
            0xdb => self.number(4)?,
            _ => return None,
        };
        self.take(size)
    }
}

/// Reads what a script shows of a task, and its sequence in the order of publishing.
pub(super) fn shown(value: Value) -> Result<(u64, Listed)> {
    let parts = reply::list(value)?;
    let [kept, claim, body, id] = &parts[..] else {
        return Err(Fault::corrupt("a task is incomplete"));
    };
    let read = || {
        let fields = Fields::read(kept)?;
        let sequence = fields.parsed("seq")?;
        let sequence = sequence.ok_or_else(|| Fault::corrupt("its sequence is missing"))?;
        Ok((sequence, read_listed(&fields, claim, body)?))
    };
    let id = reply::text(id)?;
    read().map_err(|fault: Fault| fault.of_task(&id))
}

fn read_listed(fields: &Fields<'_>, claim: &Value, body: &Value) -> Result<Listed> {
    let mut record = read_record(fields, body)?;
    let (holder, claimed_at) = match claim {
        Value::Nil => (fields.text("holder")?, fields.at("claimed_at")?),
        claim => {
            record.state = State::Claimed;
            return unlogged(record, reply::bytes(claim)?);
        }
    };
    let name = fields.text("holder_name")?.unwrap_or_default();
    let holder = holder.map(|holder| consumer(holder, name)).transpose()?;
    Ok(Listed {
        record,
        holder,
        claimed_at,
    })
}

/// A task with a claim that is not logged.
fn unlogged(record: Record, claim: &[u8]) -> Result<Listed> {
    let read = || {
        let holder = claim.get(..HOLDER)?;
        let mut rest = Reader(claim.get(CLAIM_HEAD..)?);
        rest.limits()?;
        rest.array()?;
        let texts = [holder, rest.text()?, rest.text()?].map(std::str::from_utf8);
        let [Ok(holder), Ok(at), Ok(name)] = texts else {
            return None;
        };
        Some((holder, at, name))
    };
    let (holder, at, name) = read().ok_or_else(|| Fault::corrupt("its claim cannot be read"))?;
    Ok(Listed {
        record,
        holder: Some(consumer(holder, name)?),
        claimed_at: Some(Timestamp::from_micros(parsed("claimed_at", at)?)),
    })
}

fn consumer(holder: &str, name: &str) -> Result<ConsumerId> {
    Ok(ConsumerId {
        incarnation: parsed("holder", holder)?,
        name: name.to_owned(),
    })
}

/// Reads a task that was claimed.
pub(super) fn claimed(kept: &Value, body: &Value) -> Result<Record> {
    let mut record = read_record(&Fields::read(kept)?, body)?;
    record.state = State::Claimed;
    Ok(record)
}

fn read_record(fields: &Fields<'_>, body: &Value) -> Result<Record> {
    let Value::BulkString(body) = body else {
        return Err(Fault::corrupt("its body is missing"));
    };
    let mut record: Record = codec::decode(body)?;
    record.state = fields.state()?;
    if let Some(queue) = fields.text("queue")?
        && record.queue != *queue
    {
        record.queue = queue.into();
    }
    record.published_at = fields.at("published_at")?;
    record.not_before = fields.at("not_before")?;
    record.counts.attempts = fields.count("attempts")?;
    record.counts.conflicts = fields.count("conflicts")?;
    record.counts.reclaims = fields.count("reclaims")?;
    let account = fields.texts.get(&b"account"[..]);
    record.account = account.map(|account| codec::decode(account)).transpose()?;
    record.dead = fields.text("dead")?.and_then(dead_reason);
    record.ended_at = fields.at("ended_at")?;
    record.progress = fields.text("progress")?.map(str::to_owned);
    Ok(record)
}

fn dead_reason(name: &str) -> Option<DeadReason> {
    let all = [
        DeadReason::Failed,
        DeadReason::Reclaimed,
        DeadReason::Expired,
    ];
    all.into_iter().find(|reason| reason.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_read_as_scripts_write_them() {
        for (head, size) in [
            (vec![0xa3], 3),
            (vec![0xd9, 200], 200),
            (vec![0xda, 1, 44], 300),
            (vec![0xdb, 0, 1, 0, 0], 65_536),
        ] {
            let bytes = [head, vec![b'x'; size]].concat();
            let mut reader = Reader(&bytes);
            assert_eq!(reader.text().map(<[u8]>::len), Some(size));
            assert_eq!(reader.text(), None);
        }
    }

    #[test]
    fn a_new_task_is_kept_as_it_is_read() {
        for length in [1, 31, 32, 255, 256, 70_000] {
            let mut kept = Vec::new();
            push_text(&mut kept, &"x".repeat(length));
            let mut reader = Reader(&kept);
            assert_eq!(reader.text().map(<[u8]>::len), Some(length));
            assert_eq!(reader.text(), None);
        }
    }

    #[test]
    fn what_scripts_never_write_is_not_read() {
        for bytes in [&[][..], &[0xa3, b'x'], &[0xc0], &[0xd9], &[7]] {
            assert_eq!(Reader(bytes).text(), None);
        }
        assert_eq!(
            (Reader(&[0x82]).map(), Reader(&[0x92]).map()),
            (Some(2), None)
        );
        assert_eq!(
            (Reader(&[0xde, 0, 20]).map(), Reader(&[0x92]).array()),
            (Some(20), Some(2))
        );
    }
}
