//! An application's SQLite database as a participant, in every form.
#![cfg(test)]

mod fixture;
mod register;
mod session;
