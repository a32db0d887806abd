//! Periodic tasks: each time of a schedule becomes one task, whoever runs, dies and comes back.
#![cfg(test)]

mod child;
#[path = "../fleet/homes.rs"]
mod homes;
mod kills;
mod scene;
mod starting;
mod timetable;
