//! Group commit: writes that arrive together share one wait for the disk.
//!
//! There is no thread of its own. Callers line up; one of them *leads*: it takes who is there, does everybody's
//! work, and only then tells what became of it, refusals too, since a refusal may be due to another member. When a
//! group ends, the first who waits is woken to lead the next. A caller that arrives before that one is running leads in
//! its place, so that the writer is never idle while somebody waits. A lone caller waits for nobody.

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
    /// How many have ever left the line, to be led.
    left: u64,
    /// How many are being led; nobody else leads meanwhile.
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
    /// To lead, unless somebody else does already.
    Lead,
    Ended(Result<(), E>),
}

impl<J, E: From<Kind>> Default for Line<J, E> {
    fn default() -> Self {
        Self(Mutex::new(Queue {
            members: VecDeque::new(),
            left: 0,
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
    /// `work` does the jobs of all, in whatever order, and leaves in each member what became of it; its own error is
    /// that of all of them.
    pub(crate) fn run(
        &self,
        job: J,
        work: impl Fn(&mut [Member<J, E>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let seat = Arc::new(Seat::default());
        let number = self.line_up(job, &seat);
        loop {
            if let Some(mut group) = self.lead(number) {
                group.do_by(&work);
            } else if let Call::Ended(result) = seat.wait() {
                return result;
            }
        }
    }

    /// Returns the number of the new member: how many lined up before it.
    fn line_up(&self, job: J, seat: &Arc<Seat<E>>) -> u64 {
        let mut queue = self.0.lock();
        queue.members.push_back(Member {
            job,
            result: Err(Kind::Unknown.into()),
            seat: Arc::clone(seat),
        });
        queue.left + queue.members.len() as u64 - 1
    }

    /// Takes those who are there, if nobody leads, and the one with this number is still in the line.
    fn lead(&self, number: u64) -> Option<Group<'_, J, E>> {
        let mut queue = self.0.lock();
        if queue.led > 0 || number < queue.left {
            return None;
        }
        let count = queue.members.len().min(MEMBERS_MAX);
        queue.led = count;
        queue.left += count as u64;
        Some(Group {
            members: queue.members.drain(..count).collect(),
            line: self,
            is_done: false,
        })
    }
}

/// Those who are being led. When this is dropped, even by a panic, the next one leads, and then they are told.
struct Group<'l, J, E: From<Kind>> {
    members: Vec<Member<J, E>>,
    line: &'l Line<J, E>,
    /// Whether the work has returned: what it leaves in the members before that may come to nothing.
    is_done: bool,
}

impl<J, E: Clone + From<Kind>> Group<'_, J, E> {
    fn do_by(&mut self, work: impl Fn(&mut [Member<J, E>]) -> Result<(), E>) {
        let worked = work(&mut self.members);
        self.is_done = true;
        if let Err(error) = worked {
            for member in &mut self.members {
                member.result = Err(error.clone());
            }
        }
    }
}

impl<J, E: From<Kind>> Drop for Group<'_, J, E> {
    fn drop(&mut self) {
        if !self.is_done {
            for member in &mut self.members {
                member.result = Err(Kind::Unknown.into());
            }
        }
        let mut queue = self.line.0.lock();
        queue.led = 0;
        if let Some(first) = queue.members.front() {
            first.seat.call(Call::Lead);
        }
    }
}

impl<J, E: From<Kind>> Drop for Member<J, E> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        self.seat.call(Call::Ended(result));
    }
}

impl<E> Default for Seat<E> {
    fn default() -> Self {
        Self {
            call: Mutex::new(None),
            called: Condvar::new(),
        }
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
    fn all(members: &mut [Member<u32, Kind>]) -> Ended {
        members.iter_mut().try_for_each(|member| {
            member.result = match member.job % 2 {
                0 => Ok(()),
                _ => Err(Kind::Conflict),
            };
            Ok(())
        })
    }

    /// Has those with these jobs wait for somebody, and one of them do all by `work`; returns how they fared. `None` is
    /// that one panicked.
    fn behind(
        line: &Numbers,
        jobs: &[u32],
        work: impl Fn(&mut [Member<u32, Kind>]) -> Ended + Sync,
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
                let follower = threads.spawn(|| line.run(*job, &work));
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
        let ends = behind(&Numbers::default(), &[2, 3, 4], all);
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
        let count = |members: &mut [Member<u32, Kind>]| {
            groups.lock().push(members.len());
            all(members)
        };
        behind(&line, &[2, 4, 6], count);
        assert_eq!(*groups.lock(), [3]);
    }

    #[test]
    fn nobody_is_left_waiting_for_a_leader_that_panics() {
        let line = Numbers::default();
        let ends = behind(&line, &[2, 4], |_| panic!("on purpose"));
        assert_eq!(ends, [None, Some(Err(Kind::Unknown))]);
        assert_eq!(line.run(2, all), Ok(()));
    }

    #[test]
    fn what_a_leader_found_before_it_panicked_is_told_to_nobody() {
        let work = |members: &mut [Member<u32, Kind>]| -> Ended {
            all(members)?;
            panic!("on purpose")
        };
        let ends = behind(&Numbers::default(), &[2, 4], work);
        assert_eq!(ends, [None, Some(Err(Kind::Unknown))]);
    }
}
