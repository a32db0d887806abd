//! Entries by name that mean nothing any more: of keys that claims have freed, and of groups without tasks.
//!
//! They stay where they are, each on a page that nobody else has a reason to write, until somebody needs the name again or
//! a sweep comes by.

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
    /// The `?2`th name after `?1`, counted from 0.
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
            keys: Sweep::of(&keys::TABLE),
            groups: Sweep::of(&groups::TABLE),
        }
    }
}

impl Sweeps {
    /// Makes a step where these claims, with those before, leave enough behind.
    pub(super) fn after(&self, claims: &[Claim], connection: &Connection) -> Result<()> {
        let options = || claims.iter().map(|claim| &claim.record.options);
        let with_key = options().filter(|options| options.unique.is_some());
        self.keys.after(with_key.count(), connection)?;
        let in_group = options().filter(|options| options.group.is_some());
        self.groups.after(in_group.count(), connection)
    }
}

/// Goes through a table again and again, a few neighbours at a time.
///
/// A round ends where the table ended when it began. If names count upwards the end may move on as fast as the sweep, and
/// what is left behind is at the beginning.
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
}

impl Sweep {
    pub(super) fn of(table: &'static Table) -> Self {
        let round = Round {
            after: String::new(),
            until: None,
            ahead: SOON,
        };
        Self {
            table,
            round: Mutex::new(round),
        }
    }

    /// Makes a step, if enough entries have been left behind with these.
    pub(super) fn after(&self, count: usize, connection: &Connection) -> Result<()> {
        let mut round = self.round.lock();
        round.ahead = round.ahead.saturating_sub(count);
        if round.ahead > 0 {
            return Ok(());
        }
        let deleted = round.step(self.table, connection)?;
        round.ahead = if deleted < STEP / 4 { LATER } else { SOON };
        Ok(())
    }
}

impl Round {
    /// Goes on by a step, or begins the next round. Returns how many entries it has deleted.
    fn step(&mut self, table: &Table, connection: &Connection) -> Result<usize> {
        if self.after.is_empty() {
            self.until = table.last(connection)?;
        }
        let Some(last) = table.last_of_step(&self.after, connection)? else {
            self.after.clear();
            return Ok(0);
        };
        let deleted = table.delete(&self.after, &last, connection)?;
        if self.until.as_ref().is_some_and(|until| last < *until) {
            self.after = last;
        } else {
            self.after.clear();
        }
        Ok(deleted)
    }
}

impl Table {
    fn last(&self, connection: &Connection) -> Result<Option<String>> {
        let mut select = connection.prepare_cached(self.last)?;
        Ok(select.query_row([], |row| row.get(0))?)
    }

    /// The last name that the next step looks at; `None` if the table ends before.
    fn last_of_step(&self, after: &str, connection: &Connection) -> Result<Option<String>> {
        let mut select = connection.prepare_cached(self.last_of_step)?;
        let last = select.query_row(params![after, STEP - 1], |row| row.get(0));
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

    const NUMBERS: Table = Table {
        last: "SELECT max(name) FROM number",
        last_of_step: "SELECT name FROM number WHERE name > ?1 ORDER BY name LIMIT 1 OFFSET ?2",
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
        sweep.after(SOON, &connection).unwrap();
        sweep.after(LATER, &connection).unwrap();
        for _ in 0..20 {
            sweep.after(SOON, &connection).unwrap();
        }
        assert_eq!(count(&connection, true), 0);
        assert_eq!(count(&connection, false), STEP);
    }

    #[test]
    fn where_little_is_found_few_steps_are_made() {
        let connection = table(STEP, STEP);
        let sweep = Sweep::of(&NUMBERS);
        for _ in 0..LATER / SOON {
            sweep.after(SOON, &connection).unwrap();
        }
        assert_eq!(count(&connection, true), STEP);
        sweep.after(SOON, &connection).unwrap();
        assert_eq!(count(&connection, true), 0);
    }

    #[test]
    fn names_that_count_upwards_leave_no_more_behind_than_there_are_others() {
        const KEPT: usize = 4 * STEP;
        const AT_ONCE: usize = 64;
        let connection = table(KEPT, 0);
        let sweep = Sweep::of(&NUMBERS);
        for first in (0..20 * KEPT).step_by(AT_ONCE) {
            let (kept, next) = (first + AT_ONCE, first + KEPT);
            connection
                .execute_batch(&format!(
                    "UPDATE number SET is_gone = 1 WHERE name < printf('%09d', {kept}) AND NOT is_gone;
                     WITH RECURSIVE n (n) AS (SELECT {next} UNION ALL SELECT n + 1 FROM n)
                     INSERT INTO number SELECT printf('%09d', n), 0 FROM n LIMIT {AT_ONCE}"
                ))
                .unwrap();
            sweep.after(AT_ONCE, &connection).unwrap();
        }
        assert_eq!(count(&connection, false), KEPT);
        assert!(count(&connection, true) < KEPT);
    }

    #[test]
    fn a_sweep_begins_anew_at_the_end() {
        let connection = table(0, STEP);
        let sweep = Sweep::of(&NUMBERS);
        for _ in 0..2 {
            sweep.after(SOON, &connection).unwrap();
        }
        let again = table(0, STEP);
        sweep.after(LATER, &again).unwrap();
        assert_eq!(count(&again, true), 0);
    }
}
