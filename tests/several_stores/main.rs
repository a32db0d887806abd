//! One transaction over several stores: two queues, or a queue and an application's database, of whatever
//! kinds. All of it happens or nothing, and whoever cannot be reached is in doubt until it can.
//!
//! What is left by processes that die is in the crash tests; here is what the others see.
#![cfg(test)]

mod applications;
mod fixture;
mod queues;
