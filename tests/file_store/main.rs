//! The file store as a folder that others write to, fill, damage, clean and share.
#![cfg(test)]

mod bad_input;
mod child;
mod cleaning;
mod disks;
mod fixture;
mod group_commit;
mod processes;
mod size;
