//! What a transaction calls when it ends.

/// How a transaction ended, as after-commit hooks and synchronizers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It committed.
    Committed,
    /// It was refused: definitely nothing happened.
    Refused,
    /// It could not be learnt; recovery will answer.
    Undecided,
}
