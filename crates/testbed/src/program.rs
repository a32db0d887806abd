//! Finds programs, and runs those that are done at once.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// Where Debian keeps the programs of each version of Postgres, off the path.
const POSTGRES: &str = "/usr/lib/postgresql";

/// Where Debian keeps programs of servers, off the path of whoever is not root.
const SYSTEM: &str = "/usr/sbin";

/// Finds a program on the path, among those of servers, or beside the newest Postgres.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let folders = on_path.into_iter().chain([SYSTEM.into()]);
    let folders = folders.chain(postgres_folders());
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn postgres_folders() -> Vec<PathBuf> {
    let versions = std::fs::read_dir(POSTGRES).into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut folders: Vec<_> = versions.map(|entry| entry.path()).collect();
    folders.sort_by_key(|path| std::cmp::Reverse(number(path)));
    folders.iter().map(|folder| folder.join("bin")).collect()
}

/// Finds a program that tests may do without only where servers are not required.
pub(crate) fn require(name: &str, is_optional: bool) -> Result<PathBuf> {
    find(name).ok_or_else(|| Error::Missing {
        program: name.to_owned(),
        is_optional,
    })
}

/// Runs a command to its end, and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(Error::system("run a program"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Failed {
        program: command.get_program().to_string_lossy().into_owned(),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Whether this process belongs to root, whom some programs refuse.
pub(crate) fn is_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Copies the program that runs to a place where somebody else may execute it.
///
/// Another process copies it: what this one has open for writing, a child that is started meanwhile has open too, and
/// then the system executes it for nobody.
///
/// # Errors
/// If it cannot be copied.
pub fn copy_this_program(to: &Path) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::system("find this program"))?;
    output(Command::new("cp").arg(program).arg(to)).map(drop)
}
