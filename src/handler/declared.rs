//! Tasks that are declared together with their handlers, by `#[votive::task]`, and where they are.

use std::fmt;
use std::panic::Location;

use serde::Serialize;

use crate::handler::{Context, DuplicateKind, Registry};
use crate::task::Task;
use crate::txn::BoxError;

/// Where the code of a kind is: shown when two want the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Origin {
    /// The file, as the compiler was told it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// The function or the type, with its modules.
    pub name: &'static str,
}

impl Origin {
    /// Names a place in the code.
    #[must_use]
    pub const fn new(name: &'static str, file: &'static str, line: u32) -> Self {
        Self { file, line, name }
    }

    /// Names the type `H` of a handler, and the place where it is registered.
    pub(super) fn of<H>(caller: &'static Location<'static>) -> Self {
        Self::new(std::any::type_name::<H>(), caller.file(), caller.line())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}:{})", self.name, self.file, self.line)
    }
}

/// A task that brings its handler along. `#[votive::task]` makes one of a function: the arguments are
/// its fields.
pub trait Declared: Task {
    /// Where it is declared.
    const ORIGIN: Origin;

    /// Runs the task.
    ///
    /// # Errors
    /// The work is not done, and its transaction is aborted.
    fn run(self, context: &mut Context<'_>) -> Result<(), BoxError>;
}

/// One declared task, as autodiscovery finds it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Declaration {
    /// The kind.
    pub kind: &'static str,
    /// The queue that [`Queues`](crate::Queues) put it into.
    pub queue: &'static str,
    /// Where it is declared.
    pub origin: Origin,
    register: fn(&mut Registry) -> Result<(), DuplicateKind>,
}

impl Declaration {
    /// Describes the task `T`.
    #[must_use]
    pub const fn of<T: Declared>() -> Self {
        Self {
            kind: T::KIND,
            queue: T::QUEUE,
            origin: T::ORIGIN,
            register: |registry| registry.declare::<T>().map(drop),
        }
    }

    /// Registers the task with its handler.
    ///
    /// # Errors
    /// The kind has a handler already, which stays.
    pub fn register(&self, registry: &mut Registry) -> Result<(), DuplicateKind> {
        (self.register)(registry)
    }
}

/// What a declared function may return: nothing, which is success, or a `Result`, whose value is the
/// task's result (see [`Context::set_result`]); `()` is none.
///
/// ```compile_fail,E0277
/// #[votive::task]
/// fn count() -> u32 {
///     7
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a task cannot return `{Self}`",
    label = "returned by a task",
    note = "a task returns nothing, or a `Result` of a value that serde can write, with an error that a `Box<dyn Error + Send + Sync>` can hold"
)]
pub trait Returned {
    /// Makes it the result of a handler, and of its task.
    ///
    /// # Errors
    /// It was one, or the value is too large.
    fn returned(self, context: &mut Context<'_>) -> Result<(), BoxError>;
}

impl Returned for () {
    fn returned(self, _: &mut Context<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<R: Serialize, E: Into<BoxError>> Returned for Result<R, E> {
    fn returned(self, context: &mut Context<'_>) -> Result<(), BoxError> {
        context.keep(&self.map_err(Into::into)?)
    }
}
