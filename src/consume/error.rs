//! Why settings cannot be followed.

use std::path::PathBuf;

use crate::consumer::StartError;
#[cfg(all(feature = "macros", feature = "periodic"))]
use crate::handler::InvalidSchedule;
use crate::open::OpenError;
use crate::queue::EnqueueError;
use crate::txn::BoxError;

/// Why settings cannot be followed. Nothing was claimed, and nothing runs; stores that were opened
/// before are closed again, as they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{place}: the file `{}` cannot be read", path.display())]
    Unreadable {
        /// Where it was named.
        place: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// The file and line.
        place: String,
        /// What is wrong there.
        message: String,
    },
    /// There is no such setting.
    #[error("{place}: there is no setting `{key}` here: {advice}")]
    UnknownKey {
        /// The file and line.
        place: String,
        /// What was said.
        key: String,
        /// What may have been meant.
        advice: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{place}: `{key}` cannot be `{value}`: it must be {expected}")]
    Invalid {
        /// Where it was said: a switch, a variable, or a file and line.
        place: String,
        /// The setting.
        key: &'static str,
        /// What was said.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The settings declare queues, and this is none of them.
    #[error("{place}: there is no queue `{queue}`: {advice}")]
    UnknownQueue {
        /// Where it was named.
        place: String,
        /// Its name.
        queue: String,
        /// What may have been meant.
        advice: String,
    },
    /// No consumer of the file has this name.
    #[error("{place}: there is no consumer `{name}`: {advice}")]
    UnknownConsumer {
        /// Where it was named.
        place: String,
        /// Its name.
        name: String,
        /// What may have been meant.
        advice: String,
    },
    /// A setting of one consumer, said for several.
    #[error(
        "{place}: `{key}` is of one consumer, but there are {count}: choose one by `--consumer`"
    )]
    Ambiguous {
        /// Where it was said.
        place: String,
        /// The setting.
        key: &'static str,
        /// How many consumers there are.
        count: usize,
    },
    /// The queues of a consumer are in several stores.
    #[error(
        "the consumer `{consumer}` serves queues of several stores: it needs one consumer for each"
    )]
    SeveralStores {
        /// The consumer.
        consumer: String,
    },
    /// The store cannot be opened.
    #[error("{place}: the store cannot be opened{hint}")]
    Store {
        /// Where its URL was said.
        place: String,
        /// What may help; empty or a sentence after a colon.
        hint: &'static str,
        /// Why not.
        #[source]
        source: Box<OpenError>,
    },
    /// A queue's name makes no sense.
    #[error("the queue cannot be used")]
    Queue(#[source] Box<EnqueueError>),
    /// The handlers cannot be put together.
    #[error("the handlers cannot be put together")]
    Registry(#[source] BoxError),
    /// A periodic task that is declared in the program has a schedule that cannot be read.
    #[cfg(all(feature = "macros", feature = "periodic"))]
    #[error("a periodic task cannot be entered into a timetable")]
    Periodic(#[source] Box<InvalidSchedule>),
    /// The log cannot be written.
    #[error("{place}: the log cannot be written")]
    Log {
        /// Where it was asked for.
        place: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// A consumer did not start; those that did were stopped again.
    #[error("the consumer `{consumer}` did not start")]
    Start {
        /// The consumer.
        consumer: String,
        /// Why not.
        #[source]
        source: Box<StartError>,
    },
    /// The operating system does not let us listen to signals.
    #[error("signals cannot be listened to")]
    Signals(#[source] std::io::Error),
}
