//! Garbage collection of outcome records: none is forgotten while anybody may still ask for it.
//!
//! Who may ask is the owner of the transaction, until it knows the outcome or its incarnation is closed,
//! and every holder that the record names, until no crash can bring its batch back to staged. Hence the
//! order: close the dead incarnations; *then* read the records; *then* ask the holders; delete exactly
//! what was read and released. Deleting "what nobody holds" in one step would take a record that was
//! written after the holders were asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{Incarnation, ResourceId, TxnId};
use crate::register::{Decision, IncarnationRow, OutcomeRow, Register, RegisterError, Registers};

/// How many records are read at once.
const PAGE: usize = 1_000;

/// How many of its own records an owner lets gather before it collects them.
const KNOWN_MAX: usize = 64;

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Collected {
    /// Outcome records of committed transactions that were forgotten.
    pub forgotten: usize,
    /// Incarnations that were dropped, with their records of aborted transactions.
    pub dropped: usize,
}

/// Which transactions each holder has released.
pub type Released = BTreeMap<ResourceId, BTreeSet<TxnId>>;

/// Picks the incarnations to close: proved dead, and not closed yet.
#[must_use]
pub fn to_close(incarnations: &[IncarnationRow], departed: &[Incarnation]) -> Vec<Incarnation> {
    incarnations
        .iter()
        .filter(|row| !row.closed && departed.contains(&row.incarnation))
        .map(|row| row.incarnation)
        .collect()
}

/// Picks the records that may be forgotten once their holders agree: commits, of an incarnation that
/// was closed before the records were read, or whose owner `knows` the outcome.
///
/// Records of aborted transactions go with their incarnation, never alone: they keep a late commit out.
#[must_use]
pub fn candidates(
    rows: Vec<OutcomeRow>,
    closed: &BTreeSet<Incarnation>,
    knows: &BTreeSet<TxnId>,
) -> Vec<OutcomeRow> {
    let mut rows = rows;
    rows.retain(|row| {
        row.decision == Decision::Committed
            && (closed.contains(&row.txn.incarnation) || knows.contains(&row.txn))
    });
    rows
}

/// Picks, from the records read, those that every holder they name has released. A holder that was not
/// asked, or did not answer, has released nothing.
#[must_use]
pub fn released_by_all(rows: &[OutcomeRow], released: &Released) -> Vec<TxnId> {
    let by = |holder: &ResourceId, txn| released.get(holder).is_some_and(|of| of.contains(txn));
    rows.iter()
        .filter(|row| row.stores.iter().all(|holder| by(holder, &row.txn)))
        .map(|row| row.txn)
        .collect()
}

/// Collects the garbage of every register that is known. One that fails is logged and left for the
/// next time: what is not collected does no harm.
pub(super) fn collect_all(registers: &Registers) -> Collected {
    let mut total = Collected {
        forgotten: collect_own(registers),
        ..Collected::default()
    };
    let all = registers.all();
    let strangers = |register: &Arc<dyn Register>| or_later(strangers(&**register, registers));
    let strange: Vec<_> = all
        .iter()
        .map(|register| (register, strangers(register)))
        .filter(|(_, incarnations)| !incarnations.is_empty())
        .collect();
    // A process that is proved dead to one register is dead to all: most databases cannot tell.
    let departed: Vec<_> = strange
        .iter()
        .flat_map(|(register, _)| or_later(register.departed()))
        .collect();
    for (register, incarnations) in strange {
        let collected = or_later(collect(&**register, registers, &incarnations, &departed));
        total.forgotten += collected.forgotten;
        total.dropped += collected.dropped;
    }
    total
}

/// Returns the processes that may still be at work: enrolled somewhere, and nowhere closed or known to be
/// dead.
pub(super) fn living(registers: &Registers) -> Result<BTreeSet<Incarnation>, RegisterError> {
    let (mut enrolled, mut departed) = (BTreeSet::new(), BTreeSet::new());
    for register in registers.all() {
        for row in register.incarnations()? {
            let of = if row.closed {
                &mut departed
            } else {
                &mut enrolled
            };
            of.insert(row.incarnation);
        }
        departed.extend(register.departed()?);
    }
    Ok(&enrolled - &departed)
}

/// Forgets what the owners in this process know, which nobody else may; returns how many records went.
pub(super) fn collect_own(registers: &Registers) -> usize {
    let all = registers.all().into_iter();
    all.map(|register| or_later(collect_known(&*register, registers)))
        .sum()
}

pub(super) fn or_later<T: Default>(result: Result<T, RegisterError>) -> T {
    result.unwrap_or_else(|error| {
        tracing::warn!(%error, "garbage was left for the next time");
        T::default()
    })
}

/// Reads the incarnations that this manager did not enrol itself.
fn strangers(
    register: &dyn Register,
    registers: &Registers,
) -> Result<Vec<IncarnationRow>, RegisterError> {
    let mut incarnations = register.incarnations()?;
    let resource = register.resource();
    incarnations.retain(|row| !registers.has_enrolled(resource, row.incarnation));
    Ok(incarnations)
}

fn collect(
    register: &dyn Register,
    registers: &Registers,
    incarnations: &[IncarnationRow],
    departed: &[Incarnation],
) -> Result<Collected, RegisterError> {
    let mut collected = Collected::default();
    for incarnation in close_departed(register, incarnations, departed)? {
        let rows = read_commits(register, incarnation)?;
        collected.forgotten += forget_released(register, registers, &rows)?;
        collected.dropped += usize::from(register.drop_incarnation(incarnation)?);
    }
    Ok(collected)
}

/// Closes what is proved dead, then returns all that is closed, and is so on disk.
fn close_departed(
    register: &dyn Register,
    incarnations: &[IncarnationRow],
    departed: &[Incarnation],
) -> Result<Vec<Incarnation>, RegisterError> {
    let mut closed = to_close(incarnations, departed);
    for incarnation in &closed {
        register.close(*incarnation)?;
    }
    let before = incarnations.iter().filter(|row| row.closed);
    closed.extend(before.map(|row| row.incarnation));
    Ok(closed)
}

/// Reads the commit records of one closed incarnation.
fn read_commits(
    register: &dyn Register,
    closed: Incarnation,
) -> Result<Vec<OutcomeRow>, RegisterError> {
    let mut commits = Vec::new();
    let mut after = TxnId {
        incarnation: closed,
        sequence: 0,
    };
    loop {
        let page = register.outcomes(Some(after), PAGE)?;
        let last = page.last().map(|row| row.txn);
        let is_full = page.len() == PAGE;
        let of_closed = BTreeSet::from([closed]);
        commits.extend(candidates(page, &of_closed, &BTreeSet::new()));
        match last {
            Some(last) if is_full && last.incarnation == closed => after = last,
            _ => return Ok(commits),
        }
    }
}

/// Asks every holder that the records name, then forgets what all of them released.
fn forget_released(
    register: &dyn Register,
    registers: &Registers,
    rows: &[OutcomeRow],
) -> Result<usize, RegisterError> {
    let txns = released_by_all(rows, &ask_holders(registers, rows));
    if txns.is_empty() {
        return Ok(0);
    }
    register.forget(&txns)
}

fn ask_holders(registers: &Registers, rows: &[OutcomeRow]) -> Released {
    let mut held: BTreeMap<ResourceId, Vec<TxnId>> = BTreeMap::new();
    for row in rows {
        for holder in &row.stores {
            held.entry(*holder).or_default().push(row.txn);
        }
    }
    let ask = |(holder, txns): (ResourceId, Vec<TxnId>)| {
        let found = registers.find_holder(holder)?;
        match found.forgettable(&txns) {
            Ok(released) => Some((holder, released.into_iter().collect())),
            Err(error) => {
                tracing::warn!(%holder, %error, "outcome records are kept: their holder failed");
                None
            }
        }
    };
    held.into_iter().filter_map(ask).collect()
}

/// Notes a commit that its owner knows of, and forgets such records whenever enough have gathered.
pub(crate) fn note_committed(register: &dyn Register, registers: &Registers, row: OutcomeRow) {
    let resource = register.resource();
    registers.note_committed(resource, row);
    if registers
        .count_committed(resource)
        .is_multiple_of(KNOWN_MAX)
    {
        or_later(collect_known(register, registers));
    }
}

/// Forgets the records whose owner, in this process, knows the outcome.
fn collect_known(register: &dyn Register, registers: &Registers) -> Result<usize, RegisterError> {
    let settled = registers.take_committed(register.resource());
    if settled.is_empty() {
        return Ok(0);
    }
    let knows = settled.iter().map(|row| row.txn).collect();
    let rows = candidates(settled, &BTreeSet::new(), &knows);
    let txns = released_by_all(&rows, &ask_holders(registers, &rows));
    let result = register.forget(&txns);
    for row in rows {
        if result.is_err() || !txns.contains(&row.txn) {
            registers.note_committed(register.resource(), row);
        }
    }
    result
}
