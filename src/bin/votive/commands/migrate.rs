//! `votive migrate`: the store, or an application's register, is made or brought to this version.

use std::fmt;

use serde::Serialize;
use votive::id::ResourceId;
#[cfg(feature = "file")]
use votive::store::{file::FileStore, url::StoreUrl};

use crate::application;
use crate::args::{Global, Migrate};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::target::{self, Target};
use crate::view::Text;

/// What was made, or was there already.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    /// A store.
    Store(Text<ResourceId>),
    /// A register in an application database.
    Register(Text<ResourceId>),
    /// The statements that make a register.
    Statements(String),
}

/// Migrates a store or a register.
pub(super) fn run(global: &Global, typed: &Migrate) -> Result<Exit, Failure> {
    let report = match &typed.register {
        None if typed.adopt => Report::Store(Text(adopt(target::url(global)?)?)),
        None => Report::Store(Text(Target::open_or_create(global)?.store.id())),
        Some(url) if typed.print => Report::Statements(application::at(url)?.statements()?),
        Some(url) if typed.adopt => Report::Register(Text(application::at(url)?.adopt()?)),
        Some(url) => Report::Register(Text(application::at(url)?.migrate()?)),
    };
    output::print(&report, global.json)?;
    Ok(Exit::Ok)
}

/// Declares that a store is the one whose decisions it holds.
fn adopt(url: &str) -> Result<ResourceId, Failure> {
    #[cfg(feature = "file")]
    {
        let parsed: StoreUrl = url.parse().map_err(Failure::of)?;
        if parsed.scheme() == "file" {
            let folder = parsed.folder().map_err(Failure::of)?;
            return Ok(FileStore::adopt(folder)?);
        }
    }
    application::at(url)?.adopt()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(id) => writeln!(f, "store {id} is ready"),
            Self::Register(id) => writeln!(f, "register {id} is ready"),
            Self::Statements(text) => writeln!(f, "{}", text.trim_end()),
        }
    }
}
