//! Application databases, in a program that was built for none.

use std::sync::Arc;

use votive::id::ResourceId;
use votive::register::Register;

use crate::exit::{Exit, Failure};

/// Refuses.
pub(crate) fn register(_url: &str) -> Result<Arc<dyn Register>, Failure> {
    Err(missing())
}

/// Refuses.
pub(crate) fn migrate(_url: &str) -> Result<ResourceId, Failure> {
    Err(missing())
}

/// Refuses.
pub(crate) fn adopt(_url: &str) -> Result<ResourceId, Failure> {
    Err(missing())
}

/// Refuses.
pub(crate) fn statements(_url: &str) -> Result<&'static str, Failure> {
    Err(missing())
}

fn missing() -> Failure {
    let message =
        "application databases need the feature `sqlite`, which this program was built without";
    Failure::new(Exit::Usage, message)
}
