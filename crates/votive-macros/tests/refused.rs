//! What cannot be a task is refused, with a reason and a way out.
#![cfg(test)]

#[test]
fn what_cannot_be_a_task_is_refused_with_a_reason() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
