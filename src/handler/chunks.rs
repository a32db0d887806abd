//! Tasks over many items, a chunk at a time.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

use crate::handler::{Context, Handler, Rest};
use crate::task::{Position, Task};
use crate::txn::BoxError;

/// Runs a task over many items a chunk at a time, each in a transaction of its own.
///
/// It stays one task, with one id: the end of a chunk gives it back, with how far it is, in the
/// transaction that the chunk works in. So each item is done exactly once as far as that transaction
/// reaches, the others in the line get their turn between two chunks, and whoever waits for the task
/// waits for the whole.
///
/// A chunk of more than one item that fails, or takes too long, is tried again with half as many, and
/// counts no attempt; the next ones double again, up to the full size. A chunk of one item that fails
/// follows the task's [`RetryPolicy`](crate::task::RetryPolicy), and the count starts afresh with every
/// chunk that succeeds. After each chunk that took longer than the task's `timeout`, the next ones get
/// half as much time again, up to some 57 times as much.
///
/// ```
/// use std::ops::Range;
///
/// use votive::handler::{Chunks, Context, Registry};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Import { documents: Vec<i64> }
/// # impl votive::Task for Import { const KIND: &'static str = "import"; }
///
/// let import = Chunks::new(
///     100,
///     |task: &Import| task.documents.len(),
///     |task: &Import, items: Range<usize>, _: &mut Context<'_>| -> Result<(), std::io::Error> {
///         for document in &task.documents[items] {
///             println!("document {document}");
///         }
///         Ok(())
///     },
/// );
/// let mut registry = Registry::new();
/// registry.register(import)?;
/// # Ok::<(), votive::handler::DuplicateKind>(())
/// ```
pub struct Chunks<T, C, F> {
    size: usize,
    pause: Duration,
    count: C,
    run: F,
    task: PhantomData<fn(T)>,
}

impl<T, C, F, E> Chunks<T, C, F>
where
    T: Task,
    C: Fn(&T) -> usize + Send + Sync + 'static,
    F: Fn(&T, Range<usize>, &mut Context<'_>) -> Result<(), E> + Send + Sync + 'static,
    E: Into<BoxError>,
{
    /// Has `run` do at most `size` items at a time, of as many as `count` says that the task has.
    pub fn new(size: usize, count: C, run: F) -> Self {
        Self {
            size: size.max(1),
            pause: Duration::ZERO,
            count,
            run,
            task: PhantomData,
        }
    }
}

impl<T, C, F> Chunks<T, C, F> {
    /// Sets how long to wait at least between two chunks. Defaults to zero: the next one is done when
    /// the others in the line had their turn.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

impl<T, C, F, E> Handler<T> for Chunks<T, C, F>
where
    T: Task,
    C: Fn(&T) -> usize + Send + Sync + 'static,
    F: Fn(&T, Range<usize>, &mut Context<'_>) -> Result<(), E> + Send + Sync + 'static,
    E: Into<BoxError>,
{
    fn handle(&self, task: T, context: &mut Context<'_>) -> Result<(), BoxError> {
        let total = (self.count)(&task);
        let before = context.record().account.as_ref();
        let before = before.and_then(|account| account.position);
        // One that was revived after its end begins again.
        let before = before.filter(|position| position.done < total as u64);
        let done = before.map_or(Ok(0), |position| usize::try_from(position.done))?;
        let size = before.map_or(Ok(self.size), |position| usize::try_from(position.size))?;
        let size = size.clamp(1, self.size);
        let end = done.saturating_add(size).min(total);
        let position = |done: usize, size: usize| Position {
            done: done as u64,
            total: total as u64,
            size: size as u64,
            timeouts: before.map_or(0, |position| position.timeouts),
        };
        context.begin_chunk(position(done, size));
        if done < end {
            (self.run)(&task, done..end, context).map_err(Into::into)?;
        }
        context.set_rest(Rest {
            position: position(end, size.saturating_mul(2).min(self.size)),
            pause: self.pause,
        });
        Ok(())
    }

    fn chunk_size(&self) -> Option<u64> {
        Some(self.size as u64)
    }
}

impl<T, C, F> fmt::Debug for Chunks<T, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks")
            .field("size", &self.size)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}
