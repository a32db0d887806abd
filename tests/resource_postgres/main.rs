//! Postgres databases of the application, told as stories over the public interface, on a private server.
#![cfg(test)]

mod crash;
mod enlisted_ours;
mod enlisted_yours;
mod enlisting;
mod fixture;
mod following;
mod prepared;
mod preparing;
mod register;
mod session;
mod unasked;
