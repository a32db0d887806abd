//! Which handler runs which kind.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use crate::handler::{Context, Declared, Handler, Origin};
use crate::task::{Payload, PayloadError, PayloadLimits, Record, Task};
use crate::txn::BoxError;

/// The handlers of a consumer, by the kind of task that they run.
///
/// ```
/// use votive::handler::{Context, Registry};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Index { document: i64 }
/// # impl votive::Task for Index { const KIND: &'static str = "index"; }
///
/// let mut registry = Registry::new();
/// registry.register(|task: Index, context: &mut Context<'_>| -> Result<(), std::io::Error> {
///     println!("attempt {} at document {}", context.attempt().number, task.document);
///     Ok(())
/// })?;
/// assert_eq!(registry.kinds().collect::<Vec<_>>(), ["index"]);
/// # Ok::<(), votive::handler::DuplicateKind>(())
/// ```
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
    fallback: Option<Box<dyn Run>>,
    limits: PayloadLimits,
}

struct Entry {
    info: KindInfo,
    run: Box<dyn Run>,
}

/// What a registry knows of a kind beside its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindInfo {
    /// The kind.
    pub kind: &'static str,
    /// The version of the payload that the handler takes without an upgrade.
    pub version: u32,
    /// The queue that [`Queues`](crate::Queues) put its tasks into.
    pub queue: &'static str,
    /// How long one attempt may take, as the kind's own options say.
    pub timeout: Option<Duration>,
    /// Where its handler is.
    pub origin: Origin,
}

/// A kind has a handler already; it stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kind `{kind}` has a handler already, {present}: give another kind to {refused}")]
#[non_exhaustive]
pub struct DuplicateKind {
    /// The kind.
    pub kind: &'static str,
    /// The handler that stays.
    pub present: Origin,
    /// The handler that was not registered.
    pub refused: Origin,
}

impl Registry {
    /// Creates a registry without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `handler` run the tasks of type `T`.
    ///
    /// # Errors
    /// The kind has a handler already, which stays.
    #[track_caller]
    pub fn register<T: Task>(
        &mut self,
        handler: impl Handler<T>,
    ) -> Result<&mut Self, DuplicateKind> {
        let origin = origin_of(&handler, Location::caller());
        self.add::<T>(handler, origin)
    }

    /// Lets the function of a declared task run it, found or not.
    ///
    /// # Errors
    /// The kind has a handler already, which stays.
    pub fn declare<T: Declared>(&mut self) -> Result<&mut Self, DuplicateKind> {
        self.add::<T>(T::run, T::ORIGIN)
    }

    fn add<T: Task>(
        &mut self,
        handler: impl Handler<T>,
        origin: Origin,
    ) -> Result<&mut Self, DuplicateKind> {
        let vacant = match self.entries.entry(T::KIND) {
            btree_map::Entry::Vacant(vacant) => vacant,
            btree_map::Entry::Occupied(present) => {
                return Err(DuplicateKind {
                    kind: T::KIND,
                    present: present.get().info.origin,
                    refused: origin,
                });
            }
        };
        let info = KindInfo {
            kind: T::KIND,
            version: T::VERSION,
            queue: T::QUEUE,
            timeout: T::options().timeout,
            origin,
        };
        let run = Box::new(Typed {
            handler,
            task: PhantomData::<fn(T)>,
        });
        vacant.insert(Entry { info, run });
        Ok(self)
    }

    /// Lets `handler` run the tasks of all kinds that have no handler of their own. Defaults to none:
    /// such tasks are given back, and tried again later.
    pub fn fallback(&mut self, handler: impl Fallback) -> &mut Self {
        self.fallback = Some(Box::new(Untyped(handler)));
        self
    }

    /// Sets how large and deep a payload may be that is still decoded. Defaults to
    /// [`PayloadLimits::default`]; a payload of an older version is decoded by [`Task::upgrade`],
    /// within limits of its own.
    pub fn limits(&mut self, limits: PayloadLimits) -> &mut Self {
        self.limits = limits;
        self
    }

    /// Returns the kinds that have a handler of their own, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.entries.keys().copied()
    }

    /// Returns what is known of the kinds that have a handler of their own, sorted by kind.
    pub fn infos(&self) -> impl Iterator<Item = KindInfo> {
        self.entries.values().map(|entry| entry.info)
    }

    /// Whether somebody runs tasks of this kind, the fallback included.
    #[must_use]
    pub fn handles(&self, kind: &str) -> bool {
        self.find(kind).is_some()
    }

    /// Whether there is a fallback.
    #[must_use]
    pub fn has_fallback(&self) -> bool {
        self.fallback.is_some()
    }

    /// Runs a task in the transaction of `context`.
    ///
    /// # Errors
    /// The handler's own error, or the payload cannot be decoded, or nobody handles the kind.
    pub fn run(&self, record: &Record, context: &mut Context<'_>) -> Result<(), BoxError> {
        let run = self
            .find(&record.kind)
            .ok_or_else(|| format!("nobody handles the kind `{}`", record.kind))?;
        run.run(record, self.limits, context)
    }

    /// Returns how many items one run of a task of this kind has at most, if they run in chunks.
    #[must_use]
    pub fn chunk_size(&self, kind: &str) -> Option<u64> {
        self.find(kind)?.chunk_size()
    }

    fn find(&self, kind: &str) -> Option<&dyn Run> {
        let entry = self.entries.get(kind).map(|entry| &entry.run);
        entry.or(self.fallback.as_ref()).map(|run| &**run)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("kinds", &self.entries.keys())
            .field("fallback", &self.has_fallback())
            .finish_non_exhaustive()
    }
}

/// The code that runs tasks of kinds that nobody else handles. Implemented for closures.
pub trait Fallback: Send + Sync + 'static {
    /// Runs one task, given as it is stored.
    ///
    /// # Errors
    /// The work is not done, and its transaction is aborted.
    fn handle(&self, record: &Record, context: &mut Context<'_>) -> Result<(), BoxError>;
}

impl<F, E> Fallback for F
where
    F: Fn(&Record, &mut Context<'_>) -> Result<(), E> + Send + Sync + 'static,
    E: Into<BoxError>,
{
    fn handle(&self, record: &Record, context: &mut Context<'_>) -> Result<(), BoxError> {
        self(record, context).map_err(Into::into)
    }
}

/// A handler whose task type is forgotten.
trait Run: Send + Sync {
    fn run(
        &self,
        record: &Record,
        limits: PayloadLimits,
        context: &mut Context<'_>,
    ) -> Result<(), BoxError>;

    fn chunk_size(&self) -> Option<u64> {
        None
    }
}

struct Typed<T, H> {
    handler: H,
    task: PhantomData<fn(T)>,
}

impl<T: Task, H: Handler<T>> Run for Typed<T, H> {
    fn run(
        &self,
        record: &Record,
        limits: PayloadLimits,
        context: &mut Context<'_>,
    ) -> Result<(), BoxError> {
        self.handler
            .handle(decode(&record.payload, limits)?, context)
    }

    fn chunk_size(&self) -> Option<u64> {
        self.handler.chunk_size()
    }
}

fn origin_of<H>(_: &H, caller: &'static Location<'static>) -> Origin {
    Origin::of::<H>(caller)
}

fn decode<T: Task>(payload: &Payload, limits: PayloadLimits) -> Result<T, PayloadError> {
    if payload.version == T::VERSION {
        payload.decode_within(limits)
    } else {
        T::upgrade(payload)
    }
}

struct Untyped<H>(H);

impl<H: Fallback> Run for Untyped<H> {
    fn run(
        &self,
        record: &Record,
        _limits: PayloadLimits,
        context: &mut Context<'_>,
    ) -> Result<(), BoxError> {
        self.0.handle(record, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Mail;

    impl Task for Mail {
        const KIND: &'static str = "mail";
    }

    #[expect(clippy::unnecessary_wraps, reason = "the signature of a handler")]
    fn send(_: Mail, _: &mut Context<'_>) -> Result<(), std::fmt::Error> {
        Ok(())
    }

    #[test]
    fn a_kind_has_one_handler() {
        let mut registry = Registry::new();
        registry.register(send).unwrap();
        let error = registry.register(send).unwrap_err();
        assert_eq!(
            (error.kind, error.present.name),
            ("mail", error.refused.name)
        );
        assert_eq!(registry.kinds().collect::<Vec<_>>(), ["mail"]);
    }

    #[test]
    fn the_error_of_a_second_handler_names_both_with_file_and_line() {
        let mut registry = Registry::new();
        registry.register(send).unwrap();
        let line = line!() + 1;
        let error = registry.register(send).unwrap_err();
        let text = error.to_string();
        for at in [line - 2, line] {
            let place = format!("tests::send` ({}:{at})", file!());
            assert!(text.contains(&place), "{text} lacks {place}");
        }
    }

    #[test]
    fn only_a_fallback_handles_what_nobody_knows() {
        let mut registry = Registry::new();
        registry.register(send).unwrap();
        assert!(registry.handles("mail") && !registry.handles("fax"));
        registry.fallback(|_: &Record, _: &mut Context<'_>| Ok::<(), std::fmt::Error>(()));
        assert!(registry.handles("fax"));
    }
}
