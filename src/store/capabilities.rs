//! What a store can promise.

use crate::register::Tier;

/// What a store can promise, asked once when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The name of the backend, such as `sqlite`.
    pub backend: &'static str,
    /// The highest tier that a transaction with this store can get.
    pub tier_max: Tier,
    /// Whether other processes see the tasks.
    pub shared: bool,
    /// Whether an enlisted foreign connection can write tasks (`render`).
    pub renders: bool,
    /// Why the tier is lower than the backend could give, for people; empty if it is not.
    pub caveats: Vec<String>,
}

impl Capabilities {
    /// Describes a store of the given backend and tier that is private to its process.
    #[must_use]
    pub fn new(backend: &'static str, tier_max: Tier) -> Self {
        Self {
            backend,
            tier_max,
            shared: false,
            renders: false,
            caveats: Vec::new(),
        }
    }
}
