//! Application databases, which hold the registers of transactions that were theirs.

use std::path::PathBuf;
use std::sync::Arc;

use votive::id::ResourceId;
use votive::register::Register;
use votive::resource::rusqlite::{Database, DatabaseError, REGISTER_SCHEMA};
use votive::store::url::StoreUrl;

use crate::exit::{Exit, Failure};

/// Opens the register of the application database at `url`, which must be there.
pub(crate) fn register(url: &str) -> Result<Arc<dyn Register>, Failure> {
    let database = Database::open(existing(url)?).map_err(unopened)?;
    Ok(Arc::new(database))
}

/// Makes the register in the application database at `url`.
pub(crate) fn migrate(url: &str) -> Result<ResourceId, Failure> {
    Database::migrate(file(url)?).map_err(unopened)
}

/// Declares that the database at `url` is the one whose register it holds; a store is one too.
pub(crate) fn adopt(url: &str) -> Result<ResourceId, Failure> {
    let file = existing(url)?;
    Database::adopt(&file).map_err(unopened)?;
    Ok(Database::open(&file).map_err(unopened)?.id())
}

/// Returns the statements that make a register in a database of this kind.
pub(crate) fn statements(url: &str) -> Result<&'static str, Failure> {
    file(url).map(|_| REGISTER_SCHEMA)
}

fn existing(url: &str) -> Result<PathBuf, Failure> {
    let file = file(url)?;
    if file.exists() {
        return Ok(file);
    }
    let message = format!("there is no database at {}", file.display());
    Err(Failure::new(Exit::NotFound, message))
}

fn file(url: &str) -> Result<PathBuf, Failure> {
    let url: StoreUrl = url.parse().map_err(Failure::of)?;
    if url.scheme() == "sqlite" {
        return url.file().map_err(Failure::of);
    }
    let message = format!(
        "no register can be held by `{}`: write `sqlite:path`",
        url.scheme()
    );
    Err(Failure::new(Exit::Usage, message))
}

fn unopened(error: DatabaseError) -> Failure {
    Failure::because("the database cannot be used", error)
}
