//! What a queue promises, told as stories over its public interface.
#![cfg(test)]

mod enqueue;
mod faults;
mod faulty;
mod fixture;
mod garbage;
mod operator;
mod recovery;
mod restart;
