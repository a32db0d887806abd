//! The rules of this house, as tests: layers, sizes, habits, and documents that equal the code.
#![cfg(test)]

#[path = "architecture/coming_from.rs"]
mod coming_from;
#[path = "architecture/documents.rs"]
mod documents;
#[path = "architecture/habits.rs"]
mod habits;
#[path = "architecture/layers.rs"]
mod layers;
#[path = "architecture/sizes.rs"]
mod sizes;
#[path = "architecture/source.rs"]
mod source;
