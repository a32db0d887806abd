//! Tasks are moved from one store to another, and are always in exactly one of them.
#![cfg(test)]

#[path = "../fleet/homes.rs"]
mod homes;
mod killed;
mod moving;
mod pair;
