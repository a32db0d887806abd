//! A disk that has promised what was flushed, and nothing else.
#![cfg(test)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::trace::Event;
use crate::dice::Dice;

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

/// The files of a folder: what of them is safe, and what may or may not be.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<PathBuf, File>,
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

    fn file(&mut self, path: &Path) -> &mut File {
        self.files.entry(path.to_owned()).or_default()
    }

    /// Makes the folder what the power failure left of it. Files keep their inodes, by which a database
    /// is told from its copies.
    pub(crate) fn fail(&self, folder: &Path, dice: &mut Dice) {
        for file in files(folder) {
            let is_left = self.files.contains_key(&file);
            if !is_left {
                fs::remove_file(file).unwrap();
            }
        }
        for (path, file) in &self.files {
            match file.after_failure(dice) {
                Some(content) => fs::write(path, content).unwrap(),
                None if path.exists() => fs::remove_file(path).unwrap(),
                None => {}
            }
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

/// The files in a folder that a process could have lost something of.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}
