//! The Postgres store by itself: how it opens, what becomes of it when the server fails, and what it costs.
#![cfg(test)]

mod claims;
mod encryption;
mod faults;
mod fixture;
mod forks;
mod keys;
mod limits;
mod listening;
mod opening;
mod pooler;
mod races;
mod restarts;
