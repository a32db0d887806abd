//! Schedules: what their texts mean, and at which instants they come.
#![cfg(test)]

mod clocks;
mod properties;
mod texts;
