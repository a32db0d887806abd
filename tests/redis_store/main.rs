//! The Redis store on servers that are set up wrong, full, killed, cut off and slow.
#![cfg(test)]

mod backlog;
mod batches;
mod cuts;
mod deaths;
mod encryption;
mod fixture;
mod golden;
mod leases;
mod log;
mod settings;
mod space;
