//! Whatever an application does, and however its two stores fail meanwhile: a task is visible if and only
//! if its transaction committed, in both stores alike, and no task is given to two.

mod machine;
mod model;

use std::process::ExitCode;

use machine::Machine;
use votive_fuzz::{Signature, signature};

fn main() -> ExitCode {
    votive_fuzz::run("programs", check)
}

/// The input is a program: each byte is an operation and its parameter.
fn check(input: &[u8]) -> Signature {
    let mut machine = Machine::new(input);
    machine.run();
    machine.recover_and_compare();
    signature(machine.shown())
}
