//! Application databases: what they hold says how transactions ended that were theirs.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use votive::id::ResourceId;
use votive::register::Registers;
use votive::store::url::StoreUrl;

use crate::exit::{Exit, Failure};

/// A database of an application, which need not have been reached yet.
pub(crate) trait Application {
    /// Makes the database known to whoever recovers; it must be there.
    fn introduce(&self, registers: &Registers) -> Result<(), Failure>;

    /// Makes the register in the database.
    fn migrate(&self) -> Result<ResourceId, Failure>;

    /// Declares that the database is the one whose register it holds; a store is one too.
    fn adopt(&self) -> Result<ResourceId, Failure>;

    /// Returns the statements that make a register in a database of this kind.
    fn statements(&self) -> Result<String, Failure>;
}

/// Returns the application database at `url`.
pub(crate) fn at(url: &str) -> Result<Box<dyn Application>, Failure> {
    let url: StoreUrl = url.parse().map_err(Failure::of)?;
    match url.scheme() {
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Box::new(sqlite::Application::new(&url)?)),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Box::new(postgres::Application::new(&url)?)),
        other => Err(unsupported(other)),
    }
}

fn unsupported(scheme: &str) -> Failure {
    let feature = match scheme {
        "sqlite" => Some("sqlite"),
        "postgres" | "postgresql" => Some("postgres"),
        _ => None,
    };
    let message = match feature {
        Some(feature) => format!(
            "such application databases need the feature `{feature}`, which this program was built \
             without"
        ),
        None => format!(
            "no register can be held by `{scheme}`: write `sqlite:path` or \
             `postgres://user@host:port/database`"
        ),
    };
    Failure::new(Exit::Usage, message)
}
