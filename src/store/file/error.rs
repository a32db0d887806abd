//! Errors of a store in a folder.

use crate::store::fault::{self, Backend};

/// A folder of files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Folder;

impl Backend for Folder {
    const NAME: &'static str = super::BACKEND;
}

pub(super) type Fault = fault::Fault<Folder>;

/// Result inside the backend.
pub(super) type Result<T> = std::result::Result<T, Fault>;
