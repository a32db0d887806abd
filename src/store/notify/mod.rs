//! Waiting for work: what stores have in common that wake those who wait in their own process, and those
//! whose files the kernel watches for what other processes write.

mod bell;
#[cfg(any(feature = "sqlite", feature = "file"))]
mod watcher;

pub(crate) use bell::{Bell, Look};
#[cfg(feature = "sqlite")]
pub(crate) use watcher::Nudges;
#[cfg(any(feature = "sqlite", feature = "file"))]
pub(crate) use watcher::{Watcher, or_poll};
