//! The kit for the tests of applications: it asserts what is true, and finds what is not.
#![cfg(test)]

mod crash;
mod drain;
mod expect;
mod rehearse;
mod shop;
