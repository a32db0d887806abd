//! Group commit: writes that arrive together share one wait for the disk.
//!
//! There is no thread of its own. Callers line up; the first one *leads*: it takes who is there, does everybody's
//! work, and only then tells what became of it, refusals too, since a refusal may be due to another member. Each
//! waits in a seat of its own and is woken once: to lead, or when its work is done. A lone caller waits for nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::Kind;

/// How many share a wait at most.
const MEMBERS_MAX: usize = 256;

/// The line before one writer. `J` is what a member has to do, and `E` why it could not be done.
pub(crate) struct Line<J, E: From<Kind>>(Mutex<Queue<J, E>>);

struct Queue<J, E: From<Kind>> {
    members: VecDeque<Member<J, E>>,
    /// Whether somebody leads, or was called to; nobody else does meanwhile.
    has_leader: bool,
    /// How many are being led.
    led: usize,
}

/// One who has lined up. It is told what became of it when this is dropped: that nobody knows, if a leader panicked.
pub(crate) struct Member<J, E: From<Kind>> {
    pub(crate) job: J,
    /// What became of it, if the group comes to its end.
    pub(crate) result: Result<(), E>,
    seat: Arc<Seat<E>>,
}

/// Where a member waits.
struct Seat<E> {
    call: Mutex<Option<Call<E>>>,
    called: Condvar,
}

enum Call<E> {
    Lead,
    Ended(Result<(), E>),
}

impl<J, E: From<Kind>> Default for Line<J, E> {
    fn default() -> Self {
        Self(Mutex::new(Queue {
            members: VecDeque::new(),
            has_leader: false,
            led: 0,
        }))
    }
}

impl<J, E: Clone + From<Kind>> Line<J, E> {
    /// How many have lined up and are not done.
    pub(crate) fn waiting(&self) -> usize {
        let queue = self.0.lock();
        queue.members.len() + queue.led
    }

    /// Lines up, and returns when the job was done: by whoever led, or by the caller, if that comes to lead. Then
    /// `lead` does the jobs of all, in whatever order, and leaves in each member what became of it; its own error is
    /// that of all of them.
    pub(crate) fn run(
        &self,
        job: J,
        lead: impl FnOnce(&mut [Member<J, E>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let seat = Arc::new(Seat {
            call: Mutex::new(None),
            called: Condvar::new(),
        });
        self.line_up(Member {
            job,
            result: Err(Kind::Unknown.into()),
            seat: Arc::clone(&seat),
        });
        if let Call::Ended(result) = seat.wait() {
            return result;
        }
        let mut led = self.lead();
        let ended = lead(&mut led.members);
        if let Err(error) = ended {
            led.members
                .iter_mut()
                .for_each(|member| member.result = Err(error.clone()));
        }
        drop(led);
        match seat.wait() {
            Call::Ended(result) => result,
            Call::Lead => Err(Kind::Unknown.into()),
        }
    }

    fn line_up(&self, member: Member<J, E>) {
        let mut queue = self.0.lock();
        queue.members.push_back(member);
        if !queue.has_leader {
            queue.call_first();
        }
    }

    /// Takes those who are there.
    fn lead(&self) -> Led<'_, J, E> {
        let mut queue = self.0.lock();
        let count = queue.members.len().min(MEMBERS_MAX);
        queue.led = count;
        Led {
            members: queue.members.drain(..count).collect(),
            line: self,
        }
    }
}

impl<J, E: From<Kind>> Queue<J, E> {
    /// Has the first of those who wait lead, if somebody waits.
    fn call_first(&mut self) {
        let first = self.members.front();
        self.has_leader = first.is_some();
        if let Some(first) = first {
            first.seat.call(Call::Lead);
        }
    }
}

/// Those who are being led. When this is dropped, even by a panic, the next one leads, and then they are told.
struct Led<'l, J, E: From<Kind>> {
    members: Vec<Member<J, E>>,
    line: &'l Line<J, E>,
}

impl<J, E: From<Kind>> Drop for Led<'_, J, E> {
    fn drop(&mut self) {
        let mut queue = self.line.0.lock();
        queue.led = 0;
        queue.call_first();
    }
}

impl<J, E: From<Kind>> Drop for Member<J, E> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        self.seat.call(Call::Ended(result));
    }
}

impl<E> Seat<E> {
    fn call(&self, call: Call<E>) {
        *self.call.lock() = Some(call);
        self.called.notify_one();
    }

    fn wait(&self) -> Call<E> {
        let mut call = self.call.lock();
        loop {
            match call.take() {
                Some(call) => return call,
                None => self.called.wait(&mut call),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    type Numbers = Line<u32, Kind>;
    type Ended = Result<(), Kind>;

    /// Refuses odd numbers.
    fn judge(members: &mut [Member<u32, Kind>]) -> Ended {
        for member in members {
            member.result = if member.job % 2 == 0 {
                Ok(())
            } else {
                Err(Kind::Conflict)
            };
        }
        Ok(())
    }

    /// Has those with these jobs wait for somebody, then led by `lead`, and returns how they fared; `None` is that
    /// one panicked.
    fn behind(
        line: &Numbers,
        jobs: &[u32],
        lead: impl Fn(&mut [Member<u32, Kind>]) -> Ended + Sync,
    ) -> Vec<Option<Ended>> {
        let (go, gone) = mpsc::channel::<()>();
        let wait_for = |count| {
            while line.waiting() < count {
                thread::yield_now();
            }
        };
        thread::scope(|threads| {
            threads.spawn(move || {
                line.run(0, |_| {
                    gone.recv().unwrap();
                    Ok(())
                })
            });
            wait_for(1);
            let followers = (2..).zip(jobs).map(|(count, job)| {
                let follower = threads.spawn(|| line.run(*job, &lead));
                wait_for(count);
                follower
            });
            let followers: Vec<_> = followers.collect();
            go.send(()).unwrap();
            let ends = followers.into_iter().map(|follower| follower.join().ok());
            ends.collect()
        })
    }

    #[test]
    fn each_is_told_what_became_of_its_own_job() {
        let ends = behind(&Numbers::default(), &[2, 3, 4], judge);
        assert_eq!(ends, [Ok(()), Err(Kind::Conflict), Ok(())].map(Some));
    }

    #[test]
    fn the_error_of_a_group_is_that_of_all_its_members() {
        let line = Numbers::default();
        assert_eq!(line.run(2, |_| Err(Kind::Full)), Err(Kind::Full));
        assert_eq!(line.waiting(), 0);
    }

    #[test]
    fn those_who_wait_together_are_led_together() {
        let (line, groups) = (Numbers::default(), Mutex::new(Vec::new()));
        let judge = |members: &mut [Member<u32, Kind>]| {
            groups.lock().push(members.len());
            judge(members)
        };
        behind(&line, &[2, 4, 6], judge);
        assert_eq!(*groups.lock(), [3]);
    }

    #[test]
    fn nobody_is_left_waiting_for_a_leader_that_panics() {
        let line = Numbers::default();
        let ends = behind(&line, &[2, 4], |_| panic!("on purpose"));
        assert_eq!(ends, [None, Some(Err(Kind::Unknown))]);
        assert_eq!(line.run(2, judge), Ok(()));
    }
}
