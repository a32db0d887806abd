//! What other task queues and their users paid to learn. Each test is named after the lesson, and holds
//! votive to it: on every store where it makes sense.
#![cfg(test)]

mod commits;
mod consuming;
#[path = "../fleet/homes.rs"]
mod homes;
mod stage;

/// Makes a test of each lesson for each kind of store. A lesson takes a [`stage::Stage`].
macro_rules! lessons {
    ($($store:ident: $($lesson:ident)*;)*) => {$(
        mod $store {
            $(
                #[test]
                fn $lesson() {
                    if let Some(stage) = crate::stage::$store() {
                        super::$lesson(&stage);
                    }
                }
            )*
        }
    )*};
}
pub(crate) use lessons;
