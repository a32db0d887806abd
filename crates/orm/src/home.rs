//! Where the database of an application is, and the store in it.

use std::sync::Arc;

use votive::store::Store;
use votive_testbed::{or_skip, postgres};

/// The database of an application, with the store in it, and another one.
pub trait Home: Sized {
    /// Makes both; nothing if there is no server program, which is said.
    fn make() -> Option<Self>;

    /// The database with the store in it, and another of the same kind with a store of its own.
    fn places(&self) -> &[Place; 2];

    /// The database with the store in it.
    fn place(&self) -> &Place {
        let [place, _] = self.places();
        place
    }

    /// The other one.
    fn elsewhere(&self) -> &Place {
        let [_, elsewhere] = self.places();
        elsewhere
    }
}

/// One database.
pub struct Place {
    /// Its address, for a driver.
    pub url: String,
    /// The store in it.
    pub store: Arc<dyn Store>,
}

impl Place {
    fn new(url: String, address: &str) -> Self {
        #[expect(clippy::expect_used, reason = "a test without its store is over")]
        let store = votive::open(address).expect("open the store of a test");
        Self { url, store }
    }
}

/// Two SQLite files.
pub struct Sqlite {
    places: [Place; 2],
    #[expect(dead_code, reason = "the files go with it")]
    folder: tempfile::TempDir,
}

impl Home for Sqlite {
    fn make() -> Option<Self> {
        #[expect(clippy::expect_used, reason = "a test without its folder is over")]
        let folder = tempfile::tempdir().expect("make a folder");
        let places = ["app.db", "other.db"].map(|name| {
            let path = folder.path().join(name).display().to_string();
            Place::new(path.clone(), &format!("sqlite://{path}"))
        });
        Some(Self { places, folder })
    }

    fn places(&self) -> &[Place; 2] {
        &self.places
    }
}

/// Two databases of a private server.
pub struct Postgres {
    places: [Place; 2],
    #[expect(dead_code, reason = "the server stops with it")]
    server: votive_testbed::Postgres,
}

impl Home for Postgres {
    fn make() -> Option<Self> {
        let started = votive_testbed::Postgres::start(postgres::Options::default());
        let server = or_skip(started)?;
        let urls = [server.url(), or_skip(server.create_database("other"))?];
        let places = urls.map(|url| Place::new(url.clone(), &url));
        Some(Self { places, server })
    }

    fn places(&self) -> &[Place; 2] {
        &self.places
    }
}
