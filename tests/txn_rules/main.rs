//! The numbered rules of the protocol, each with the test that bears its number.
#![cfg(test)]

mod abort;
mod commit;
mod deviations;
mod fixture;
mod handing;
mod hooks;
mod join;
mod panics;
mod retry;
mod savepoints;
mod undecided;
