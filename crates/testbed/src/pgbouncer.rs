//! A private pooler in front of a Postgres server, which hands out a server's session for one transaction at a time.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use postgres::{Client, NoTls};

use crate::error::{Error, Result};
use crate::postgres::{Postgres, USER, as_user};
use crate::program;
use crate::server::{Kind, Server};

/// A pooler of its own; killed when this is dropped or the process ends.
pub struct PgBouncer(Server<Program>);

struct Program {
    path: PathBuf,
    server: SocketAddr,
    sessions: usize,
    is_root: bool,
}

impl PgBouncer {
    /// Starts a pooler, and returns when it answers. It shares at most `sessions` sessions of the server among
    /// all who connect to one database.
    ///
    /// # Errors
    /// If the program is missing, or does not start.
    pub fn start(server: &Postgres, sessions: usize) -> Result<Self> {
        let path = program::require("pgbouncer", false)?;
        let folder = tempfile::Builder::new().prefix("pgbouncer-").tempdir();
        let folder = folder.map_err(Error::system("make a folder"))?.keep();
        let program = Program {
            path,
            server: server.address(),
            sessions,
            is_root: program::is_root()?,
        };
        if program.is_root {
            program::output(Command::new("chown").arg(USER).arg(&folder))?;
        }
        Server::start(program, folder).map(Self)
    }

    /// The address of the server's first database through the pooler.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.0.port())
    }
}

fn url(port: u16) -> String {
    format!("postgres://{USER}@127.0.0.1:{port}/postgres")
}

impl Program {
    fn settings(&self, port: u16) -> String {
        let (host, server_port) = (self.server.ip(), self.server.port());
        let sessions = self.sessions;
        format!(
            "[databases]\n\
             * = host={host} port={server_port} user={USER}\n\
             [pgbouncer]\n\
             listen_addr = {}\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             max_client_conn = 200\n\
             default_pool_size = {sessions}\n",
            Ipv4Addr::LOCALHOST
        )
    }
}

impl Kind for Program {
    fn name(&self) -> &'static str {
        "pgbouncer"
    }

    fn end(&self) -> &'static str {
        "KILL"
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let settings = folder.join("pgbouncer.ini");
        // One that cannot be written is missed by the program, which says so.
        drop(fs::write(&settings, self.settings(port)));
        let mut command = as_user(&self.path, self.is_root);
        command.arg(settings);
        command
    }

    fn is_ready(&self, _: &Path, port: u16) -> bool {
        let url = format!("{}?connect_timeout=5", url(port));
        Client::connect(&url, NoTls).is_ok()
    }

    fn kill(&self, process: &mut Child) -> Result<()> {
        process.kill().map_err(Error::system("kill a pooler"))
    }
}
