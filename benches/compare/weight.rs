//! What waiting tasks take: memory of a process of its own, whose allocator nobody used before.

use std::path::Path;
use std::process::Command;

use votive::txn::TransactionManager;
use votive_report::Sample;

use crate::processor::resident;
use crate::setting::{Result, per, preload};
use crate::{memory, sqlite_raw};

/// Instead of a store's URL: the raw loop in memory.
pub(crate) const MAP: &str = "map";

/// Asks another process how many bytes of memory each of `count` tasks takes: in a store which that process fills if it
/// is in memory, and else finds filled.
pub(crate) fn weigh(what: &str, count: u64) -> Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--weigh", what]).arg(count.to_string());
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let bytes: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(each(bytes, count))
}

/// So many bytes among so many tasks.
pub(crate) fn each(bytes: u64, count: u64) -> Sample {
    Sample {
        value: per(bytes, count),
        ..Sample::default()
    }
}

/// Does what another process of this bench asked for.
pub(crate) fn weigh_here(what: &[String]) -> Result<()> {
    let [what, count] = what else {
        return Err("who weighs must be told what and how much".into());
    };
    let (count, before) = (count.parse()?, resident()?);
    if what == MAP {
        let map = memory::Map::filled(count);
        println!("{}", resident()? - before);
        drop(map);
    } else {
        let store = votive::open(what)?;
        if what == memory::URL {
            preload(&store, &TransactionManager::new(), count)?;
        }
        println!("{}", resident()? - before);
    }
    Ok(())
}

/// How many bytes the pages of a SQLite file are.
pub(crate) fn pages(file: &Path) -> Result<u64> {
    let connection = sqlite_raw::connect(file)?;
    let bytes = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    Ok(connection.query_row(bytes, [], |row| row.get(0))?)
}
