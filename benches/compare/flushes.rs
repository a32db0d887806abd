//! Counts how often a run waited for the disk: flush requests at the block device where one is
//! visible, else calls of `fsync` and `fdatasync` as `strace` sees them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::setting::Result;

/// Where the count comes from.
pub(crate) enum Source {
    /// Field 16 of the block device's `stat`: flush requests completed (Linux ≥ 5.5).
    Device(PathBuf),
    /// The process is traced, and its calls are counted.
    Calls(PathBuf),
    /// Neither is visible here.
    Hidden,
}

/// The environment variable that names the file into which a tracing `strace` writes.
const TRACE: &str = "VOTIVE_BENCH_TRACE";

impl Source {
    /// Finds the best source for files in `dir`. May run this program again under `strace`, and then
    /// does not return.
    pub(crate) fn find(dir: &Path) -> Self {
        if let Some(trace) = std::env::var_os(TRACE) {
            return Self::Calls(trace.into());
        }
        match device_stat(dir) {
            Some(stat) if sees_a_flush(&stat, dir) => Self::Device(stat),
            _ => Self::trace_myself(dir),
        }
    }

    /// Returns the name of the source, for the report.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Device(_) => "requests of the block device".to_owned(),
            Self::Calls(_) => "calls of fsync and fdatasync, counted by strace".to_owned(),
            Self::Hidden => "not visible on this machine".to_owned(),
        }
    }

    /// Reads the count as it is now.
    pub(crate) fn count(&self) -> Option<u64> {
        match self {
            Self::Device(stat) => read_stat(stat),
            Self::Calls(trace) => Some(fs::read_to_string(trace).ok()?.lines().count() as u64),
            Self::Hidden => None,
        }
    }

    fn trace_myself(dir: &Path) -> Self {
        let trace = dir.join("flushes.trace");
        let Ok(program) = std::env::current_exe() else {
            return Self::Hidden;
        };
        let status = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"])
            .arg(&trace)
            .arg(program)
            .args(std::env::args_os().skip(1))
            .env(TRACE, &trace)
            .status();
        match status {
            Ok(status) => std::process::exit(status.code().unwrap_or(1)),
            Err(_) => Self::Hidden,
        }
    }
}

/// Finds the `stat` file of the whole device under `dir`; a partition has no flush count.
fn device_stat(dir: &Path) -> Option<PathBuf> {
    let device = fs::metadata(dir).ok()?.dev();
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xfff00),
    );
    let node = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = if node.join("partition").exists() {
        node.parent()?.to_owned()
    } else {
        node
    };
    Some(whole.join("stat"))
}

fn read_stat(stat: &Path) -> Option<u64> {
    fs::read_to_string(stat)
        .ok()?
        .split_whitespace()
        .nth(15)?
        .parse()
        .ok()
}

/// Whether a flush of ours moves the count.
fn sees_a_flush(stat: &Path, dir: &Path) -> bool {
    let probe = || {
        let before = read_stat(stat)?;
        let path = dir.join("flush.probe");
        let mut file = fs::File::create(&path).ok()?;
        file.write_all(b"probe").ok()?;
        file.sync_all().ok()?;
        fs::remove_file(&path).ok()?;
        Some(read_stat(stat)? > before)
    };
    probe().unwrap_or(false)
}

/// How often a small file can be written and flushed within `time`.
pub(crate) fn count_within(dir: &Path, time: Duration) -> Result<u64> {
    const PROBES: u32 = 50;
    let path = dir.join("flush.probe");
    let mut file = fs::File::create(&path)?;
    let start = Instant::now();
    for _ in 0..PROBES {
        file.write_all(b"probe")?;
        file.sync_data()?;
    }
    let each = start.elapsed() / PROBES;
    fs::remove_file(&path)?;
    Ok(u64::try_from(time.as_nanos() / each.as_nanos().max(1))?)
}
