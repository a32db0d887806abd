//! An application's SQLite database as a participant, in every form.
#![cfg(test)]

mod enlisted_ours;
mod enlisted_yours;
mod fixture;
mod prepared;
mod register;
mod session;
