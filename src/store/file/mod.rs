//! The file store: the journal that it will keep its tasks in.
#![expect(dead_code, reason = "the store on top of the journal comes next")]

mod error;
mod journal;
mod options;

pub use options::Options;

/// The name of this backend in errors and capabilities.
const BACKEND: &str = "file";
