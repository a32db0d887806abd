//! Several processes on one store: consumers that share the work, die, and are replaced.
#![cfg(test)]

mod child;
mod homes;
mod stories;
