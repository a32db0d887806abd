//! A server's process: started on a free port, killed, started again on the same data.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{after, select, tick};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::port;
use crate::watchdog::Watchdog;

/// What no server takes as long as, however busy the machine is.
const LONG: Duration = Duration::from_secs(120);

const PORTS_MAX: usize = 20;

/// What differs between the programs.
pub(crate) trait Kind: Send + Sync {
    /// What the program is called.
    fn name(&self) -> &str;

    /// The signal at which it ends at once, its children too.
    fn end(&self) -> &'static str;

    /// Runs it with its data in `folder`.
    fn command(&self, folder: &Path, port: u16) -> Command;

    /// Whether it answers.
    fn is_ready(&self, folder: &Path, port: u16) -> bool;

    /// Kills it, its children too, with no chance to put anything in order.
    fn kill(&self, process: &mut Child) -> Result<()>;
}

pub(crate) struct Server<K: Kind> {
    kind: K,
    folder: PathBuf,
    port: u16,
    state: Mutex<State>,
}

struct State {
    process: Option<Child>,
    watchdog: Watchdog,
}

impl<K: Kind> Server<K> {
    /// Starts a server with its data in `folder`, which is its own from now on.
    pub(crate) fn start(kind: K, folder: PathBuf) -> Result<Self> {
        let watchdog = Watchdog::start(kind.end(), &folder)?;
        let state = Mutex::new(State {
            process: None,
            watchdog,
        });
        let mut server = Self {
            kind,
            folder,
            port: 0,
            state,
        };
        for _ in 0..PORTS_MAX {
            server.port = port::free();
            match server.launch() {
                Err(Error::Failed { log, .. }) if is_port_taken(&log) => {}
                ended => return ended.map(|()| server),
            }
        }
        Err(server.failed())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn kind(&self) -> &K {
        &self.kind
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Kills the server; nothing happens if none runs.
    pub(crate) fn kill(&self) -> Result<()> {
        let mut state = self.state.lock();
        let Some(mut process) = state.process.take() else {
            return Ok(());
        };
        self.kind.kill(&mut process)?;
        process.wait().map_err(Error::system("wait for a server"))?;
        state.watchdog.watch(None)
    }

    /// Kills the server if it runs, and starts it again on the same data and port.
    pub(crate) fn restart(&self) -> Result<()> {
        self.kill()?;
        self.launch()
    }

    fn launch(&self) -> Result<()> {
        let log = File::create(self.log()).map_err(Error::system("make a log"))?;
        let also = log.try_clone().map_err(Error::system("make a log"))?;
        let mut command = self.kind.command(&self.folder, self.port);
        let process = command
            .current_dir(&self.folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .spawn()
            .map_err(Error::system("start a server"))?;
        let mut state = self.state.lock();
        state.watchdog.watch(Some(process.id()))?;
        self.wait(state.process.insert(process))
    }

    /// Waits until the server answers.
    fn wait(&self, process: &mut Child) -> Result<()> {
        let (again, late) = (tick(Duration::from_millis(5)), after(LONG));
        loop {
            let ended = process
                .try_wait()
                .map_err(Error::system("ask for a server"))?;
            if ended.is_some() {
                return Err(self.failed());
            }
            if self.kind.is_ready(&self.folder, self.port) {
                return Ok(());
            }
            select! {
                recv(again) -> _ => {}
                recv(late) -> _ => return Err(self.failed()),
            }
        }
    }

    fn failed(&self) -> Error {
        let said = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&said).into_owned();
        Error::Failed {
            program: self.kind.name().to_owned(),
            log,
        }
    }
}

impl<K: Kind> Drop for Server<K> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.watchdog.release();
        if let Some(process) = &mut state.process {
            // It was ended by the watchdog; waiting only takes its exit status off the system's list.
            drop(process.wait());
        }
    }
}

fn is_port_taken(log: &str) -> bool {
    log.contains("Address already in use")
}
