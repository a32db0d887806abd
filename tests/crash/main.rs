//! Real crashes: child processes that die at every durable step, and power that fails, after which
//! nothing is lost, nothing doubled and nothing left in doubt.
//!
//! | file | what it does |
//! | --- | --- |
//! | `layout` | where tasks, notes and effects are, and the points at which a process may die |
//! | `matrix` | every layout, and a test of each |
//! | `site` | the data of one layout, on which several children work in turn |
//! | `store`, `shelf` | open the stores of tasks, and where notes and effects are kept |
//! | `world` | a site, opened: recovers it and drains it |
//! | `answer`, `errands`, `work` | the tasks, and what a child does until it dies |
//! | `inspection` | what must hold at any time after recovery |
//! | `child` | another process: this test program once more |
//! | `campaign` | children that die, and what they leave behind |
//! | `servers` | the servers that sites share |
//! | `faults` | servers that are killed, connections that are cut |
//! | `endurance`, `storm` | what a child does meanwhile, and its parent |
//! | `power` | what is left of the files when the power fails |
#![cfg(test)]

mod answer;
mod campaign;
mod child;
mod dice;
mod endurance;
mod errands;
mod faults;
mod inspection;
mod layout;
mod matrix;
mod power;
mod servers;
mod shelf;
mod site;
mod store;
mod storm;
mod work;
mod world;
