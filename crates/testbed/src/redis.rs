//! Private Redis servers, and Valkey ones.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::program;
use crate::server::{Kind, Server};
use crate::tls::Certificate;

/// Names the program that is taken for Redis: `valkey-server` has all tests of Redis try Valkey.
const PROGRAM: &str = "VOTIVE_REDIS_PROGRAM";

/// How a server is set up: every write on disk before its answer, unless a setting says otherwise.
#[derive(Debug, Clone)]
pub struct Options {
    program: String,
    settings: Vec<(String, String)>,
    password: Option<String>,
    is_encrypted: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: std::env::var(PROGRAM).unwrap_or_else(|_| "redis-server".to_owned()),
            settings: Vec::new(),
            password: None,
            is_encrypted: false,
        }
    }
}

impl Options {
    /// The same of Valkey, which tests may do without.
    #[must_use]
    pub fn valkey() -> Self {
        Self {
            program: "valkey-server".to_owned(),
            ..Self::default()
        }
    }

    /// Sets what the configuration calls `name`; the last of several with the same name counts.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has clients give a password. It is put into URLs as it is, so it should be letters and digits.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }
}

impl Options {
    /// Has the server take nothing but encrypted connections on its port, with a certificate of an authority of its
    /// own.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.is_encrypted = true;
        self
    }
}

/// A server of its own; killed, and its data removed, when this is dropped or the process ends.
pub struct Redis(Server<Program>);

struct Program {
    path: PathBuf,
    options: Options,
}

impl Redis {
    /// Starts a server, and returns when it answers.
    ///
    /// # Errors
    /// If the program is missing, or does not start.
    pub fn start(options: Options) -> Result<Self> {
        let path = program::require(&options.program, options.program.starts_with("valkey"))?;
        let folder = tempfile::Builder::new().prefix("redis-").tempdir();
        let folder = folder.map_err(Error::system("make a folder"))?.keep();
        if options.is_encrypted {
            Certificate::make(&folder)?;
        }
        Server::start(Program { path, options }, folder).map(Self)
    }

    /// The address of its first database.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.address())
    }

    /// The same through something else that listens, such as a proxy.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr) -> String {
        let password = self
            .password()
            .map_or_else(String::new, |word| format!(":{word}@"));
        if self.0.kind().options.is_encrypted {
            let root = self.tls_root();
            return format!("rediss://{password}{address}/0?tls_root={}", root.display());
        }
        format!("redis://{password}{address}/0")
    }

    /// The address of its first database, by its socket in the file system.
    #[must_use]
    pub fn unix_url(&self) -> String {
        let password = self
            .password()
            .map_or_else(String::new, |word| format!("&password={word}"));
        format!(
            "redis+unix://{}?db=0{password}",
            self.unix_socket().display()
        )
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.0.port()))
    }

    /// Its socket in the file system.
    #[must_use]
    pub fn unix_socket(&self) -> PathBuf {
        socket(self.0.folder())
    }

    /// The password, if clients must give one.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.0.kind().options.password.as_deref()
    }

    /// The certificate of the authority that has signed the server's, if it encrypts.
    #[must_use]
    pub fn tls_root(&self) -> PathBuf {
        Certificate::in_folder(self.0.folder()).root
    }

    /// Where its data is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.0.folder()
    }

    /// Kills the server as `kill -9` does; nothing happens if none runs.
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

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

impl Program {
    /// The settings of a server that encrypts.
    fn encryption(&self, folder: &Path, port: &str) -> Vec<(String, String)> {
        if !self.options.is_encrypted {
            return Vec::new();
        }
        let files = Certificate::in_folder(folder);
        let shown = |path: &Path| path.display().to_string();
        let settings = [
            ("port", "0".to_owned()),
            ("tls-port", port.to_owned()),
            ("tls-cert-file", shown(&files.chain)),
            ("tls-key-file", shown(&files.key)),
            ("tls-ca-cert-file", shown(&files.root)),
            ("tls-auth-clients", "no".to_owned()),
        ];
        settings
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// Says `PING`, by the socket in the file system if the port is encrypted; only `+PONG` counts: a server that reads
    /// its data says `-LOADING`.
    fn ping(&self, folder: &Path, port: u16) -> std::io::Result<bool> {
        let patience = Some(Duration::from_secs(5));
        if self.options.is_encrypted {
            let connection = UnixStream::connect(socket(folder))?;
            connection.set_read_timeout(patience)?;
            return self.ping_by(connection);
        }
        let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.set_read_timeout(patience)?;
        self.ping_by(connection)
    }

    fn ping_by(&self, mut connection: impl Read + Write) -> std::io::Result<bool> {
        if let Some(password) = &self.options.password {
            connection.write_all(format!("AUTH {password}\r\n").as_bytes())?;
        }
        connection.write_all(b"PING\r\n")?;
        let answers = BufReader::new(connection).lines();
        let mut answers = answers
            .map_while(std::io::Result::ok)
            .filter(|line| line != "+OK");
        Ok(answers.next().is_some_and(|answer| answer == "+PONG"))
    }
}

impl Kind for Program {
    fn name(&self) -> &str {
        &self.options.program
    }

    fn end(&self) -> &'static str {
        "KILL"
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.path);
        let port = port.to_string();
        let socket = socket(folder).display().to_string();
        let defaults = [
            ("port", port.as_str()),
            ("bind", "127.0.0.1"),
            ("unixsocket", &socket),
            ("dir", &folder.display().to_string()),
            ("save", ""),
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            // A script of a large batch may wait long for a processor that others use.
            ("busy-reply-threshold", "600000"),
            (
                "requirepass",
                self.options.password.as_deref().unwrap_or_default(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let encryption = self.encryption(folder, &port);
        let all = defaults.iter().chain(&encryption);
        for (name, value) in all.chain(&self.options.settings) {
            command.arg(format!("--{name}")).arg(value);
        }
        command
    }

    fn is_ready(&self, folder: &Path, port: u16) -> bool {
        self.ping(folder, port).unwrap_or_default()
    }

    fn kill(&self, process: &mut Child) -> Result<()> {
        process.kill().map_err(Error::system("kill a server"))
    }
}
