//! Entries by name that mean nothing any more: of keys that claims have freed, and of groups without tasks.
//!
//! They stay where they are, each on a page that nobody else has a reason to write, until somebody needs the name again
//! or a sweep comes by.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Result;
use super::{groups, keys};
use crate::store::Claim;

/// How many entries a step of a sweep looks at. So few may also stay behind at the end of the table.
pub(super) const STEP: usize = 256;

/// How many entries are left behind before the next step where the last one found much: half of what it looks at, so
/// that about as many entries that mean nothing may be there as others.
const SOON: usize = STEP / 2;

/// The same where it found little.
const LATER: usize = 4 * STEP;

/// A table of entries in the order of their names.
#[derive(Debug)]
pub(super) struct Table {
    /// The last name of all.
    pub(super) last: &'static str,
    /// The `?2`th name after `?1`, counted from 0, if it is not behind `?3`. The names are compared here only, since
    /// what comes first depends on how the file encodes texts.
    pub(super) last_of_step: &'static str,
    /// Deletes what means nothing after `?1` up to `?2`.
    pub(super) delete: &'static str,
}

/// The sweeps of a store's tables. Every process sweeps after its own claims.
#[derive(Debug)]
pub(super) struct Sweeps {
    keys: Sweep,
    groups: Sweep,
}

impl Default for Sweeps {
    fn default() -> Self {
        Self {
            keys: Sweep::by_chance(&keys::TABLE, RandomState::new().hash_one(0)),
            groups: Sweep::by_chance(&groups::TABLE, RandomState::new().hash_one(1)),
        }
    }
}

impl Sweeps {
    /// Makes as many steps as these claims, with those before, leave entries behind for.
    pub(super) fn after(&self, claims: &[Claim], connection: &Connection) -> Result<()> {
        let options = || claims.iter().map(|claim| &claim.record.options);
        let unique = options().filter_map(|options| options.unique.as_ref());
        self.keys
            .after(unique.map(|unique| unique.key.as_str()), connection)?;
        let groups = options().filter_map(|options| options.group.as_deref());
        self.groups.after(groups, connection)
    }
}

/// Goes through a table again and again, a few neighbours at a time.
///
/// A round ends where the table ended when it began. If names count upwards the end may move on as fast as the sweep,
/// and what is left behind is at the beginning.
///
/// Where the first round begins, and how soon, is left to chance: many short processes together then sweep as one long
/// one would, although each knows nothing of the others.
#[derive(Debug)]
pub(super) struct Sweep {
    table: &'static Table,
    round: Mutex<Round>,
}

#[derive(Debug)]
struct Round {
    /// The last name that was looked at; empty at the beginning.
    after: String,
    /// Where it ends.
    until: Option<String>,
    /// How many entries have to be left behind before the next step.
    ahead: usize,
    /// Whether the first round begins at the first name that is left behind.
    begins_at_name: bool,
}

impl Sweep {
    fn by_chance(table: &'static Table, number: u64) -> Self {
        let [soon, place, ..] = number.to_le_bytes();
        let round = Round {
            after: String::new(),
            until: None,
            ahead: 1 + usize::from(soon) % SOON,
            begins_at_name: place % 2 == 1,
        };
        Self {
            table,
            round: Mutex::new(round),
        }
    }

    /// Makes as many steps as entries have been left behind for, with these.
    pub(super) fn after<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        connection: &Connection,
    ) -> Result<()> {
        let mut names = names.peekable();
        let Some(first) = names.peek().copied() else {
            return Ok(());
        };
        let mut round = self.round.lock();
        let mut count = names.count();
        while count >= round.ahead {
            count -= round.ahead;
            let deleted = round.step(self.table, first, connection)?;
            round.ahead = if deleted < STEP / 4 { LATER } else { SOON };
        }
        round.ahead -= count;
        Ok(())
    }
}

impl Round {
    /// Goes on by a step. Returns how many entries it has deleted.
    fn step(&mut self, table: &Table, first: &str, connection: &Connection) -> Result<usize> {
        let Some(last) = self.next(table, first, connection)? else {
            return Ok(0);
        };
        let deleted = table.delete(&self.after, &last, connection)?;
        self.after = last;
        Ok(deleted)
    }

    /// The last name that the next step looks at: that of the next round if this one has not enough left.
    fn next(
        &mut self,
        table: &Table,
        first: &str,
        connection: &Connection,
    ) -> Result<Option<String>> {
        if self.begins_at_name {
            self.begins_at_name = false;
            first.clone_into(&mut self.after);
            self.until = table.last(connection)?;
        }
        if let Some(until) = &self.until
            && let Some(last) = table.last_of_step(&self.after, until, connection)?
        {
            return Ok(Some(last));
        }
        self.after.clear();
        self.until = table.last(connection)?;
        match &self.until {
            Some(until) => table.last_of_step("", until, connection),
            None => Ok(None),
        }
    }
}

impl Table {
    fn last(&self, connection: &Connection) -> Result<Option<String>> {
        let mut select = connection.prepare_cached(self.last)?;
        Ok(select.query_row([], |row| row.get(0))?)
    }

    /// The last name that a step looks at; `None` if there are fewer names up to `until`.
    fn last_of_step(
        &self,
        after: &str,
        until: &str,
        connection: &Connection,
    ) -> Result<Option<String>> {
        let mut select = connection.prepare_cached(self.last_of_step)?;
        let last = select.query_row(params![after, STEP - 1, until], |row| row.get(0));
        Ok(last.optional()?)
    }

    fn delete(&self, after: &str, last: &str, connection: &Connection) -> Result<usize> {
        Ok(connection
            .prepare_cached(self.delete)?
            .execute([after, last])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sweep {
        /// One that begins at the beginning of the table, as late as any.
        pub(in crate::store::sqlite) fn of(table: &'static Table) -> Self {
            Self::by_chance(table, SOON as u64 - 1)
        }

        /// Sweeps as after so many claims, of which it does not matter what they leave behind.
        pub(in crate::store::sqlite) fn after_as_many_as(
            &self,
            count: usize,
            connection: &Connection,
        ) -> Result<()> {
            self.after(std::iter::repeat_n("", count), connection)
        }
    }

    const NUMBERS: Table = Table {
        last: "SELECT max(name) FROM number",
        last_of_step: "SELECT name FROM number WHERE name > ?1 AND name <= ?3
                       ORDER BY name LIMIT 1 OFFSET ?2",
        delete: "DELETE FROM number WHERE name > ?1 AND name <= ?2 AND is_gone",
    };

    /// A table with so many entries that mean something, and behind them so many that do not.
    fn table(kept: usize, gone: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&format!(
                "CREATE TABLE number (name TEXT PRIMARY KEY, is_gone) WITHOUT ROWID;
                 WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n)
                 INSERT INTO number SELECT printf('%09d', n), n >= {kept} FROM n LIMIT {}",
                kept + gone
            ))
            .unwrap();
        connection
    }

    fn count(connection: &Connection, is_gone: bool) -> usize {
        let count = "SELECT count(*) FROM number WHERE is_gone = ?1";
        connection
            .query_row(count, [is_gone], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn what_is_left_behind_is_swept_as_fast_as_it_comes() {
        let connection = table(STEP, 20 * STEP);
        let sweep = Sweep::of(&NUMBERS);
        // The first step finds nothing.
        sweep.after_as_many_as(SOON, &connection).unwrap();
        sweep.after_as_many_as(LATER, &connection).unwrap();
        for _ in 0..20 {
            sweep.after_as_many_as(SOON, &connection).unwrap();
        }
        assert_eq!(count(&connection, true), 0);
        assert_eq!(count(&connection, false), STEP);
    }

    #[test]
    fn where_little_is_found_few_steps_are_made() {
        let connection = table(STEP, STEP);
        let sweep = Sweep::of(&NUMBERS);
        for _ in 0..LATER / SOON {
            sweep.after_as_many_as(SOON, &connection).unwrap();
        }
        assert_eq!(count(&connection, true), STEP);
        sweep.after_as_many_as(SOON, &connection).unwrap();
        assert_eq!(count(&connection, true), 0);
    }

    #[test]
    fn names_that_count_upwards_leave_no_more_behind_than_there_are_others() {
        assert!(left_behind_of_names_that_count_upwards(64) < KEPT);
    }

    #[test]
    fn nor_do_they_if_more_are_claimed_at_once_than_a_step_looks_at() {
        assert!(left_behind_of_names_that_count_upwards(KEPT / 2) < 2 * KEPT);
    }

    const KEPT: usize = 4 * STEP;

    /// How many entries that mean nothing there are in the end.
    fn left_behind_of_names_that_count_upwards(at_once: usize) -> usize {
        let connection = table(KEPT, 0);
        let sweep = Sweep::of(&NUMBERS);
        for first in (0..20 * KEPT).step_by(at_once) {
            let (kept, next) = (first + at_once, first + KEPT);
            connection
                .execute_batch(&format!(
                    "UPDATE number SET is_gone = 1 WHERE name < printf('%09d', {kept}) AND NOT is_gone;
                     WITH RECURSIVE n (n) AS (SELECT {next} UNION ALL SELECT n + 1 FROM n)
                     INSERT INTO number SELECT printf('%09d', n), 0 FROM n LIMIT {at_once}"
                ))
                .unwrap();
            sweep.after_as_many_as(at_once, &connection).unwrap();
        }
        assert_eq!(count(&connection, false), KEPT);
        count(&connection, true)
    }

    #[test]
    fn short_processes_sweep_too() {
        const CLAIMS: usize = SOON / 2;
        for begins_at_name in [0, 1 << 8] {
            let connection = table(STEP, STEP);
            // What means nothing is behind the first step.
            let first = format!("{:09}", STEP - 1);
            for number in 0..SOON as u64 {
                let sweep = Sweep::by_chance(&NUMBERS, begins_at_name | number);
                let names = std::iter::repeat_n(first.as_str(), CLAIMS);
                sweep.after(names, &connection).unwrap();
            }
            let is_clean = count(&connection, true) == 0;
            assert_eq!(is_clean, begins_at_name != 0);
        }
    }

    #[test]
    fn a_sweep_begins_anew_at_the_end() {
        let connection = table(0, STEP);
        let sweep = Sweep::of(&NUMBERS);
        for _ in 0..2 {
            sweep.after_as_many_as(SOON, &connection).unwrap();
        }
        let again = table(0, STEP);
        sweep.after_as_many_as(LATER, &again).unwrap();
        assert_eq!(count(&again, true), 0);
    }
}
