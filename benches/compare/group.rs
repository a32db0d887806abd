//! Threads that work at once, and those whose work one of them commits together.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Sender, bounded, unbounded};

use crate::setting::Result;

/// Runs `work` on so many threads at once; each gets its number.
pub(crate) fn on_threads(count: u64, work: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })
}

/// Producers hand `count` tasks in all to one writer, which commits those that are there together.
pub(crate) fn commit(
    producers: u64,
    count: u64,
    mut commit: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let (line, arrivals) = unbounded::<Sender<()>>();
    let given_up = AtomicUsize::new(0);
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..producers {
            let (line, given_up) = (line.clone(), &given_up);
            scope.spawn(move || {
                let (answer, answered) = bounded(1);
                for _ in 0..count / producers {
                    if line.send(answer.clone()).is_err() || answered.recv().is_err() {
                        given_up.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
        drop(line);
        while let Ok(first) = arrivals.recv() {
            let members: Vec<_> = std::iter::once(first).chain(arrivals.try_iter()).collect();
            commit(members.len())?;
            for member in members {
                member.send(())?;
            }
        }
        Ok(())
    })?;
    match given_up.into_inner() {
        0 => Ok(()),
        producers => Err(format!("{producers} producers were not answered").into()),
    }
}
