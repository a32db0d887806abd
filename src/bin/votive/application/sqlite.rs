//! Applications whose database is a SQLite file.

use std::path::PathBuf;

use votive::id::ResourceId;
use votive::register::Registers;
use votive::resource::rusqlite::{Database, DatabaseError, REGISTER_SCHEMA};
use votive::store::url::StoreUrl;

use crate::exit::{Exit, Failure};

/// The file of an application.
pub(super) struct Application(PathBuf);

impl Application {
    pub(super) fn new(url: &StoreUrl) -> Result<Self, Failure> {
        url.file().map(Self).map_err(Failure::of)
    }

    /// Refuses a file that is not there, lest opening it makes one.
    fn existing(&self) -> Result<&PathBuf, Failure> {
        if self.0.exists() {
            return Ok(&self.0);
        }
        let message = format!("there is no database at {}", self.0.display());
        Err(Failure::new(Exit::NotFound, message))
    }
}

impl super::Application for Application {
    fn introduce(&self, registers: &Registers) -> Result<(), Failure> {
        let database = Database::open(self.existing()?).map_err(unopened)?;
        database.introduce(registers);
        Ok(())
    }

    fn migrate(&self) -> Result<ResourceId, Failure> {
        Database::migrate(&self.0).map_err(unopened)
    }

    fn adopt(&self) -> Result<ResourceId, Failure> {
        let file = self.existing()?;
        Database::adopt(file).map_err(unopened)?;
        Ok(Database::open(file).map_err(unopened)?.id())
    }

    fn statements(&self) -> Result<String, Failure> {
        Ok(REGISTER_SCHEMA.to_owned())
    }
}

fn unopened(error: DatabaseError) -> Failure {
    Failure::because("the database cannot be used", error)
}
