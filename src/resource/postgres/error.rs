//! What may go wrong with an application's Postgres database.

use postgres::error::{DbError, Severity, SqlState};

use crate::id::TxnId;
use crate::register::{RegisterError, RegisterErrorKind};
use crate::store;
use crate::txn::{BoxError, IncarnationGone};

/// Why a database could not be opened, joined or committed. Nothing was committed by it.
///
/// A database is named by its host, port and name, never by its user and password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The driver, or the server, failed.
    #[error("{place} could not {operation}")]
    #[non_exhaustive]
    Postgres {
        /// The database.
        place: String,
        /// What was being done, as a verb phrase.
        operation: &'static str,
        /// The driver's error.
        #[source]
        source: postgres::Error,
    },
    /// The register, or the store in the same database, failed.
    #[error("{place} could not be used")]
    #[non_exhaustive]
    Tables {
        /// The database.
        place: String,
        /// What that means for whoever asked the register.
        kind: RegisterErrorKind,
        /// Which operation, and why.
        #[source]
        source: store::Error,
    },
    /// The address is not one of a Postgres database.
    #[error("the address of a Postgres database is `postgres://user@host:port/name`: {0}")]
    Address(String),
    /// The driver blocks, which the thread of an asynchronous runtime must not.
    #[error(
        "{0} is reached by a driver that blocks: call it from a thread of its own, as with `spawn_blocking` on a runtime of many threads"
    )]
    Asynchronous(String),
    /// The database is a clone of the one whose register it holds: which one is the real one, nobody but an
    /// operator knows.
    #[error(
        "the register in {place} was made for another database ({recorded}, but this is {found}): if this \
         one has taken its place, run `votive migrate --register` with `--adopt` and its address"
    )]
    #[non_exhaustive]
    Moved {
        /// The database.
        place: String,
        /// The fingerprint in the register.
        recorded: String,
        /// The fingerprint of the database.
        found: String,
    },
    /// The address leads to another database than when it was opened.
    #[error("{0} is not the database any more that was opened: open it again")]
    Replaced(String),
    /// A standby cannot commit, and may be behind, so that nothing in it says what has happened.
    #[error("{0} is a standby: use the address of the primary")]
    Standby(String),
    /// The database cannot decide for others without a register.
    #[error(
        "{0} holds no register, which a transaction with another store needs: run `votive migrate \
         --register` with its address and open it again"
    )]
    NoRegister(String),
    /// A commit of this database might not survive a power failure, so it cannot decide for others; with `fsync` off
    /// what it has prepared might not either, so it cannot promise.
    #[error(
        "{place} has `{setting}`, so its commits may be lost with the power: a transaction with another \
         store needs `fsync` and `synchronous_commit`"
    )]
    #[non_exhaustive]
    NotDurable {
        /// The database.
        place: String,
        /// Its setting.
        setting: String,
    },
    /// The server keeps no prepared transactions.
    #[error(
        "{0} cannot promise to commit, because its server has `max_prepared_transactions = 0`: set it to at \
         least the number of transactions at a time"
    )]
    CannotPrepare(String),
    /// The transaction is over before its time: a statement of the application's ended it. What was executed
    /// after that was committed statement by statement, or refused by a database that is shared with a store.
    #[error("the transaction in {0} was ended by hand")]
    Ended(String),
    /// What is prepared on a connection is not there for the next transaction, which the driver and the register need.
    #[error(
        "{0} is reached through a pooler that hands sessions round (`pooler=transaction`): open it straight, or through \
         one that keeps a session for each connection"
    )]
    Pooled(String),
    /// The database holds a store too, but was opened as if it did not.
    #[error(
        "{0} holds a store too: open it with `Database::sharing`, so that tasks travel in its commit"
    )]
    NotShared(String),
    /// Recovery was faster and has decided to abort.
    #[error("transaction {0} was aborted by recovery before it could commit")]
    Decided(TxnId),
    /// The process could not be made known to the register, where it may have to decide. May be
    /// retried, as another incarnation.
    #[error("{place} could not enroll the incarnation: {reason}")]
    #[non_exhaustive]
    NotEnrolled {
        /// The database.
        place: String,
        /// Why not.
        reason: RegisterError,
        /// Which incarnation.
        #[source]
        source: IncarnationGone,
    },
    /// The process is not known to the register any more. May be retried, as another incarnation.
    #[error("{place} does not know the incarnation any more")]
    #[non_exhaustive]
    Gone {
        /// The database.
        place: String,
        /// Which incarnation.
        #[source]
        source: IncarnationGone,
    },
    /// This process is a fork of the one that opened the database.
    #[error("{0} was opened before a fork: open it again in the child")]
    Forked(String),
}

impl DatabaseError {
    /// Whether the server said so, rather than nobody: what it refused it did not do.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Postgres { .. } => {
                let error = self.by_server();
                error.is_some_and(|error| error.parsed_severity() == Some(Severity::Error))
            }
            _ => true,
        }
    }

    /// Whether it is a refusal by the server itself, and not by a pooler in front of it that has lost it.
    pub(super) fn is_definite(&self) -> bool {
        let is_of_connection =
            |code: &SqlState| code.code().starts_with("08") || code.code().starts_with("57P");
        self.is_refusal() && !self.code().is_some_and(is_of_connection)
    }

    /// What the server said, if it did.
    pub(super) fn by_server(&self) -> Option<&DbError> {
        match self {
            Self::Postgres { source, .. } => source.as_db_error(),
            _ => None,
        }
    }

    /// What the server calls it.
    pub(super) fn code(&self) -> Option<&SqlState> {
        self.by_server().map(DbError::code)
    }

    /// Whether it is of a prepared statement that cannot be executed any more: it was deallocated, or its tables were
    /// changed.
    pub(super) fn is_outdated(&self) -> bool {
        const OUTDATED: [SqlState; 2] = [
            SqlState::INVALID_SQL_STATEMENT_NAME,
            SqlState::FEATURE_NOT_SUPPORTED,
        ];
        self.code().is_some_and(|code| OUTDATED.contains(code))
    }

    /// What the failure means for a register.
    pub(super) fn register_kind(&self) -> RegisterErrorKind {
        match self {
            Self::Postgres { .. } if self.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                RegisterErrorKind::Locked
            }
            Self::Postgres { source, .. } if source.as_db_error().is_none() => {
                RegisterErrorKind::Unreachable
            }
            Self::Tables { kind, .. } => *kind,
            Self::Moved { .. }
            | Self::Replaced(_)
            | Self::Standby(_)
            | Self::NoRegister(_)
            | Self::Pooled(_) => RegisterErrorKind::Unusable,
            _ => RegisterErrorKind::Failed,
        }
    }
}

/// Whether an error, or what caused it, is a conflict with another transaction.
pub(super) fn is_conflict(error: &(dyn std::error::Error + 'static)) -> bool {
    const CONFLICTS: [SqlState; 3] = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        if let Some(error) = error.downcast_ref::<postgres::Error>() {
            error.code().is_some_and(|code| CONFLICTS.contains(code))
        } else {
            error.downcast_ref().is_some_and(store::Error::is_retryable)
        }
    })
}

/// Puts an error into the form in which a participant gives it: a conflict says so of itself, because
/// nobody else can before the participant has joined.
pub(super) fn report(error: DatabaseError) -> BoxError {
    if is_conflict(&error) {
        Box::new(crate::txn::Retryable(error.into()))
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A message of the server's.
    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    /// What the driver makes of the answer of a server to a command.
    fn answered(error: &'static [u8]) -> DatabaseError {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let source = std::thread::scope(|threads| {
            threads.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let ready = message(b'Z', b"I");
                let hello = [message(b'R', &[0; 4]), ready.clone()].concat();
                for answer in [hello, [message(b'E', error), ready].concat()] {
                    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                    stream.write_all(&answer).unwrap();
                }
                // The client says goodbye.
                drop(stream.read(&mut [0; 4096]));
            });
            let address = format!("host=127.0.0.1 port={port} user=any sslmode=disable");
            let mut client = postgres::Client::connect(&address, postgres::NoTls).unwrap();
            client.batch_execute("COMMIT").unwrap_err()
        });
        DatabaseError::Postgres {
            place: String::new(),
            operation: "be committed",
            source,
        }
    }

    #[test]
    fn a_refusal_is_one_in_any_language() {
        let refused = answered(b"SFEHLER\0VERROR\0C40001\0Mein Konflikt\0\0");
        assert!(refused.is_refusal() && refused.is_definite());
        let ended = answered(b"SFATAL\0VFATAL\0C57P01\0Mvorbei\0\0");
        assert!(!ended.is_refusal());
    }

    #[test]
    fn what_a_pooler_says_of_a_server_that_it_has_lost_is_not_definite() {
        let lost = answered(b"SERROR\0VERROR\0C08P01\0Mserver conn crashed?\0\0");
        assert!(lost.is_refusal() && !lost.is_definite());
    }
}
