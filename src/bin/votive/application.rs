//! Application databases, which hold the registers of transactions that were theirs.

use std::sync::Arc;

use votive::register::Register;

use crate::exit::Failure;
#[cfg(not(feature = "sqlite"))]
use crate::exit::Exit;

/// Opens the register of the application database at `url`.
pub(crate) fn register(url: &str) -> Result<Arc<dyn Register>, Failure> {
    unimplemented!()
}
