//! Claims, waiting, and looking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use votive::id::{Incarnation, StoreId, TaskId, Token};
use votive::store::{
    Arrival, Capabilities, Claim, ClaimKey, ClaimRequest, Cursor, Dispatch, Filter, Inspect,
    Interest, Kind, Listed, Page, Presence, QueueStats, Result, Stats,
};
use votive::task::State;
use votive::time::{Clock, Timestamp};

use crate::book::{Book, Entry, Holding, Judged};
use crate::store::{Present, Shared, ToyStore, error};

/// How often somebody who waits looks although nobody rang: time passes without a sound.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

type Attended = BTreeMap<Incarnation, usize>;

fn claim(
    book: &mut Book,
    attended: &Attended,
    request: &ClaimRequest,
    now: Timestamp,
) -> Judged<Vec<Claim>> {
    if !attended.contains_key(&request.consumer.incarnation) {
        let text = format!("{} claims without being attended", request.consumer);
        return Err(Kind::Invalid(text));
    }
    let is_dead = |holder| !attended.contains_key(&holder);
    let mut claims = Vec::new();
    for want in &request.wants {
        book.promote(&want.queue, now)?;
        for sequence in book.first(&want.queue, want.count, is_dead) {
            let token = Token::next(request.consumer.incarnation);
            let holding = Holding {
                consumer: request.consumer.clone(),
                token,
                at: now,
            };
            let (record, is_reclaimed) = book.give(sequence, holding)?;
            let arrival = match record.options.expires_at {
                Some(at) if at <= now => Arrival::Expired,
                _ if is_reclaimed => Arrival::Reclaimed,
                _ => Arrival::Fresh,
            };
            claims.push(Claim {
                record,
                token,
                arrival,
            });
        }
    }
    Ok(claims)
}

/// Ends the proof of life when it is dropped.
struct Attendance(Incarnation, Arc<Shared>);

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut now = self.1.now.lock();
        if let Some(count) = now.attended.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                now.attended.remove(&self.0);
            }
        }
        self.1.changed.notify_all();
    }
}

impl Present {
    fn is_dead(&self, holder: Incarnation) -> bool {
        !self.attended.contains_key(&holder)
    }

    fn is_served(&self, interest: &Interest, mark: Option<&Vec<u8>>, now: Timestamp) -> bool {
        let book = &self.content.book;
        match interest {
            Interest::Ready(queue) => book.tasks.values().any(|entry| {
                let is_ready = entry.is_due(now) || entry.is_claimable(|of| self.is_dead(of));
                entry.record.queue == **queue && is_ready
            }),
            Interest::Settled(task) => match book.find(*task) {
                Some((_, entry)) => entry.record.state.is_ended(),
                None => !book.is_staged(*task),
            },
            Interest::Mark(key) => book.marks.get(key) != mark,
        }
    }
}

impl Dispatch for ToyStore {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        self.write("claim tasks", |book, attended| {
            claim(book, attended, request, now)
        })
    }

    /// A claim lasts as long as its holder is attended, so there is nothing to prolong.
    fn extend(&self, claims: &[ClaimKey], _: Duration, _: Timestamp) -> Result<Vec<TaskId>> {
        Ok(self.read(|book| {
            let token = |task| Some(book.find(task)?.1.claim.as_ref()?.token);
            let lost = claims
                .iter()
                .filter(|claim| token(claim.task) != Some(claim.token));
            lost.map(|claim| claim.task).collect()
        }))
    }

    #[expect(clippy::disallowed_methods, reason = "a wait is bounded by a timer")]
    fn wait(&self, interests: &[Interest], timeout: Duration) -> Result<Option<Interest>> {
        let started = Instant::now();
        let mut now = self.shared.now.lock();
        let interrupts = now.interrupts;
        let mark = |interest: &Interest| match interest {
            Interest::Mark(key) => now.content.book.marks.get(key).cloned(),
            _ => None,
        };
        let marks: Vec<_> = interests.iter().map(mark).collect();
        loop {
            let at = self.clock.now();
            let mut known = interests.iter().zip(&marks);
            let served = known.find(|(interest, mark)| now.is_served(interest, mark.as_ref(), at));
            if let Some((interest, _)) = served {
                return Ok(Some(interest.clone()));
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() || now.interrupts != interrupts {
                return Ok(None);
            }
            self.shared
                .changed
                .wait_for(&mut now, left.min(LOOK_INTERVAL));
        }
    }

    fn interrupt(&self) {
        self.shared.now.lock().interrupts += 1;
        self.shared.changed.notify_all();
    }

    fn attend(&self, incarnation: Incarnation, _: Duration) -> Result<Presence> {
        *self
            .shared
            .now
            .lock()
            .attended
            .entry(incarnation)
            .or_default() += 1;
        let attendance = Attendance(incarnation, Arc::clone(&self.shared));
        Ok(Presence::new(incarnation, attendance))
    }

    fn departed(&self, _: Timestamp) -> Result<BTreeSet<Incarnation>> {
        let now = self.shared.now.lock();
        let claims = now
            .content
            .book
            .tasks
            .values()
            .filter_map(|entry| entry.claim.as_ref());
        let holders = claims.map(|claim| claim.consumer.incarnation);
        Ok(holders.filter(|holder| now.is_dead(*holder)).collect())
    }
}

fn matches(entry: &Entry, filter: &Filter) -> bool {
    let record = &entry.record;
    if entry.record.options.ghost && !filter.ghosts {
        return false;
    }
    let queue = filter.queue.as_ref();
    let kind = filter.kind.as_ref();
    let about = filter.about.as_ref();
    queue.is_none_or(|queue| record.queue == **queue)
        && kind.is_none_or(|kind| record.kind == **kind)
        && filter
            .states
            .is_none_or(|states| states.contains(record.state))
        && about.is_none_or(|object| record.options.about.contains(object))
        && filter
            .enqueued_before
            .is_none_or(|before| record.enqueued_at < before)
}

fn queue_stats(book: &Book, queue: &str) -> QueueStats {
    let entries = || {
        book.tasks
            .values()
            .filter(|entry| entry.record.queue == *queue)
    };
    let count = |state: State| {
        let of_state = entries().filter(|entry| entry.record.state == state);
        (state, of_state.count() as u64)
    };
    let ready = entries().filter(|entry| entry.record.state == State::Ready);
    QueueStats {
        queue: queue.to_owned(),
        counts: State::ALL
            .map(count)
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect(),
        oldest_ready_at: ready.filter_map(|entry| entry.record.published_at).min(),
    }
}

impl Inspect for ToyStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    fn get(&self, task: TaskId) -> Result<Option<Listed>> {
        Ok(self.read(|book| book.find(task).map(|(_, entry)| entry.listed())))
    }

    fn scan(&self, filter: &Filter, cursor: Option<&Cursor>, limit: usize) -> Result<Page> {
        let after: u64 = cursor
            .map_or(Ok(0), Cursor::parse)
            .map_err(|kind| error(kind, "list tasks"))?;
        Ok(self.read(|book| {
            let rest = book.tasks.range(after + 1..);
            let mut found: Vec<_> = rest.filter(|(_, entry)| matches(entry, filter)).collect();
            let has_more = found.len() > limit;
            found.truncate(limit);
            let last = found.last().filter(|_| has_more);
            Page {
                next: last.map(|(sequence, _)| Cursor(sequence.to_string())),
                tasks: found.iter().map(|(_, entry)| entry.listed()).collect(),
            }
        }))
    }

    fn stats(&self) -> Result<Stats> {
        Ok(self.read(|book| {
            let queues = book
                .tasks
                .values()
                .map(|entry| entry.record.queue.to_string());
            let queues: BTreeSet<String> = queues.collect();
            Stats {
                queues: queues
                    .iter()
                    .map(|queue| queue_stats(book, queue))
                    .collect(),
                in_doubt: book.staged.len() as u64,
                in_doubt_since: book.staged.values().map(|staged| staged.since).min(),
            }
        }))
    }

    fn mark(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.read(|book| book.marks.get(key).cloned()))
    }

    fn marks(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.read(|book| {
            let marks = book.marks.iter().filter(|(key, _)| key.starts_with(prefix));
            marks
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        }))
    }

    fn check(&self) -> Result<Vec<String>> {
        Ok(self.read(Book::faults))
    }
}
