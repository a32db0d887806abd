//! Applications whose database is on a Postgres server.

use votive::id::ResourceId;
use votive::register::Registers;
use votive::resource::postgres::{Database, DatabaseError, Options, statements};
use votive::store::url::StoreUrl;

use crate::exit::Failure;

/// Where the database of an application is.
pub(super) struct Application {
    address: String,
    options: Options,
}

impl Application {
    pub(super) fn new(url: &StoreUrl) -> Result<Self, Failure> {
        let (address, options) = Options::from_url(url).map_err(Failure::of)?;
        Ok(Self { address, options })
    }
}

impl super::Application for Application {
    /// Whether it has decided for others or promised to others, nobody has said.
    fn introduce(&self, registers: &Registers) -> Result<(), Failure> {
        let open = [Database::open_with, Database::preparing_with];
        for open in open {
            let database = open(&self.address, self.options.clone()).map_err(unopened)?;
            database.introduce(registers);
        }
        Ok(())
    }

    fn migrate(&self) -> Result<ResourceId, Failure> {
        Database::migrate(&self.address, self.options.clone()).map_err(unopened)
    }

    fn adopt(&self) -> Result<ResourceId, Failure> {
        Database::adopt(&self.address, self.options.clone()).map_err(unopened)?;
        let database = Database::open_with(&self.address, self.options.clone());
        Ok(database.map_err(unopened)?.id())
    }

    fn statements(&self) -> Result<String, Failure> {
        statements(self.options.schema_name()).map_err(unopened)
    }
}

fn unopened(error: DatabaseError) -> Failure {
    Failure::because("the database cannot be used", error)
}
