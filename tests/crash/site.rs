//! Where the data of one chain of children is.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::layout::Layout;
use crate::matrix::MATRIX;

const FOLDER: &str = "VOTIVE_CRASH_FOLDER";
const LAYOUT: &str = "VOTIVE_CRASH_LAYOUT";

/// A folder and a layout; whoever made the folder removes it.
pub(crate) struct Site {
    pub(crate) layout: Layout,
    pub(crate) folder: PathBuf,
    _owned: Option<TempDir>,
}

impl Site {
    /// Makes a new one.
    pub(crate) fn new(layout: Layout) -> Self {
        let owned = tempfile::tempdir().unwrap();
        let folder = owned.path().canonicalize().unwrap();
        Self {
            layout,
            folder,
            _owned: Some(owned),
        }
    }

    /// Tells a child which one to work on.
    pub(crate) fn tell(&self, child: &mut Command) {
        child
            .env(FOLDER, &self.folder)
            .env(LAYOUT, self.layout.to_string());
    }

    /// The one that this process was told of, if it is a child.
    pub(crate) fn told() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os(FOLDER)?);
        let name = std::env::var(LAYOUT).ok()?;
        let layout = MATRIX.iter().find(|layout| layout.to_string() == name);
        Some(Self {
            layout: *layout.expect("a layout"),
            folder,
            _owned: None,
        })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The file in which a process notes what it was told to be committed.
    pub(crate) fn acknowledgements(&self) -> PathBuf {
        acknowledgements(&self.folder)
    }
}

pub(crate) fn acknowledgements(folder: &Path) -> PathBuf {
    folder.join("acknowledged")
}
