//! The file store.
#![allow(dead_code, unused)]
mod error;
mod journal;

/// The name of this backend in errors and capabilities.
const BACKEND: &str = "file";
