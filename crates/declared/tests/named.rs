//! A program that names the library has its tasks.
#![cfg(test)]

use votive::Registry;
use votive_declared as _;

#[votive::task]
fn own() {}

#[test]
fn the_tasks_of_a_named_library_are_found_beside_those_of_the_program() {
    let registry = Registry::discovered().unwrap();
    let kinds: Vec<_> = registry.kinds().collect();
    assert_eq!(kinds, ["library.forget", "library.shrink", "own"]);
}

#[test]
fn what_is_found_says_where_it_is_declared() {
    let found = votive::handler::declarations();
    let shrink = found.iter().find(|it| it.kind == "library.shrink").unwrap();
    assert_eq!(shrink.queue, "pictures");
    assert_eq!(shrink.origin.name, "votive_declared::shrink");
    assert!(shrink.origin.file.ends_with("declared/src/lib.rs"));
}
