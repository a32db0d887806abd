//! The SQLite store as a file that others write to, fill, damage and share.
#![cfg(test)]

#[path = "sqlite_store/bad_input.rs"]
mod bad_input;
#[path = "sqlite_store/child.rs"]
mod child;
#[path = "sqlite_store/disks.rs"]
mod disks;
#[path = "sqlite_store/fixture.rs"]
mod fixture;
#[path = "sqlite_store/group_commit.rs"]
mod group_commit;
#[path = "sqlite_store/housekeeping.rs"]
mod housekeeping;
#[path = "sqlite_store/processes.rs"]
mod processes;
#[path = "sqlite_store/unreadable.rs"]
mod unreadable;
#[path = "sqlite_store/waiting.rs"]
mod waiting;
