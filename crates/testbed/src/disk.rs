//! A small disk that is made full and given room again: a file system in memory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::program;

/// A file system of its own, mounted until this is dropped.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a file system of so many bytes.
    ///
    /// # Errors
    /// [`Error::Missing`] if this process may not mount anything.
    pub fn mount(size: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("disk-").tempdir();
        let folder = folder.map_err(Error::system("make a folder"))?;
        let mut mount = Command::new("mount");
        mount.args([
            "-t",
            "tmpfs",
            "-o",
            &format!("size={size},mode=1777"),
            "tmpfs",
        ]);
        program::output(mount.arg(folder.path())).map_err(|_| Error::Missing {
            program: "mount (or the right to use it)".to_owned(),
            is_optional: false,
        })?;
        Ok(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills it but for so many bytes.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn fill(&self, left: u64) -> Result<()> {
        self.fill_up(left).map_err(Error::system("fill a disk"))
    }

    fn fill_up(&self, left: u64) -> io::Result<()> {
        let mut file = File::create(self.ballast())?;
        let mut size = 0;
        loop {
            match file.write(&[0; 4_096]) {
                Ok(written) => size += written as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
        file.set_len(size.saturating_sub(left))
    }

    /// Gives it the room again that was filled.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.ballast()).map_err(Error::system("give room again"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open on it keeps it until then.
        drop(program::output(
            Command::new("umount").arg("-l").arg(self.path()),
        ));
    }
}
