//! What a process does to its files, as `strace` sees it.
#![cfg(test)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The calls that change files. One that is not replayed must not go unnoticed.
const CALLS: &str = "trace=openat,lseek,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,\
    truncate,ftruncate,fallocate,unlink,unlinkat,rename,renameat,renameat2";

/// One step of a process, in the order in which they happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Write {
        file: PathBuf,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: PathBuf,
        length: usize,
    },
    Remove {
        file: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// The names of the files in a folder are on disk.
    SyncFolder {
        folder: PathBuf,
    },
    /// The thread waits for the disk: what is written from now on need not be part of it.
    SyncBegins {
        file: PathBuf,
        thread: u32,
    },
    SyncEnds {
        file: PathBuf,
        thread: u32,
    },
}

/// Whether there is a `strace` that may be used.
pub(crate) fn is_available() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// The words before a command that have its steps written to `log`.
pub(crate) fn strace(log: &Path) -> Vec<OsString> {
    let words = ["strace", "-f", "-qq", "-y", "-xx", "-s", "10000000"];
    let words = words
        .iter()
        .chain(&["-e", "signal=none", "-e", CALLS, "-o"]);
    words.map(OsString::from).chain([log.into()]).collect()
}

/// Reads the steps that concern the files in `folder`; `None` if the process died in the midst of one,
/// so that nobody knows whether it happened.
pub(crate) fn read(log: &str, folder: &Path) -> Option<Vec<Event>> {
    let mut reader = Reader {
        folder,
        positions: HashMap::new(),
        unfinished: HashMap::new(),
        is_whole: true,
        events: Vec::new(),
    };
    log.lines().for_each(|line| reader.line(line));
    (reader.is_whole && reader.unfinished.is_empty()).then_some(reader.events)
}

struct Reader<'a> {
    folder: &'a Path,
    /// Where the next `write` to a file descriptor goes.
    positions: HashMap<u32, usize>,
    /// The beginnings of calls that other threads' calls came between.
    unfinished: HashMap<u32, &'a str>,
    /// Whether each call has a result.
    is_whole: bool,
    events: Vec<Event>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str) {
        let (thread, said) = line.split_once(' ').expect("a thread and its call");
        let (thread, said) = (thread.parse().unwrap(), said.trim_start());
        if let Some(begun) = said.strip_suffix(" <unfinished ...>") {
            self.begin(thread, begun);
            self.unfinished.insert(thread, begun);
        } else if let Some(resumed) = said.strip_prefix("<... ") {
            let (_, rest) = resumed.split_once(" resumed>").unwrap();
            let begun = self.unfinished.remove(&thread).unwrap();
            self.end(thread, &format!("{begun}{rest}"));
        } else if said.contains('(') {
            self.begin(thread, said);
            self.end(thread, said);
        }
    }

    fn begin(&mut self, thread: u32, call: &str) {
        let (name, arguments) = call.split_once('(').unwrap();
        if matches!(name, "fsync" | "fdatasync")
            && let Some(file) = self.ours(descriptor(arguments).1)
            && !file.is_dir()
        {
            self.events.push(Event::SyncBegins { file, thread });
        }
    }

    fn end(&mut self, thread: u32, call: &str) {
        let (call, result) = call.rsplit_once(" = ").unwrap_or((call, "?"));
        self.is_whole &= result != "?";
        // It failed, or the process ended in it.
        if result.starts_with(['-', '?']) {
            return;
        }
        let (name, arguments) = call.trim_end().split_once('(').unwrap();
        let arguments = arguments.strip_suffix(')').unwrap();
        match name {
            "openat" => self.open(arguments, result),
            "unlink" | "unlinkat" => self.remove(arguments),
            "rename" => self.rename(arguments),
            _ => self.change(thread, name, arguments, number(result) as usize),
        }
    }

    fn open(&mut self, arguments: &str, result: &str) {
        self.positions.insert(number(result), 0);
        let file = self.ours(descriptor(result).1);
        if let Some(file) = file.filter(|_| arguments.contains("O_TRUNC")) {
            self.events.push(Event::Truncate { file, length: 0 });
        }
    }

    fn rename(&mut self, arguments: &str) {
        let mut named = arguments.split('"').skip(1).step_by(2).map(path);
        let (from, to) = (named.next().unwrap(), named.next().unwrap());
        if let (Some(from), Some(to)) = (self.ours(from), self.ours(to)) {
            self.events.push(Event::Rename { from, to });
        }
    }

    fn remove(&mut self, arguments: &str) {
        let named = arguments.split('"').nth(1).unwrap();
        if let Some(file) = self.ours(path(named)) {
            self.events.push(Event::Remove { file });
        }
    }

    fn change(&mut self, thread: u32, name: &str, arguments: &str, result: usize) {
        let (descriptor, named) = descriptor(arguments);
        let Some(file) = self.ours(named) else {
            return;
        };
        let last = || arguments.rsplit(", ").next().unwrap().parse().unwrap();
        let event = match name {
            "lseek" => {
                self.positions.insert(descriptor, result);
                return;
            }
            "write" => {
                let position = self.positions.entry(descriptor).or_default();
                let at = std::mem::replace(position, *position + result);
                let bytes = written(arguments, result);
                Event::Write { file, at, bytes }
            }
            "pwrite64" => Event::Write {
                file,
                at: last(),
                bytes: written(arguments, result),
            },
            "ftruncate" => Event::Truncate {
                file,
                length: last(),
            },
            "fsync" if file.is_dir() => Event::SyncFolder { folder: file },
            "fsync" | "fdatasync" => Event::SyncEnds { file, thread },
            other => panic!("`{other}` of {} is not replayed", file.display()),
        };
        self.events.push(event);
    }

    /// Whether a file is one of those in the folder. The index of a write-ahead log is left out: it is
    /// made again after every crash.
    fn ours(&self, file: PathBuf) -> Option<PathBuf> {
        let is_index = file.to_string_lossy().ends_with("-shm");
        let inner = file.strip_prefix(self.folder).ok()?;
        let is_lock = inner.components().any(|part| is_of_locks(part.as_ref()));
        (!is_index && !is_lock).then_some(file)
    }
}

/// Whether a folder of this name has the lock files of the living, which die with them.
pub(crate) fn is_of_locks(name: &Path) -> bool {
    let name = name.to_string_lossy();
    name == "alive" || name.ends_with("-votive")
}

/// The descriptor at the beginning of the arguments, and the file that it stands for.
fn descriptor(arguments: &str) -> (u32, PathBuf) {
    let named = arguments
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    let file = named.map_or_else(PathBuf::new, |(name, _)| path(name));
    (number(arguments), file)
}

fn number(text: &str) -> u32 {
    let end = text.find(|letter: char| !letter.is_ascii_digit());
    text[..end.unwrap_or(text.len())]
        .parse()
        .unwrap_or_default()
}

fn path(hexadecimal: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(bytes(hexadecimal)).unwrap())
}

/// What was written: the string among the arguments, as far as it was taken.
fn written(arguments: &str, length: usize) -> Vec<u8> {
    let bytes = bytes(arguments.split('"').nth(1).unwrap());
    assert!(bytes.len() >= length, "a string was cut short");
    bytes[..length].to_vec()
}

/// Reads `\x2f\x74`.
fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = (2..hexadecimal.len())
        .step_by(4)
        .map(|at| &hexadecimal[at..at + 2]);
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

#[test]
fn calls_of_two_threads_are_told_apart() {
    let log = "\
        1 openat(AT_FDCWD<\\x2f>, \"\\x2f\\x66\\x2f\\x61\", O_RDWR) = 5<\\x2f\\x66\\x2f\\x61>\n\
        1 lseek(5<\\x2f\\x66\\x2f\\x61>, 7, SEEK_SET) = 7\n\
        1 fsync(5<\\x2f\\x66\\x2f\\x61> <unfinished ...>\n\
        2 write(5<\\x2f\\x66\\x2f\\x61>, \"\\x68\\x69\", 2) = 2\n\
        1 <... fsync resumed>) = 0\n";
    let file = || PathBuf::from("/f/a");
    let written = Event::Write {
        file: file(),
        at: 7,
        bytes: b"hi".to_vec(),
    };
    let (begins, ends) = (
        Event::SyncBegins {
            file: file(),
            thread: 1,
        },
        Event::SyncEnds {
            file: file(),
            thread: 1,
        },
    );
    let events = read(log, Path::new("/f")).unwrap();
    assert_eq!(events, [begins, written, ends]);
}

#[test]
fn a_process_that_dies_in_a_call_leaves_a_trace_of_no_use() {
    let log = "1 fsync(5<\\x2f\\x66\\x2f\\x61>) = ?\n";
    assert_eq!(read(log, Path::new("/f")), None);
}
