//! What becomes of a task: the decisions that every store takes alike, as pure functions over its
//! record. A store keeps and finds; what state, times and counts a change leads to is decided here,
//! within the table of [`State::after`].
//!
//! # What a store decides itself, by these rules
//! - **Order.** The changes of a batch are judged, and made, one after the other: what one frees the next may
//!   take, and of two that want a key the first has it. So a store judges what is to be staged by making it and
//!   taking it back, at least where one change decides about another.
//! - **Group.** The tasks of a group that are Ready or Claimed *hold* its places. A task goes on only if fewer
//!   than its own `group_limit` others hold one; until then it waits. Of those that wait for nothing but the
//!   group the first by rank and sequence goes on, is [`unblock`]ed, before any other: when there is a place for
//!   it; or when there are just as many holders as its limit, of which the last that is Ready, and not
//!   pinned, comes after it: that one [`gives way`](give_way). This is so after each change of a task of
//!   the group, and a claim changes nothing of it. A task whose time has not come takes no place.
//! - **Unique key.** A task *holds* its key in the states that [`holds_key`] names: unless it asks for more,
//!   the key is free from the claim on. A task that comes back to one of them takes its key again only if
//!   nobody holds or reserved it, and if not goes on without it.
//! - **Resting key.** From when a task with a [`Hold`](crate::task::Hold) becomes visible, and from when it is
//!   done or Dead, its key *rests* until [`rests_until`] says, unless it rests for longer already. That outlives
//!   the task, and ends if the task is cancelled or removed. It keeps nobody from the key but new tasks: who
//!   finds no holder is judged by it as by one, and merges into a task that may be gone.
//! - **Room.** How many tasks of a queue are pending is judged when a batch is staged or applied, and
//!   never again: what is staged is published even if the queue is full by then.
//! - **Arrival.** The set of prerequisites that are not met is the store's; when the last one arrives,
//!   the task is [`unblock`]ed. An arrival at a task that does not wait for it changes nothing.
//! - **From elsewhere.** A task that comes from another store has counts, perhaps an account and progress,
//!   and the time of its first publishing: all of that is kept. One that ended there is inserted in its
//!   state, asks for no key ([`wanted_key`]), and is neither claimed nor waits for anything.
//! - **Retention.** Records past [`kept_until`] are dropped a few at a time with later writes.

use std::time::Duration;

use super::life::Life;
use crate::store::{Amendment, Change, Kind, Settlement, Verdict};
use crate::task::{AGEING_MAX, GROUP_LIMIT_MAX, Options, Record, State, StateSet, Unique};
use crate::time::Timestamp;

/// The largest name of a queue, a kind, a key, a group, an object or a mark, in bytes.
pub const NAME_MAX: usize = 255;

/// Whether a record is still to be kept after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a record that leaves is to be deleted"]
pub enum Fate {
    /// The store keeps the record.
    Stays,
    /// The store deletes the record.
    Leaves,
}

/// How the first of those that wait for nothing but their group goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is a place, or it takes none because its time has not come.
    GoesOn,
    /// In the place of the last that is Ready and not pinned, if that comes after it: then that one gives way.
    Replaces,
    /// Not now.
    Waits,
}

/// Checks what can be judged of a change without looking at the store: names and their bounds.
///
/// # Errors
/// [`Kind::Invalid`] says which name is wrong and why.
pub fn check(change: &Change) -> Result<(), Kind> {
    match change {
        Change::Insert(record) => check_record(record),
        Change::Amend {
            amendment: Amendment::Move(queue),
            ..
        }
        | Change::Room { queue, .. } => check_name("a queue", queue),
        Change::Mark { key, .. } => check_name("a mark", key),
        _ => Ok(()),
    }
}

fn check_record(record: &Record) -> Result<(), Kind> {
    let options = &record.options;
    check_name("a queue", &record.queue)?;
    check_name("a kind", &record.kind)?;
    let unique = options.unique.iter().map(|unique| &unique.key);
    for key in unique.chain(&options.group).chain(&options.about) {
        check_name("a key", key)?;
    }
    check_ageing(options.ageing)?;
    check_group_limit(options.group_limit)?;
    if record.state == State::Staged || record.state.is_ended() {
        return Ok(());
    }
    let found = record.state;
    Err(Kind::Invalid(format!(
        "a new task must be staged, or have ended elsewhere, but it is {found}"
    )))
}

/// Checks that a step of priority is not worth more than it may be.
///
/// # Errors
/// [`Kind::Invalid`] names the bound.
pub fn check_ageing(ageing: Option<Duration>) -> Result<(), Kind> {
    if ageing.is_none_or(|ageing| ageing <= AGEING_MAX) {
        return Ok(());
    }
    Err(Kind::Invalid(format!(
        "a step of priority may be worth {} s at most",
        AGEING_MAX.as_secs()
    )))
}

/// Checks that a group has a place, and not more than it may have.
///
/// # Errors
/// [`Kind::Invalid`] names the bounds.
pub fn check_group_limit(limit: Option<u32>) -> Result<(), Kind> {
    let Some(limit) = limit.filter(|limit| !(1..=GROUP_LIMIT_MAX).contains(limit)) else {
        return Ok(());
    };
    Err(Kind::Invalid(format!(
        "of a group 1 to {GROUP_LIMIT_MAX} tasks may run at the same time, and not {limit}"
    )))
}

/// Judges a [`Change::Room`], given how many tasks of the queue are pending.
///
/// # Errors
/// [`Kind::QueueFull`] if those are more than may be.
pub fn check_room(queue: &str, pending: u64, pending_max: u64) -> Result<(), Kind> {
    if pending <= pending_max {
        return Ok(());
    }
    Err(Kind::QueueFull {
        queue: queue.to_owned(),
        pending_max,
    })
}

/// Whether a task in the state that it is in holds its unique key, if it has got it.
#[must_use]
pub fn holds_key(record: &Record) -> bool {
    Life::of(record).holds_key(&record.options)
}

/// Returns until when the unique key of a task rests, as far as its record tells by now.
#[must_use]
pub fn rests_until(record: &Record) -> Option<Timestamp> {
    Life::of(record).rests_until(&record.options)
}

/// Returns the unique key that a new task asks for: none if it ended elsewhere.
#[must_use]
pub fn wanted_key(record: &Record) -> Option<&Unique> {
    let unique = record.options.unique.as_ref();
    unique.filter(|_| !record.state.is_ended())
}

fn check_name(what: &str, name: &str) -> Result<(), Kind> {
    match name.len() {
        // Where names are text of the C kind, it would end them.
        _ if name.contains('\0') => Err(Kind::Invalid(format!(
            "the name of {what} has a NUL character"
        ))),
        1..=NAME_MAX => Ok(()),
        0 => Err(Kind::Invalid(format!("the name of {what} is empty"))),
        length => Err(Kind::Invalid(format!(
            "the name of {what} has {length} bytes, more than {NAME_MAX}"
        ))),
    }
}

/// Makes a staged task visible: `delay` counts from now, and the task is Waiting, Scheduled or Ready.
///
/// A task that was published before, elsewhere, keeps the time of that, and so its place. One that ended
/// there stays as it is.
///
/// # Errors
/// [`Kind::StateChanged`] if the record is visible already.
pub fn publish(record: &mut Record, group_busy: bool, now: Timestamp) -> Result<(), Kind> {
    live(record, |life, options| {
        life.publish(options, group_busy, now)
    })
}

/// Lets a Scheduled task whose time came go on: to Ready, or to Waiting if its group is busy.
///
/// # Errors
/// [`Kind::StateChanged`] if the task is not Scheduled or its time has not come.
pub fn due(record: &mut Record, group_busy: bool, now: Timestamp) -> Result<(), Kind> {
    live(record, |life, _| life.due(group_busy, now))
}

/// Lets a Waiting task go on that no prerequisite and no group holds back any more.
///
/// # Errors
/// [`Kind::StateChanged`] if the task is not Waiting.
pub fn unblock(record: &mut Record, now: Timestamp) -> Result<(), Kind> {
    live(record, |life, _| life.unblock(now))
}

/// Says how a task goes on if it is the first that waits for nothing but its group, of which `holders` tasks are
/// Ready or Claimed.
#[must_use]
pub fn turn(record: &Record, holders: usize, now: Timestamp) -> Turn {
    Life::of(record).turn(&record.options, holders, now)
}

/// Has a Ready task wait again, because a more urgent one of its group takes its place.
///
/// # Errors
/// [`Kind::StateChanged`] if the task is not Ready.
pub fn give_way(record: &mut Record) -> Result<(), Kind> {
    live(record, |life, _| life.give_way())
}

/// Gives a Ready task to a consumer.
///
/// # Errors
/// [`Kind::StateChanged`] if the task is not Ready.
pub fn claim(record: &mut Record) -> Result<(), Kind> {
    live(record, |life, _| life.claim())
}

/// Takes a Claimed task back from a consumer that is proved dead, and counts that. It keeps its place
/// in the line and its group.
///
/// # Errors
/// [`Kind::StateChanged`] if the task is not Claimed.
pub fn reclaim(record: &mut Record) -> Result<(), Kind> {
    live(record, |life, _| life.reclaim())
}

/// Ends a claim whose token was found to be the present one.
///
/// # Errors
/// [`Kind::StateChanged`] if the task is not Claimed.
pub fn settle(record: &mut Record, settlement: &Settlement, now: Timestamp) -> Result<Fate, Kind> {
    let fate = live(record, |life, options| {
        life.settle(options, settlement, now)
    })?;
    if settlement.account.is_some() {
        record.account.clone_from(&settlement.account);
    }
    Ok(fate)
}

/// Whether nothing of a claimed task is kept after this verdict.
#[must_use]
pub fn leaves(record: &Record, verdict: &Verdict) -> bool {
    *verdict == Verdict::Done && record.options.retention.is_none()
}

/// Changes a task that nobody has claimed; only [`Amendment::Progress`] may change a claimed one.
///
/// # Errors
/// [`Kind::StateChanged`] if the task is in none of the states of `expect`, or in one that the
/// amendment does not fit. The record is as it was.
pub fn amend(
    record: &mut Record,
    expect: StateSet,
    amendment: &Amendment,
    group_busy: bool,
    now: Timestamp,
) -> Result<Fate, Kind> {
    let fate = live(record, |life, options| {
        life.expect(expect)?;
        life.amend(options, amendment, group_busy, now)
    })?;
    match amendment {
        Amendment::Move(queue) => record.queue = queue.into(),
        Amendment::Progress(progress) => record.progress = Some(progress.clone()),
        Amendment::Revive => record.progress = None,
        _ => {}
    }
    Ok(fate)
}

/// Returns the states that an amendment expects of its task when it is made: any, if its batch was `judged` when it
/// was staged. Another change of that batch may pass on the places of the task's group, which then go to others
/// than when it was judged; what is pending may be amended whatever it waits for.
#[must_use]
pub fn expected(expect: StateSet, judged: bool) -> StateSet {
    if judged { StateSet::ALL } else { expect }
}

/// Returns until when an ended task is kept; `None` is for as long as nobody removes it.
#[must_use]
pub fn kept_until(record: &Record) -> Option<Timestamp> {
    Life::of(record).kept_until(&record.options)
}

/// Moves the life of a record by a rule, unless the rule refuses.
fn live<T>(
    record: &mut Record,
    rule: impl FnOnce(&mut Life, &Options) -> Result<T, Kind>,
) -> Result<T, Kind> {
    let mut life = Life::of(record);
    let result = rule(&mut life, &record.options)?;
    life.put(record);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, TaskId, Token};
    use crate::task::{Counts, Format, Payload};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn staged(options: Options) -> Record {
        let payload = Payload {
            format: Format::Bytes,
            version: 0,
            bytes: [].into(),
        };
        Record::new(TaskId::new(NOW), "default", "kind", payload, NOW).with_options(options)
    }

    fn claimed(options: Options) -> Record {
        let mut record = staged(options);
        publish(&mut record, false, NOW).unwrap();
        claim(&mut record).unwrap();
        record
    }

    fn settlement(record: &Record, verdict: Verdict) -> Settlement {
        Settlement {
            task: record.id,
            token: Token::next(Incarnation::from_u64(1)),
            verdict,
            counts: Counts::default(),
            account: None,
        }
    }

    #[test]
    fn a_delay_counts_from_the_publishing() {
        let mut record = staged(Options {
            delay: Some(Duration::from_secs(5)),
            ..Options::default()
        });
        publish(&mut record, false, NOW).unwrap();
        assert_eq!(record.state, State::Scheduled);
        assert_eq!(
            record.not_before,
            Some(NOW.saturating_add(Duration::from_secs(5)))
        );
    }

    #[test]
    fn a_busy_group_or_a_prerequisite_makes_a_task_wait() {
        let mut grouped = staged(Options::default());
        publish(&mut grouped, true, NOW).unwrap();
        let mut dependent = staged(Options {
            waits_for: vec![grouped.id],
            ..Options::default()
        });
        publish(&mut dependent, false, NOW).unwrap();
        assert_eq!(
            (grouped.state, dependent.state),
            (State::Waiting, State::Waiting)
        );
    }

    #[test]
    fn a_task_is_published_once() {
        let mut record = staged(Options::default());
        publish(&mut record, false, NOW).unwrap();
        assert!(publish(&mut record, false, NOW).is_err());
    }

    #[test]
    fn a_done_task_leaves_unless_it_is_retained() {
        let mut plain = claimed(Options::default());
        let done = settlement(&plain, Verdict::Done);
        assert_eq!(settle(&mut plain, &done, NOW), Ok(Fate::Leaves));
        let mut kept = claimed(Options {
            retention: Some(Duration::from_secs(60)),
            ..Options::default()
        });
        let done = settlement(&kept, Verdict::Done);
        assert_eq!(settle(&mut kept, &done, NOW), Ok(Fate::Stays));
        assert_eq!(
            kept_until(&kept),
            Some(NOW.saturating_add(Duration::from_secs(60)))
        );
    }

    #[test]
    fn a_release_keeps_the_place_in_the_line() {
        let mut record = claimed(Options::default());
        let before = crate::store::rank(&record, NOW);
        let release = settlement(&record, Verdict::Release { at: None });
        let later = NOW.saturating_add(Duration::from_secs(9));
        assert_eq!(settle(&mut record, &release, later), Ok(Fate::Stays));
        assert_eq!(record.state, State::Ready);
        assert_eq!(crate::store::rank(&record, NOW), before);
    }

    #[test]
    fn an_amendment_that_does_not_fit_changes_nothing() {
        let mut record = claimed(Options::default());
        for amendment in [
            Amendment::Cancel,
            Amendment::Remove,
            Amendment::Revive,
            Amendment::Move("other".to_owned()),
            Amendment::Reschedule(None),
        ] {
            let before = record.clone();
            assert!(amend(&mut record, StateSet::ALL, &amendment, false, NOW).is_err());
            assert_eq!(record, before);
        }
    }

    #[test]
    fn a_waiting_task_that_is_rescheduled_goes_on_waiting() {
        let mut record = staged(Options::default());
        publish(&mut record, true, NOW).unwrap();
        let at = Some(NOW.saturating_add(Duration::from_secs(5)));
        let later = Amendment::Reschedule(at);
        let fate = amend(&mut record, StateSet::PENDING, &later, true, NOW).unwrap();
        assert_eq!(
            (fate, record.state, record.not_before),
            (Fate::Stays, State::Waiting, at)
        );
    }

    #[test]
    fn a_revived_task_starts_afresh_at_the_end_of_the_line() {
        let mut record = claimed(Options::default());
        record.counts.attempts = 3;
        let bury = Verdict::Bury {
            reason: crate::task::DeadReason::Failed,
        };
        let bury = settlement(&record, bury);
        assert_eq!(settle(&mut record, &bury, NOW), Ok(Fate::Stays));
        let later = NOW.saturating_add(Duration::from_secs(1));
        let fate = amend(
            &mut record,
            StateSet::ENDED,
            &Amendment::Revive,
            false,
            later,
        );
        assert_eq!(fate, Ok(Fate::Stays));
        assert_eq!((record.state, record.dead), (State::Ready, None));
        assert_eq!(
            (record.counts, record.not_before),
            (Counts::default(), Some(later))
        );
    }

    #[test]
    fn names_have_bounds() {
        let mut record = staged(Options::default());
        record.queue = "q".repeat(NAME_MAX + 1).into();
        let text = check(&Change::Insert(Box::new(record)))
            .unwrap_err()
            .to_string();
        assert_eq!(text, "the name of a queue has 256 bytes, more than 255");
    }
}
