//! What a queue promises, told as stories over its public interface.
#![cfg(test)]

mod about;
mod database;
mod enqueue;
mod faults;
mod faulty;
mod fixture;
mod garbage;
mod operator;
mod order;
mod preparing;
mod recovery;
mod restart;
mod room;
mod settings;
mod turn;
