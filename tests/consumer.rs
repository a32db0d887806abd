//! The consumer: what counts as what, what happens together, and how it stops.
#![cfg(test)]

#[path = "consumer/atomicity.rs"]
mod atomicity;
#[path = "consumer/counts.rs"]
mod counts;
#[path = "consumer/durable.rs"]
mod durable;
#[path = "consumer/faulty.rs"]
mod faulty;
#[path = "consumer/flow.rs"]
mod flow;
#[path = "consumer/hooks.rs"]
mod hooks;
#[path = "consumer/pausing.rs"]
mod pausing;
#[path = "consumer/rates.rs"]
mod rates;
#[path = "consumer/stop.rs"]
mod stop;
#[path = "consumer/timeouts.rs"]
mod timeouts;
#[path = "consumer/voter.rs"]
mod voter;
#[path = "consumer/workers.rs"]
mod workers;
#[path = "consumer/world.rs"]
mod world;
