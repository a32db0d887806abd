//! A program that depends on the library without naming it does not have its tasks.
#![cfg(test)]

use votive::Registry;

#[votive::task]
fn own() {}

#[test]
fn the_tasks_of_a_library_that_nobody_names_are_not_part_of_the_program() {
    let registry = Registry::discovered().unwrap();
    assert_eq!(registry.kinds().collect::<Vec<_>>(), ["own"]);
}
