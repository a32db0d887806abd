//! How a Redis store is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::store::url::{StoreUrl, UrlError};
use crate::time::Clock;

const PORT: u16 = 6_379;

/// What the store asks of the server's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// What was acknowledged must survive the server's machine: transactions are refused, by the name
    /// of the setting, by a server that may lose it. The default.
    #[default]
    Strict,
    /// Transactions are accepted by a server that may lose what it has acknowledged; the store's
    /// caveats say so.
    Relaxed,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Who logs in, and with what. Shows neither.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.password.is_some() {
            "***"
        } else {
            "none"
        })
    }
}

/// How a Redis store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) address: Address,
    pub(super) database: u32,
    pub(super) login: Login,
    pub(super) tls_root: Option<PathBuf>,
    pub(super) name: String,
    pub(super) durability: Durability,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) keepalive_interval: Duration,
    pub(super) create: bool,
    pub(super) clock: Option<Arc<dyn Clock>>,
}

impl Options {
    /// Connects to a server that listens on a TCP port.
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self::at(Address::Tcp {
            host,
            port,
            tls: false,
        })
    }

    /// Connects, encrypted, to a server that listens on a TCP port. The server must show a certificate for `host`,
    /// signed by an authority that the machine trusts, or one of [`tls_root`](Self::tls_root).
    #[must_use]
    pub fn tls(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self::at(Address::Tcp {
            host,
            port,
            tls: true,
        })
    }

    /// Connects to a server that listens on a Unix socket.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Address::Unix(path.into()))
    }

    fn at(address: Address) -> Self {
        Self {
            address,
            database: 0,
            login: Login::default(),
            tls_root: None,
            name: "default".to_owned(),
            durability: Durability::default(),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(15),
            create: true,
            clock: None,
        }
    }

    /// Reads a URL of one of the forms `redis://[user][:password@]host[:port][/db]`, `rediss://…` and
    /// `redis+unix:///path`, with parameters that say the same or more.
    ///
    /// # Errors
    /// The URL is wrong, or says something twice.
    pub fn from_url(url: &StoreUrl) -> Result<Self, UrlError> {
        url.allow(&[
            "connect_timeout",
            "create",
            "db",
            "durability",
            "host",
            "keepalive_interval",
            "name",
            "password",
            "port",
            "response_timeout",
            "tls_root",
            "unix_socket_path",
        ])?;
        let mut options = Self::at(address(url)?);
        options.login = login(url)?;
        options.database = database(url)?;
        options.tls_root = url.parameter("tls_root", TLS_ROOT)?;
        if options.tls_root.is_some() && url.scheme() != "rediss" {
            return Err(bad("tls_root", TLS_ROOT));
        }
        if let Some(create) = url.parameter("create", "`true` or `false`")? {
            options.create = create;
        }
        if let Some(name) = url.parameter::<String>("name", NAME)? {
            let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
            if name.is_empty() || name.len() > 64 || !name.chars().all(is_letter) {
                return Err(bad("name", NAME));
            }
            options.name = name;
        }
        options.durability = match url.parameter::<String>("durability", DURABILITY)? {
            None => Durability::Strict,
            Some(word) if word == "strict" => Durability::Strict,
            Some(word) if word == "relaxed" => Durability::Relaxed,
            Some(_) => return Err(bad("durability", DURABILITY)),
        };
        for (name, timeout) in [
            ("connect_timeout", &mut options.connect_timeout),
            ("response_timeout", &mut options.response_timeout),
            ("keepalive_interval", &mut options.keepalive_interval),
        ] {
            if let Some(given) = url.duration(name)? {
                if given.is_zero() {
                    return Err(bad(name, "more than nothing, such as `5s`"));
                }
                *timeout = given;
            }
        }
        Ok(options)
    }

    /// The number of the server's database. Defaults to 0.
    #[must_use]
    pub fn database(mut self, database: u32) -> Self {
        self.database = database;
        self
    }

    /// The password to log in with. Defaults to none. It is never shown.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.login.password = Some(password.into());
        self
    }

    /// The user to log in as, where the server knows several. Defaults to the server's default.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.login.user = Some(user.into());
        self
    }

    /// The file with the certificates of the authorities, in PEM, of which one must have signed that of a server
    /// that encrypts. Defaults to those that the machine trusts.
    #[must_use]
    pub fn tls_root(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls_root = Some(file.into());
        self
    }

    /// The store's name: several stores can share a server, each by its name. Letters, digits, `_`, `.`
    /// and `-`. Defaults to `default`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What the server's settings must promise. Defaults to [`Durability::Strict`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long connecting may take. Defaults to 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an answer may take. After that the connection is dropped, and what a write has done is
    /// unknown. Defaults to 10 s.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// After how long a silent connection is probed, so that no firewall forgets it and a dead server is
    /// noticed. Defaults to 15 s.
    #[must_use]
    pub fn keepalive_interval(mut self, interval: Duration) -> Self {
        self.keepalive_interval = interval;
        self
    }

    /// Whether a store that is not there is made. Defaults to yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Replaces the server's time by a clock: for tests, in which time is moved by hand.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }
}

const NAME: &str = "a name of at most 64 letters, digits, `_`, `.` and `-`";
const TLS_ROOT: &str = "the file of an authority's certificate, of a `rediss` URL";
const DURABILITY: &str = "`strict` or `relaxed`";

fn bad(name: &str, expected: &'static str) -> UrlError {
    UrlError::BadParameter {
        name: name.to_owned(),
        expected,
    }
}

fn address(url: &StoreUrl) -> Result<Address, UrlError> {
    let socket = url.parameter::<PathBuf>("unix_socket_path", "the path of a socket")?;
    let host = url.parameter::<String>("host", "the name of a machine")?;
    let port = url.parameter::<u16>("port", "a port number such as `6379`")?;
    let tls = url.scheme() == "rediss";
    if url.scheme() == "redis+unix" {
        return match (socket, host.is_some() || port.is_some()) {
            (Some(_), _) => Err(bad("unix_socket_path", "left out: the URL has a path")),
            (None, true) => Err(bad("host", "left out: the URL names a socket")),
            (None, false) => Ok(Address::Unix(url.file()?)),
        };
    }
    let named = url.as_url().host_str().filter(|host| !host.is_empty());
    match (named, socket, host) {
        (None, Some(path), None) if port.is_none() && !tls => Ok(Address::Unix(path)),
        (_, Some(_), _) => Err(bad("unix_socket_path", "left out where a host is named")),
        (Some(_), None, Some(_)) => Err(bad("host", "left out: the URL names a host")),
        (named, None, host) => {
            let numbered = url.as_url().port();
            if numbered.is_some() && port.is_some() {
                return Err(bad("port", "left out: the URL has a port"));
            }
            let host = named.map(unbracketed).or(host);
            Ok(Address::Tcp {
                host: host.unwrap_or_else(|| "localhost".to_owned()),
                port: numbered.or(port).unwrap_or(PORT),
                tls,
            })
        }
    }
}

/// An address of IPv6 stands in brackets in a URL, and nowhere else.
fn unbracketed(host: &str) -> String {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).to_owned()
}

fn database(url: &StoreUrl) -> Result<u32, UrlError> {
    const EXPECTED: &str = "the number of a database, given once";
    let given = url.parameter("db", EXPECTED)?;
    if url.scheme() == "redis+unix" {
        return Ok(given.unwrap_or(0));
    }
    match (url.as_url().path().trim_matches('/'), given) {
        ("", given) => Ok(given.unwrap_or(0)),
        (_, Some(_)) => Err(bad("db", EXPECTED)),
        (path, None) => path.parse().map_err(|_| bad("db", EXPECTED)),
    }
}

fn login(url: &StoreUrl) -> Result<Login, UrlError> {
    const EXPECTED: &str = "a password, given once";
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| UrlError::NotUtf8(url.to_string()))
    };
    let user = Some(url.as_url().username()).filter(|user| !user.is_empty());
    let given = url.parameter::<String>("password", EXPECTED)?;
    let password = url.as_url().password().map(decode).transpose()?;
    if password.is_some() && given.is_some() {
        return Err(bad("password", EXPECTED));
    }
    Ok(Login {
        user: user.map(decode).transpose()?,
        password: password.or(given),
    })
}
