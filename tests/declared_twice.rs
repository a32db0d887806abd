//! Two functions of one kind in one program.
#![cfg(test)]

use votive::Registry;

mod one {
    #[votive::task]
    fn send() {}
}

mod other {
    #[votive::task(kind = "send")]
    fn dispatch() {}
}

#[test]
fn two_functions_of_one_kind_are_an_error_that_names_both_with_file_and_line() {
    let error = Registry::discovered().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the kind `send` has a handler already, `declared_twice::one::send` \
         (tests/declared_twice.rs:7): give another kind to `declared_twice::other::dispatch` \
         (tests/declared_twice.rs:12)"
    );
}
