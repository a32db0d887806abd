//! A disk that has promised what was flushed, and nothing else.
#![cfg(test)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::trace::{Event, is_of_locks};
use crate::dice::Dice;

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

/// The files of a folder: what of them is safe, and what may or may not be.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<PathBuf, File>,
    /// The old and the new names of files whose folder was not flushed since.
    renames: Vec<(PathBuf, PathBuf)>,
    /// How many changes each flush that is under way has to wait for.
    syncs: HashMap<(PathBuf, u32), usize>,
}

#[derive(Debug, Default)]
struct File {
    /// As of its last flush; `None` if it is not there.
    flushed: Option<Vec<u8>>,
    pending: Vec<Change>,
    /// How many changes were flushed.
    flushed_count: usize,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
    Remove,
}

/// What became of the changes to one file that were not flushed.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    /// Some of them reached the disk, in any order.
    Scattered,
    /// They reached the disk in order, up to one of which only some sectors did.
    Torn,
}

impl Disk {
    /// Takes the files of a folder as they are for flushed.
    pub(crate) fn of(folder: &Path) -> Self {
        let mut disk = Self::default();
        for file in files(folder) {
            let flushed = Some(fs::read(&file).unwrap());
            let flushed = File {
                flushed,
                ..File::default()
            };
            disk.files.insert(file, flushed);
        }
        disk
    }

    pub(crate) fn perform(&mut self, event: &Event) {
        match event {
            Event::Write { file, at, bytes } => self.file(file).push(Change::Write {
                at: *at,
                bytes: bytes.clone(),
            }),
            Event::Truncate { file, length } => self.file(file).push(Change::Truncate(*length)),
            Event::Remove { file } => self.file(file).push(Change::Remove),
            Event::Rename { from, to } => {
                let renamed = self.files.remove(from).unwrap_or_default();
                self.files.insert(to.clone(), renamed);
                self.renames.push((from.clone(), to.clone()));
            }
            Event::SyncFolder { folder } => self.sync_folder(folder),
            Event::SyncBegins { file, thread } => {
                let known = self.file(file);
                let count = known.flushed_count + known.pending.len();
                self.syncs.insert((file.clone(), *thread), count);
            }
            Event::SyncEnds { file, thread } => {
                let count = self.syncs.remove(&(file.clone(), *thread)).unwrap();
                self.file(file).flush(count);
            }
        }
    }

    fn sync_folder(&mut self, folder: &Path) {
        self.renames.retain(|(_, to)| to.parent() != Some(folder));
        let is_in = |path: &&PathBuf| path.parent() == Some(folder);
        let inside: Vec<_> = self.files.keys().filter(is_in).cloned().collect();
        for path in inside {
            let file = self.file(&path);
            if let Some(Change::Remove) = file.pending.last() {
                file.flush(usize::MAX);
            }
        }
    }

    fn file(&mut self, path: &Path) -> &mut File {
        self.files.entry(path.to_owned()).or_default()
    }

    /// Makes the folder what the power failure left of it. Files keep their inodes, by which a database
    /// is told from its copies.
    pub(crate) fn fail(&self, folder: &Path, dice: &mut Dice) {
        let renamed = dice.below(self.renames.len() + 1);
        let undone = self.renames.get(renamed..).unwrap_or_default();
        let name = |path: &PathBuf| {
            let old = undone.iter().find(|(_, to)| to == path);
            old.map_or(path, |(from, _)| from).clone()
        };
        let left = self.files.iter().filter_map(|(path, file)| {
            let content = file.after_failure(dice)?;
            Some((name(path), content))
        });
        let left: BTreeMap<_, _> = left.collect();
        for file in files(folder) {
            if !left.contains_key(&file) {
                fs::remove_file(file).unwrap();
            }
        }
        for (path, content) in left {
            fs::write(path, content).unwrap();
        }
    }
}

impl File {
    fn push(&mut self, change: Change) {
        // A new file under the old name: nothing of the old one comes back.
        if let Some(Change::Remove) = self.pending.last() {
            self.flush(usize::MAX);
        }
        self.pending.push(change);
    }

    /// Makes the changes up to the `count`-th safe.
    fn flush(&mut self, count: usize) {
        let due = count
            .saturating_sub(self.flushed_count)
            .min(self.pending.len());
        for change in self.pending.drain(..due) {
            change.make(&mut self.flushed);
        }
        self.flushed_count += due;
    }

    fn after_failure(&self, dice: &mut Dice) -> Option<Vec<u8>> {
        let mut content = self.flushed.clone();
        let fate = dice.pick(&[Fate::Lost, Fate::Kept, Fate::Scattered, Fate::Torn]);
        let torn = dice.below(self.pending.len() + 1);
        for (number, change) in self.pending.iter().enumerate() {
            match fate {
                Fate::Kept => change.make(&mut content),
                Fate::Scattered if dice.below(2) == 0 => change.make(&mut content),
                Fate::Torn if number < torn => change.make(&mut content),
                Fate::Torn if number == torn => change.make_in_part(&mut content, dice),
                Fate::Lost | Fate::Scattered | Fate::Torn => {}
            }
        }
        content
    }
}

impl Change {
    fn make(&self, content: &mut Option<Vec<u8>>) {
        match self {
            Self::Write { at, bytes } => write(content, *at, bytes),
            Self::Truncate(length) => content.get_or_insert_default().resize(*length, 0),
            Self::Remove => *content = None,
        }
    }

    /// Writes only some of the sectors.
    fn make_in_part(&self, content: &mut Option<Vec<u8>>, dice: &mut Dice) {
        let Self::Write { at, bytes } = self else {
            return;
        };
        let mut done = 0;
        while done < bytes.len() {
            let here = at + done;
            let end = bytes.len().min(done + SECTOR - here % SECTOR);
            if dice.below(2) == 0 {
                write(content, here, &bytes[done..end]);
            }
            done = end;
        }
    }
}

fn write(content: &mut Option<Vec<u8>>, at: usize, bytes: &[u8]) {
    let content = content.get_or_insert_default();
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// The files in a folder, and in those inside it, that a process could have lost something of.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let (folders, mut files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    for folder in folders {
        if !is_of_locks(Path::new(folder.file_name().unwrap())) {
            files.extend(self::files(&folder));
        }
    }
    files
}
