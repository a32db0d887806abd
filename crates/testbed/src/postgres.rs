//! Private Postgres servers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crossbeam_channel::{after, select, tick};
use postgres::{Client, NoTls};

use crate::error::{Error, Result};
use crate::program;
use crate::server::{Kind, Server};
use crate::tls::Certificate;

/// The user who owns the server, and the one under whom it runs where the tests run as root, whom it
/// refuses.
pub(crate) const USER: &str = "postgres";

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    settings: BTreeMap<String, String>,
    is_encrypted: bool,
    log_folder: Option<PathBuf>,
}

impl Options {
    /// Sets what the configuration calls `name`, such as `max_prepared_transactions`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl Options {
    /// Has the server keep its write-ahead log in a folder elsewhere, which must be empty, in segments of a
    /// megabyte.
    #[must_use]
    pub fn log_in(mut self, folder: &Path) -> Self {
        self.log_folder = Some(folder.to_owned());
        self
    }

    /// Has the server offer encrypted connections, with a certificate of an authority of its own.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.is_encrypted = true;
        self
    }
}

/// A server of its own; killed, and its data removed, when this is dropped or the process ends.
///
/// It listens on a port and on a socket in the file system, and asks nobody for a password.
pub struct Postgres(Server<Program>);

struct Program {
    path: PathBuf,
    options: Options,
    /// Whether it must run as another user.
    is_root: bool,
}

impl Postgres {
    /// Makes a cluster, starts a server, and returns when it answers.
    ///
    /// # Errors
    /// If the program is missing, or does not start.
    pub fn start(options: Options) -> Result<Self> {
        let path = program::require("postgres", false)?;
        let initdb = program::require("initdb", false)?;
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir();
        let folder = folder.map_err(Error::system("make a folder"))?;
        let program = Program {
            path,
            options,
            is_root: program::is_root()?,
        };
        program.make_cluster(&initdb, folder.path())?;
        if program.options.is_encrypted {
            program.make_certificate(folder.path())?;
        }
        Server::start(program, folder.keep()).map(Self)
    }

    /// The address of its first database.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The address of the database called `name`.
    #[must_use]
    pub fn url_of(&self, name: &str) -> String {
        self.url_at(self.address(), name)
    }

    /// The address of the database called `name` through something else that listens, such as a proxy.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr, name: &str) -> String {
        format!("postgres://{USER}@{address}/{name}")
    }

    /// Makes an empty database, and returns its address.
    ///
    /// # Errors
    /// If the server refuses, as it does for a name that is taken.
    pub fn create_database(&self, name: &str) -> Result<String> {
        self.client()?
            .batch_execute(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url_of(name))
    }

    /// A connection to its first database.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.url(), NoTls)?)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.0.port()))
    }

    /// The folder of its socket in the file system, to be given as the host.
    #[must_use]
    pub fn unix_socket(&self) -> &Path {
        self.0.folder()
    }

    /// The certificate of the authority that has signed the server's, if it encrypts.
    #[must_use]
    pub fn tls_root(&self) -> PathBuf {
        Certificate::in_folder(self.0.folder()).root
    }

    /// Makes a folder the server's own, as it wants those of tablespaces to be.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn give(&self, folder: &Path) -> Result<()> {
        self.0.kind().give(folder)
    }

    /// What it wrote to its log since it was last started.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.log()
    }

    /// Kills the server and its children as `kill -9` does; nothing happens if none runs.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&self) -> Result<()> {
        self.0.kill()
    }

    /// Kills the server if it runs, starts it on the same data and port, and returns when it answers.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart(&self) -> Result<()> {
        self.0.restart()
    }
}

impl Program {
    fn make_cluster(&self, initdb: &Path, folder: &Path) -> Result<()> {
        self.give(folder)?;
        let mut command = as_user(initdb, self.is_root);
        command.args([
            "--auth=trust",
            "--username",
            USER,
            "--no-sync",
            "--no-instructions",
        ]);
        command
            .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(data(folder));
        if let Some(log) = &self.options.log_folder {
            self.give(log)?;
            command.args(["--wal-segsize=1", "--waldir"]).arg(log);
        }
        program::output(command.current_dir(folder)).map(drop)
    }

    /// Makes a folder the server's own.
    fn give(&self, folder: &Path) -> Result<()> {
        if self.is_root {
            program::output(Command::new("chown").arg(USER).arg(folder))?;
        }
        Ok(())
    }

    fn make_certificate(&self, folder: &Path) -> Result<()> {
        let files = Certificate::make(folder)?;
        if self.is_root {
            let mut chown = Command::new("chown");
            program::output(chown.arg(USER).args([files.chain, files.key]))?;
        }
        Ok(())
    }

    fn undead(&self) -> Error {
        let log = "its children outlive a kill".to_owned();
        Error::Failed {
            program: self.name().to_owned(),
            log,
        }
    }
}

/// The command that runs a program as somebody who may.
pub(crate) fn as_user(program: &Path, is_root: bool) -> Command {
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--init-groups"])
        .arg(program);
    command
}

impl Kind for Program {
    fn name(&self) -> &'static str {
        "postgres"
    }

    /// The immediate shutdown: its children end with it, and no shared memory is left.
    fn end(&self) -> &'static str {
        "QUIT"
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut command = as_user(&self.path, self.is_root);
        command.arg("-D").arg(data(folder)).arg("-k").arg(folder);
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        // Shared memory in its folder goes with it even after a kill.
        let defaults = [
            ("dynamic_shared_memory_type", "mmap"),
            ("max_connections", "200"),
            ("shared_buffers", "32MB"),
        ];
        let defaults = defaults.map(|(name, value)| format!("{name}={value}"));
        let files = Certificate::in_folder(folder);
        let encryption = [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", files.chain.display()),
            format!("ssl_key_file={}", files.key.display()),
        ];
        let is_encrypted = self.options.is_encrypted;
        let encryption = encryption.into_iter().filter(|_| is_encrypted);
        let settings = self
            .options
            .settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        for setting in defaults.into_iter().chain(encryption).chain(settings) {
            command.arg("-c").arg(setting);
        }
        command
    }

    fn is_ready(&self, _: &Path, port: u16) -> bool {
        let url = format!("postgres://{USER}@127.0.0.1:{port}/postgres?connect_timeout=5");
        Client::connect(&url, NoTls).is_ok()
    }

    /// Stops the first process, so that no child is born while the others are counted and killed.
    fn kill(&self, process: &mut Child) -> Result<()> {
        signal("STOP", &[process.id()])?;
        let children = children(process.id())?;
        // A child may have ended by itself.
        drop(signal("KILL", &children));
        process.kill().map_err(Error::system("kill a server"))?;
        process.wait().map_err(Error::system("wait for a server"))?;
        let (again, late) = (
            tick(Duration::from_millis(5)),
            after(Duration::from_secs(60)),
        );
        while children.iter().any(|child| is_alive(*child)) {
            select! {
                recv(again) -> _ => {}
                recv(late) -> _ => return Err(self.undead()),
            }
        }
        Ok(())
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn signal(name: &str, processes: &[u32]) -> Result<()> {
    let ids = processes.iter().map(ToString::to_string);
    let script = r#"kill -s "$0" "$@""#;
    program::output(Command::new("sh").args(["-c", script, name]).args(ids)).map(drop)
}

fn children(process: u32) -> Result<Vec<u32>> {
    let all = program::output(Command::new("ps").args(["-A", "-o", "ppid=,pid="]))?;
    let pair = |line: &str| {
        let mut numbers = line
            .split_whitespace()
            .map_while(|number| number.parse::<u32>().ok());
        Some((numbers.next()?, numbers.next()?))
    };
    let pairs = all.lines().filter_map(pair);
    Ok(pairs
        .filter(|(parent, _)| *parent == process)
        .map(|(_, child)| child)
        .collect())
}

/// Whether a process runs; one whose exit status nobody has asked for does not.
fn is_alive(process: u32) -> bool {
    let state =
        program::output(Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]));
    state.is_ok_and(|state| !state.trim().is_empty() && !state.trim_start().starts_with('Z'))
}
