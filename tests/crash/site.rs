//! Where the data of one chain of children is.
#![cfg(test)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::layout::{Layout, Program};
use crate::matrix::MATRIX;
use crate::servers::{self, Lent};

const FOLDER: &str = "VOTIVE_CRASH_FOLDER";
const LAYOUT: &str = "VOTIVE_CRASH_LAYOUT";
const REDIS: &str = "VOTIVE_CRASH_REDIS";
const POSTGRES: &str = "VOTIVE_CRASH_POSTGRES";
const DATABASES: &str = "VOTIVE_CRASH_DATABASES";

/// How many Postgres databases a site has, at most: for tasks, notes and effects.
pub(crate) const DATABASE_COUNT: usize = 3;

/// A folder, databases in servers, and a layout; whoever made the folder removes it.
pub(crate) struct Site {
    pub(crate) layout: Layout,
    pub(crate) folder: PathBuf,
    pub(crate) redis: Option<SocketAddr>,
    pub(crate) postgres: Option<SocketAddr>,
    pub(crate) databases: Vec<String>,
    _owned: Option<TempDir>,
    /// Given back when this is dropped.
    lent: Vec<Lent>,
}

impl Site {
    /// Makes a new one, on the servers that all share.
    pub(crate) fn new(layout: Layout) -> Self {
        let mut site = Self::in_folder(layout);
        if let Some(server) = servers::redis().filter(|_| layout.needs(Program::Redis)) {
            site.redis = Some(server.address());
        }
        if let Some(server) = servers::postgres().filter(|_| layout.needs(Program::Postgres)) {
            site.postgres = Some(server.address());
            site.lent = [(); DATABASE_COUNT].map(|()| Lent::new(server)).into();
            site.databases = site
                .lent
                .iter()
                .map(|lent| lent.name().to_owned())
                .collect();
        }
        site
    }

    /// Makes a new one without servers.
    pub(crate) fn in_folder(layout: Layout) -> Self {
        let owned = tempfile::tempdir().unwrap();
        Self {
            layout,
            folder: owned.path().canonicalize().unwrap(),
            redis: None,
            postgres: None,
            databases: Vec::new(),
            _owned: Some(owned),
            lent: Vec::new(),
        }
    }

    /// Tells a child which one to work on.
    pub(crate) fn tell(&self, child: &mut Command) {
        child
            .env(FOLDER, &self.folder)
            .env(LAYOUT, self.layout.to_string());
        child.env(DATABASES, self.databases.join(" "));
        for (name, address) in [(REDIS, self.redis), (POSTGRES, self.postgres)] {
            child.envs(address.map(|address| (name, address.to_string())));
        }
    }

    /// The one that this process was told of, if it is a child.
    pub(crate) fn told() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os(FOLDER)?);
        let name = std::env::var(LAYOUT).ok()?;
        let layout = MATRIX.iter().find(|layout| layout.to_string() == name);
        let address = |name| Some(std::env::var(name).ok()?.parse().unwrap());
        let databases = std::env::var(DATABASES).unwrap_or_default();
        Some(Self {
            layout: *layout.expect("a layout"),
            folder,
            redis: address(REDIS),
            postgres: address(POSTGRES),
            databases: databases.split_whitespace().map(str::to_owned).collect(),
            _owned: None,
            lent: Vec::new(),
        })
    }

    /// Its name among the sites that share a server.
    pub(crate) fn name(&self) -> String {
        let name = self.folder.file_name().unwrap().to_string_lossy();
        name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The address of a Postgres database: 0 for tasks, 1 for notes, 2 for effects.
    pub(crate) fn database(&self, number: usize) -> String {
        let address = self.postgres.expect("a Postgres server");
        format!("postgres://postgres@{address}/{}", self.databases[number])
    }

    /// The address of a store in Redis.
    pub(crate) fn redis(&self, store: &str) -> String {
        let address = self.redis.expect("a Redis server");
        format!("redis://{address}/0?name={}.{store}", self.name())
    }

    /// The file in which a process notes what it was told to be committed.
    pub(crate) fn acknowledgements(&self) -> PathBuf {
        self.file("acknowledged")
    }

    /// The file in which a process notes what it was told to be refused.
    pub(crate) fn refusals(&self) -> PathBuf {
        self.file("refused")
    }
}
