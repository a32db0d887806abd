//! What `/proc` says of the machine and of this process.

use std::fs;
use std::time::Duration;

use crate::setting::Result;

/// The processor time of all threads of this process, which must be those that were there before.
pub(crate) fn time() -> Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let statistics = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = statistics.split_whitespace().next().unwrap_or("0");
        nanos += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// How many bytes of memory this process has.
pub(crate) fn resident() -> Result<u64> {
    let counts = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = counts.split(' ').nth(1).ok_or("no pages")?.parse()?;
    Ok(pages * 4_096)
}

/// The processor, the number of cores, and the kernel.
pub(crate) fn machine() -> Result<String> {
    let described = fs::read_to_string("/proc/cpuinfo")?;
    let model = described.lines().find_map(|line| {
        let (name, model) = line.split_once(':')?;
        (name.trim() == "model name").then(|| model.trim().to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version = kernel.split('-').next().unwrap_or_default();
    Ok(format!(
        "{} cores of {}, Linux {}",
        std::thread::available_parallelism()?,
        model.unwrap_or_else(|| "an unknown processor".to_owned()),
        version.trim()
    ))
}
