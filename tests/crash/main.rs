//! Real crashes: child processes that die at every durable step, and power that fails, after which
//! nothing is lost, nothing doubled and nothing left in doubt.
//!
//! | file | what it does |
//! | --- | --- |
//! | `layout` | who enqueues, where effects go, and the points at which a process may die |
//! | `world` | opens the files of a layout, and recovers and drains them |
//! | `work` | what a child does until it dies |
//! | `inspection` | what must hold at any time after recovery |
//! | `child` | another process: this test program once more |
//! | `campaign` | children that die, and what they leave behind |
//! | `power` | what is left of the files when the power fails |
#![cfg(test)]

mod campaign;
mod child;
mod dice;
mod inspection;
mod layout;
mod power;
mod work;
mod world;
