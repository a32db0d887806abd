//! What comes out of tasks: results, accounts of failures, progress, follow-ups, chains and groups, and
//! tasks of many items.
#![cfg(test)]

mod chunks;
mod failures;
mod links;
mod results;
mod world;
