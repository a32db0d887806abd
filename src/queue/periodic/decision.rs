//! What is to be done about an entry now. Pure.

use std::time::Duration;

use super::CatchUp;
use super::cursor::Cursor;
use crate::schedule::Schedule;
use crate::time::Timestamp;

/// How many tasks are enqueued in one batch.
pub(super) const FIRED_MAX: usize = 100;

/// How late a time may be found for it not to be missed.
const LATE_MAX: Duration = Duration::from_secs(60);

/// A clock that is put back by no more than this is waited for: the times until then have been dealt with.
/// One that is put back further was wrong before, and what was done by it does not count (the rule of
/// Vixie's cron).
const BACK_MAX: Duration = Duration::from_secs(3 * 3_600);

/// What is to be done about an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing, until this instant.
    Wait(Option<Timestamp>),
    /// Nothing: somebody who started later has another schedule for this name.
    StandDown,
    /// Enqueue a task for each of these times, and write the cursor, in one batch.
    Move {
        /// What the mark becomes.
        cursor: Cursor,
        /// The times to enqueue tasks for, in order.
        fire: Vec<Timestamp>,
    },
}

/// Decides about the entry that is called for by `wanted`, a cursor that has dealt with all times until now,
/// where the mark says `found`. Whoever has just started is `new` and may replace the schedule.
pub(super) fn decide(
    found: Option<Cursor>,
    wanted: Cursor,
    schedule: &Schedule,
    catch_up: CatchUp,
    new: bool,
) -> Decision {
    let now = wanted.dealt_until;
    let move_to = |cursor| Decision::Move {
        cursor,
        fire: Vec::new(),
    };
    let Some(found) = found else {
        return move_to(wanted);
    };
    let fired_for = found.fired_for;
    let same = Cursor {
        dealt_until: found.dealt_until,
        fired_for,
        ..wanted.clone()
    };
    if found.schedule != wanted.schedule {
        let replaced = Cursor {
            fired_for,
            ..wanted
        };
        return if new {
            move_to(replaced)
        } else {
            Decision::StandDown
        };
    }
    if found.dealt_until > now.saturating_add(BACK_MAX) {
        return move_to(Cursor {
            fired_for,
            ..wanted
        });
    }
    match due(schedule, catch_up, found.dealt_until, now) {
        Some((fire, until)) => Decision::Move {
            cursor: Cursor {
                dealt_until: until,
                fired_for: fire.last().copied().or(fired_for),
                ..wanted
            },
            fire,
        },
        None if new && is_described_otherwise(&found, &same) => move_to(same),
        None => Decision::Wait(schedule.next_after(found.dealt_until)),
    }
}

/// Whether what is for people has changed.
fn is_described_otherwise(found: &Cursor, wanted: &Cursor) -> bool {
    let described = |cursor: &Cursor| {
        let Cursor {
            kind,
            queue,
            catch_up,
            ..
        } = cursor.clone();
        [kind, queue, catch_up]
    };
    described(found) != described(wanted)
}

/// Returns the times to enqueue tasks for, and up to when all have been dealt with then.
fn due(
    schedule: &Schedule,
    catch_up: CatchUp,
    after: Timestamp,
    now: Timestamp,
) -> Option<(Vec<Timestamp>, Timestamp)> {
    let last = schedule.last_between(after, now)?;
    match catch_up {
        CatchUp::Once => Some((vec![last], last)),
        CatchUp::Skip if now.since(last) <= LATE_MAX => Some((vec![last], last)),
        CatchUp::Skip => Some((Vec::new(), last)),
        CatchUp::All => row(schedule, after, now),
        CatchUp::Bounded(count) => {
            let after = before_the_last(schedule, count, after, now);
            row(schedule, after, now)
        }
    }
}

/// The first times of a row, as many as fit into a batch.
fn row(
    schedule: &Schedule,
    after: Timestamp,
    now: Timestamp,
) -> Option<(Vec<Timestamp>, Timestamp)> {
    let times = schedule.after(after).take_while(|at| *at <= now);
    let fire: Vec<_> = times.take(FIRED_MAX).collect();
    let until = *fire.last()?;
    Some((fire, until))
}

/// Returns an instant after which, until now, the last `count` times are.
fn before_the_last(schedule: &Schedule, count: u32, after: Timestamp, now: Timestamp) -> Timestamp {
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let all = schedule.after(after).take_while(|at| *at <= now);
    if all.take(limit.saturating_add(1)).count() <= limit {
        return after;
    }
    let tick = Duration::from_micros(1);
    let earlier = |until: &Timestamp| schedule.last_between(after, until.saturating_sub(tick));
    let last = schedule.last_between(after, now);
    let times = std::iter::successors(last, earlier);
    let first = times.take(limit).last();
    first.map_or(now, |first| first.saturating_sub(tick))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn ago(count: u64) -> Timestamp {
        NOW.saturating_sub(seconds(count))
    }

    fn minutely() -> Schedule {
        Schedule::every(seconds(60)).unwrap()
    }

    fn cursor(dealt_until: Timestamp) -> Cursor {
        Cursor {
            schedule: minutely().to_string(),
            kind: "sweep".to_owned(),
            queue: "default".to_owned(),
            catch_up: "once".to_owned(),
            dealt_until,
            fired_for: None,
            written_by: "somebody".to_owned(),
        }
    }

    /// Decides at an instant that is `late` seconds after a time of the schedule.
    fn decided(found: Option<Cursor>, catch_up: CatchUp, late: u64, new: bool) -> Decision {
        let now = NOW.saturating_add(seconds(late));
        decide(found, cursor(now), &minutely(), catch_up, new)
    }

    /// The times that are fired, in seconds before `NOW`, and those that are dealt with.
    fn fired(catch_up: CatchUp, missed: u64, late: u64) -> (Vec<u64>, u64) {
        let found = cursor(ago(missed * 60));
        match decided(Some(found), catch_up, late, false) {
            Decision::Move { cursor, fire } => {
                let before = |at: Timestamp| NOW.since(at).as_secs();
                (
                    fire.into_iter().map(before).collect(),
                    before(cursor.dealt_until),
                )
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_before_an_entry_is_not_missed() {
        let wanted = cursor(NOW);
        let fire = Vec::new();
        assert_eq!(
            decided(None, CatchUp::All, 0, true),
            Decision::Move {
                cursor: wanted,
                fire
            }
        );
    }

    #[test]
    fn a_time_that_has_come_is_fired_whatever_the_policy() {
        for catch_up in [
            CatchUp::Skip,
            CatchUp::Once,
            CatchUp::All,
            CatchUp::Bounded(1),
        ] {
            assert_eq!(fired(catch_up, 1, 30), (vec![0], 0), "{catch_up}");
        }
    }

    #[test]
    fn until_a_time_has_come_it_is_waited_for() {
        let next = Some(NOW.saturating_add(seconds(60)));
        let found = Some(cursor(NOW));
        assert_eq!(
            decided(found, CatchUp::Once, 59, false),
            Decision::Wait(next)
        );
    }

    #[test]
    fn missed_times_are_skipped_and_the_last_counts_if_it_is_not_late() {
        assert_eq!(fired(CatchUp::Skip, 1_000_000, 5), (vec![0], 0));
        let hourly = Schedule::every(seconds(3_600)).unwrap();
        let late = due(
            &hourly,
            CatchUp::Skip,
            ago(7_200),
            NOW.saturating_add(seconds(61)),
        );
        assert_eq!(late, Some((Vec::new(), NOW)));
    }

    #[test]
    fn however_many_were_missed_one_task_makes_up_for_them() {
        assert_eq!(fired(CatchUp::Once, 1_000_000, 59), (vec![0], 0));
    }

    #[test]
    fn all_that_were_missed_come_in_order_and_in_batches() {
        assert_eq!(fired(CatchUp::All, 3, 5), (vec![120, 60, 0], 0));
        let (fire, until) = fired(CatchUp::All, 1_000_000, 5);
        assert_eq!((fire.len(), fire[0]), (FIRED_MAX, 999_999 * 60));
        assert_eq!(until, (1_000_000 - FIRED_MAX as u64) * 60);
    }

    #[test]
    fn the_last_so_many_come_in_order() {
        assert_eq!(fired(CatchUp::Bounded(2), 1_000_000, 5), (vec![60, 0], 0));
        assert_eq!(fired(CatchUp::Bounded(9), 2, 5), (vec![60, 0], 0));
        let (fire, until) = fired(CatchUp::Bounded(150), 1_000_000, 5);
        assert_eq!((fire.len(), fire[0], until), (FIRED_MAX, 149 * 60, 50 * 60));
    }

    #[test]
    fn who_starts_replaces_a_schedule_and_who_ran_before_stands_down() {
        let mut other = cursor(ago(10_000));
        other.schedule = "every 1s".to_owned();
        other.fired_for = Some(ago(10_000));
        let standing = decided(Some(other.clone()), CatchUp::All, 0, false);
        assert_eq!(standing, Decision::StandDown);
        let replaced = Cursor {
            fired_for: other.fired_for,
            ..cursor(NOW)
        };
        let expected = Decision::Move {
            cursor: replaced,
            fire: Vec::new(),
        };
        assert_eq!(decided(Some(other), CatchUp::All, 0, true), expected);
    }

    #[test]
    fn a_clock_that_is_put_back_a_little_is_waited_for() {
        let ahead = NOW.saturating_add(seconds(3 * 3_600));
        let next = Some(ahead.saturating_add(seconds(60)));
        assert_eq!(
            decided(Some(cursor(ahead)), CatchUp::All, 0, false),
            Decision::Wait(next)
        );
    }

    #[test]
    fn a_clock_that_is_put_back_far_was_wrong_before() {
        let ahead = NOW.saturating_add(seconds(3 * 3_600 + 1));
        let expected = Decision::Move {
            cursor: cursor(NOW),
            fire: Vec::new(),
        };
        assert_eq!(
            decided(Some(cursor(ahead)), CatchUp::All, 0, false),
            expected
        );
    }

    #[test]
    fn what_people_read_is_brought_up_to_date_by_who_starts() {
        let mut old = cursor(NOW);
        old.queue = "other".to_owned();
        assert!(matches!(
            decided(Some(old.clone()), CatchUp::Once, 1, false),
            Decision::Wait(_)
        ));
        let expected = Decision::Move {
            cursor: cursor(NOW),
            fire: Vec::new(),
        };
        assert_eq!(decided(Some(old), CatchUp::Once, 1, true), expected);
    }
}
