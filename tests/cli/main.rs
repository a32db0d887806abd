//! The `votive` program, driven as a user drives it, on stores in files.
#![cfg(test)]

mod changing;
mod copying;
mod dead;
mod desk;
mod endings;
mod enqueueing;
#[path = "../fleet/homes.rs"]
mod homes;
mod in_doubt;
mod looking;
mod pausing;
mod postgres;
mod stores;
mod timing;
