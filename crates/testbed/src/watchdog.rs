//! Ends a server and removes its folder when the process that started it is gone.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::error::{Error, Result};

/// Reads the process id of the server that runs, an empty line if none does, until the pipe is closed,
/// which the system does for a process that ends in whatever way. `$1` is the signal that ends the server
/// with all its children, `$2` the folder.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r line; do server=$line; done
[ -z "$server" ] || kill -s "$1" "$server"
for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$2"
    [ -e "$2" ] || exit 0
    sleep 0.2
done
[ -z "$server" ] || kill -s KILL "$server"
rm -rf "$2"
"#;

/// A shell that waits for this process to end.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    /// Nobody else has this end of the pipe: it is closed in every program that this process starts.
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts one that ends its server by `signal` and then removes `folder`.
    pub(crate) fn start(signal: &str, folder: &Path) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog", signal])
            .arg(folder)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::system("start a shell"))?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Says which process is to be ended.
    pub(crate) fn watch(&mut self, server: Option<u32>) -> Result<()> {
        let line = server.map_or_else(String::new, |id| id.to_string()) + "\n";
        let mut pipe = self.pipe.iter();
        pipe.try_for_each(|mut pipe| pipe.write_all(line.as_bytes()))
            .map_err(Error::system("tell the watchdog"))
    }

    /// Has it end the server, if one runs, and remove the folder.
    pub(crate) fn release(&mut self) {
        drop(self.pipe.take());
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.release();
        // It ends by itself; waiting only takes its exit status off the system's list.
        drop(self.shell.wait());
    }
}
