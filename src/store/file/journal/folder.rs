//! The folder of a journal: which files are in it, and that their names are on disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::segment::{self, Number};
use crate::store::Kind;
use crate::store::file::error::Result;
#[cfg(not(unix))]
use crate::store::presence::is_same;

/// The file whose kernel lock lets one process at a time append.
const LOCK: &str = "lock";

/// The folder with the lock files of the living.
const ALIVE: &str = "alive";

#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Takes the folder at `path`, and makes it if there is none and `create` says so.
    ///
    /// Refuses one in which there is something, but no journal: it is somebody else's.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self> {
        if create
            && let Err(error) = fs::create_dir(path)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error.into());
        }
        if !create && !path.try_exists()? {
            let what = format!("there is no folder {}", path.display());
            return Err(Kind::NoStore(what).into());
        }
        if path.is_file() {
            let what = format!("{} is a file, not a folder", path.display());
            return Err(Kind::Foreign(what).into());
        }
        let folder = Self {
            path: path.canonicalize()?,
        };
        folder.refuse_foreign(create)?;
        Ok(folder)
    }

    fn refuse_foreign(&self, create: bool) -> Result<()> {
        let mut stranger = None;
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if segment::number(&name).is_some() {
                return Ok(());
            }
            if !is_ours(&name) {
                stranger.get_or_insert(name.into_owned());
            }
        }
        let path = self.path.display();
        match stranger {
            Some(name) => {
                let what = format!("{path} holds `{name}` and no journal");
                Err(Kind::Foreign(what).into())
            }
            None if !create => {
                let what = format!("there is no journal in {path}");
                Err(Kind::NoStore(what).into())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells this folder from a copy of it.
    #[cfg(unix)]
    pub(crate) fn fingerprint(&self) -> io::Result<String> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(&self.path)?;
        Ok(format!(
            "device {} inode {}",
            metadata.dev(),
            metadata.ino()
        ))
    }

    /// Tells this folder from a copy of it.
    #[cfg(not(unix))]
    pub(crate) fn fingerprint(&self) -> io::Result<String> {
        Ok(self.path.display().to_string())
    }

    /// The folder with the lock files of the living.
    pub(crate) fn alive(&self) -> PathBuf {
        self.path.join(ALIVE)
    }

    /// The file of a segment.
    pub(crate) fn segment(&self, number: Number) -> PathBuf {
        self.path.join(segment::name(number))
    }

    pub(crate) fn has(&self, number: Number) -> io::Result<bool> {
        self.segment(number).try_exists()
    }

    /// Opens the file to lock, and makes it if there is none.
    pub(crate) fn lock_file(&self) -> io::Result<File> {
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        options.open(self.path.join(LOCK))
    }

    /// Whether this is still the file to lock: one that was removed keeps out only those who have it open.
    /// The file tells by itself where it can, which is asked before every append.
    #[cfg(unix)]
    #[expect(clippy::unused_self, reason = "elsewhere it looks for the name")]
    pub(crate) fn is_lock(&self, file: &File) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        Ok(file.metadata()?.nlink() > 0)
    }

    /// Whether this is still the file to lock: one that was removed keeps out only those who have it open.
    #[cfg(not(unix))]
    pub(crate) fn is_lock(&self, file: &File) -> io::Result<bool> {
        is_same(file, &self.path.join(LOCK))
    }

    /// The segments, in order.
    pub(crate) fn segments(&self) -> io::Result<Vec<Number>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            numbers.extend(segment::number(&entry?.file_name().to_string_lossy()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Refuses to go on where the journal is gone.
    pub(crate) fn refuse_emptied(&self) -> Result<()> {
        match self.segments() {
            Ok(numbers) if !numbers.is_empty() => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let path = self.path.display();
        let what = format!(
            "its journal is gone from {path}: put it back, or open the store again to begin a new one"
        );
        Err(Kind::NoStore(what).into())
    }

    /// Writes a new segment, whole and on disk, before its name says that it is there.
    pub(crate) fn create(&self, number: Number, content: &[u8]) -> io::Result<()> {
        let new = self.path.join(segment::name_new(number));
        let written = write_new(&new, content);
        let renamed = written.and_then(|()| fs::rename(&new, self.segment(number)));
        if let Err(error) = renamed {
            if let Err(error) = fs::remove_file(&new) {
                tracing::warn!(%error, path = %new.display(), "an unfinished segment stays behind");
            }
            return Err(error);
        }
        Ok(())
    }

    /// Removes a segment. [`sync`](Self::sync) makes it last.
    pub(crate) fn remove(&self, number: Number) -> io::Result<()> {
        match fs::remove_file(self.segment(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Has the names of the files on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    /// Has the name of the folder itself on disk, unless somebody else made it where this process may not look.
    pub(crate) fn sync_parent(&self) -> io::Result<()> {
        let synced = self.path.parent().map_or(Ok(()), sync_folder);
        match synced {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::warn!(%error, path = %self.path.display(), "the folder's own name was not flushed");
                Ok(())
            }
            synced => synced,
        }
    }
}

fn is_ours(name: &str) -> bool {
    name == LOCK || name == ALIVE || name.ends_with(".journal.new")
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::write(path, content)?;
    File::options().write(true).open(path)?.sync_all()
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a folder cannot be opened, and names are on disk by the time that a file is.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
