//! Identities. This module owns how things are told apart: each id is unique for ever, never reused,
//! and has one text form.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::time::Timestamp;

/// A text that is not the id it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: expected {expected}")]
#[non_exhaustive]
pub struct ParseIdError {
    /// The text that was given.
    pub text: String,
    /// The name of the id's type, as people say it.
    pub what: &'static str,
    /// The form that would have been right.
    pub expected: &'static str,
}

/// Identifies a task: a `UUIDv7`, so that ids sort by the time of their enqueueing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(Uuid);

impl TaskId {
    /// Mints an id for a task enqueued at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let millis = u64::try_from(now.as_micros()).unwrap_or(0) / 1_000;
        // A version-4 UUID has its fixed bits where a version-7 one has them too.
        let [_, _, _, _, _, _, random @ ..] = Uuid::new_v4().into_bytes();
        Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Mints the id of the `number`th task of a transaction, enqueued at `now`.
    ///
    /// It asks for no randomness, which costs more than all the rest of enqueueing: the incarnation is
    /// random, its transactions are counted, and so are a transaction's tasks. Ids of one transaction
    /// and one millisecond sort as they were minted.
    #[must_use]
    pub fn within(txn: TxnId, number: u64, now: Timestamp) -> Self {
        let millis = u64::try_from(now.as_micros()).unwrap_or(0) / 1_000;
        let mixture = scatter(scatter(scatter(txn.incarnation.0) ^ txn.sequence) ^ number);
        let both = (u128::from(number) << 64) | u128::from(mixture);
        let [_, _, _, _, _, _, random @ ..] = both.to_be_bytes();
        Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Takes the 16 bytes that [`to_bytes`](Self::to_bytes) gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the id as 16 bytes, which sort as the id does.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        *self.0.as_bytes()
    }
}

/// Maps words to words, one to one, so that near ones come to be far apart (the finalizer of `SplitMix64`).
const fn scatter(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Identifies a place that can decide or hold a transaction's outcome: a store or an application
/// database. It is written into that place when it is made, so it survives a rename.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId(Uuid);

/// Identifies a store; a store is one kind of resource.
pub type StoreId = ResourceId;

impl ResourceId {
    /// Draws a new id at random.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Names a database that can [prepare](crate::register::Preparing) by its fingerprint: the same
    /// database has the same id wherever it is asked, and a copy of it has another.
    ///
    /// Such an id can be told from all others, so that whoever reads an outcome record knows which of
    /// those it lists must commit before anything becomes visible.
    #[must_use]
    pub fn of_preparing_database(fingerprint: [u8; 12]) -> Self {
        let mut bytes = [0; 16];
        // A UUID of version 8 keeps its version and variant in the seventh and the ninth byte.
        let free = (0..16).filter(|at| ![6, 8].contains(at));
        for (at, byte) in free.zip(fingerprint) {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Whether the id names a database that can prepare.
    #[must_use]
    pub fn is_preparing_database(self) -> bool {
        self.0.get_version_num() == 8
    }

    /// Takes the 16 bytes that [`to_bytes`](Self::to_bytes) gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the id as 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        *self.0.as_bytes()
    }

    /// Writes the id's text form into `buffer`.
    pub(crate) fn write_into(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

macro_rules! uuid_text {
    ($type:ident, $what:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.0)
            }
        }

        impl FromStr for $type {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError {
                    text: text.to_owned(),
                    what: $what,
                    expected: "a UUID such as 0197f0c4-6b1e-7b5a-9c39-5d9a1c0f3e21",
                })
            }
        }
    };
}

uuid_text!(TaskId, "task id");
uuid_text!(ResourceId, "resource id");

/// One start of one process, or of one consumer in it: 64 random bits, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Draws a new incarnation at random.
    #[must_use]
    pub fn random() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        // A version-4 UUID fixes 6 of its 128 bits; folding the halves leaves 64 random ones.
        Self(high.rotate_left(32) ^ low)
    }

    /// Takes the number that [`to_u64`](Self::to_u64) gave.
    #[must_use]
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the incarnation's 64 bits.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

impl FromStr for Incarnation {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        hex(text).map(Self).ok_or_else(|| ParseIdError {
            text: text.to_owned(),
            what: "incarnation",
            expected: "16 hexadecimal digits",
        })
    }
}

/// Identifies one attempt of one transaction: an incarnation and its 64-bit sequence.
///
/// Its text form is `incarnation-sequence`, both as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TxnId {
    /// The start of the process that began the transaction.
    pub incarnation: Incarnation,
    /// Counts the transactions of that incarnation, from 1.
    pub sequence: u64,
}

impl TxnId {
    /// Takes the 16 bytes that [`to_bytes`](Self::to_bytes) gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [incarnation, sequence] = halves(bytes);
        Self {
            incarnation: Incarnation(incarnation),
            sequence,
        }
    }

    /// Returns the id as 16 bytes, big-endian: incarnation, then sequence.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let wide = (u128::from(self.incarnation.0) << 64) | u128::from(self.sequence);
        wide.to_be_bytes()
    }
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.incarnation, self.sequence)
    }
}

impl fmt::Debug for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxnId({self})")
    }
}

impl FromStr for TxnId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let parse = || {
            let (incarnation, sequence) = text.split_once('-')?;
            Some(Self {
                incarnation: Incarnation(hex(incarnation)?),
                sequence: hex(sequence)?,
            })
        };
        parse().ok_or_else(|| ParseIdError {
            text: text.to_owned(),
            what: "transaction id",
            expected: "two groups of 16 hexadecimal digits joined by `-`",
        })
    }
}

/// A fencing token: proves that a claim is still the one that was given out.
///
/// Tokens are never reused, not even after a power loss that takes back the claim, because they hold
/// the claimer's incarnation and a counter that lives only as long as that incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The incarnation that claimed.
    pub incarnation: Incarnation,
    /// Counts the claims made by this process, from 1; numbers may be left out.
    pub count: u64,
}

static TOKEN_COUNT: AtomicU64 = AtomicU64::new(1);

impl Token {
    /// Mints the next token for a claim by `incarnation`.
    #[must_use]
    pub fn next(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            count: TOKEN_COUNT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Mints tokens for so many claims, whose counts follow each other, and returns the first.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(crate) fn next_of(incarnation: Incarnation, claims: u64) -> Self {
        Self {
            incarnation,
            count: TOKEN_COUNT.fetch_add(claims, Ordering::Relaxed),
        }
    }

    /// Takes the 16 bytes that [`to_bytes`](Self::to_bytes) gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [incarnation, count] = halves(bytes);
        Self {
            incarnation: Incarnation(incarnation),
            count,
        }
    }

    /// Returns the token as 16 bytes, big-endian: incarnation, then count.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.incarnation.0) << 64) | u128::from(self.count)).to_be_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}-{:x})", self.incarnation, self.count)
    }
}

/// Identifies one start of one consumer: its incarnation, and the name that people gave it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConsumerId {
    /// Whose liveness stands for the claims.
    pub incarnation: Incarnation,
    /// The configured name, such as `web-1`.
    pub name: String,
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.incarnation)
    }
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let (high, low) = Uuid::from_bytes(bytes).as_u64_pair();
    [high, low]
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_preparing_database_keeps_all_of_its_fingerprint() {
        let of = ResourceId::of_preparing_database;
        let plain = of([0; 12]);
        assert!(plain.is_preparing_database() && !ResourceId::random().is_preparing_database());
        for at in 0..12 {
            let mut other = [0; 12];
            other[at] = 0xff;
            let id = of(other);
            assert!(id != plain && id.is_preparing_database());
        }
    }

    #[test]
    fn every_id_survives_its_text_form() {
        let txn = TxnId {
            incarnation: Incarnation::random(),
            sequence: 7,
        };
        assert_eq!(txn.to_string().parse(), Ok(txn));
        assert_eq!(TxnId::from_bytes(txn.to_bytes()), txn);
        let task = TaskId::new(Timestamp::from_micros(1_700_000_000_000_000));
        assert_eq!(task.to_string().parse(), Ok(task));
        let resource = ResourceId::random();
        assert_eq!(resource.to_string().parse(), Ok(resource));
    }

    #[test]
    fn task_ids_sort_by_time() {
        let early = TaskId::new(Timestamp::from_micros(1_700_000_000_000_000));
        let late = TaskId::new(Timestamp::from_micros(1_700_000_000_002_000));
        assert!(early < late);
    }

    #[test]
    fn tasks_of_one_transaction_have_ids_of_their_own_in_the_order_of_minting() {
        let txn = TxnId {
            incarnation: Incarnation::random(),
            sequence: 7,
        };
        let ids: Vec<_> = (1..=4_000)
            .map(|number| TaskId::within(txn, number, Timestamp::EPOCH))
            .collect();
        assert!(ids.is_sorted_by(|earlier, later| earlier < later));
        assert_eq!(ids[0].0.get_version_num(), 7);
    }

    #[test]
    fn tasks_of_many_transactions_and_incarnations_have_ids_of_their_own() {
        let mut ids = std::collections::HashSet::new();
        for incarnation in (0..20).map(Incarnation) {
            for sequence in 1..500 {
                let txn = TxnId {
                    incarnation,
                    sequence,
                };
                ids.extend((1..4).map(|number| TaskId::within(txn, number, Timestamp::EPOCH)));
            }
        }
        assert_eq!(ids.len(), 20 * 499 * 3);
    }

    #[test]
    fn a_wrong_id_says_what_was_expected() {
        let error = "xyz".parse::<TxnId>().unwrap_err();
        assert!(error.to_string().contains("`xyz` is not a transaction id"));
    }
}
