//! Connections: one for each call under way, kept for the next. One that failed in any way is dropped,
//! and with it all that are idle, because what broke one has likely broken all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, Connection, ConnectionAddr, ConnectionLike, IntoConnectionInfo};
use redis::{RedisConnectionInfo, RedisError, Value};

use super::error::{Fault, Result, breaks_connection};
use super::notify::instant;
use super::options::{Address, Durability, Options};
use super::server::{self, Server};
use super::tls;
use crate::store::Kind;

/// How long a connection may have been idle to be used without asking whether it still works.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How many unanswered probes declare a connection dead.
const PROBES_MAX: u32 = 3;

/// The connections of one store.
pub(super) struct Pool {
    client: Client,
    process: u32,
    durability: Durability,
    connect_timeout: Duration,
    response_timeout: Duration,
    idle: Mutex<Vec<Idle>>,
    /// What the server said of itself when a connection was made last.
    server: Mutex<Arc<Server>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// Connects once, and looks what server it is.
    pub(super) fn open(options: &Options) -> Result<Self> {
        let client = client(options)?;
        let pool = Self {
            client,
            process: std::process::id(),
            durability: options.durability,
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            idle: Mutex::default(),
            server: Mutex::new(Arc::new(Server::default())),
        };
        let connection = pool.connect()?;
        pool.keep(connection);
        Ok(pool)
    }

    /// What the server said of itself when a connection was made last.
    pub(super) fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server.lock())
    }

    /// Sends a request and returns the answer. `lost` is what it means that none came; a promise is not
    /// made by a server that may lose what it acknowledges.
    ///
    /// `send` is given a connection that works as far as is known; it is not called again.
    pub(super) fn send(
        &self,
        is_promise: bool,
        lost: Kind,
        send: impl FnOnce(&mut Connection) -> std::result::Result<Value, RedisError>,
    ) -> Result<Value> {
        self.here()?;
        let mut connection = match self.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        if is_promise && let Err(fault) = self.refuse_risk() {
            self.keep(connection);
            return Err(fault);
        }
        match send(&mut connection) {
            Ok(value) => {
                self.keep(connection);
                Ok(value)
            }
            Err(error) => {
                if breaks_connection(&error) {
                    self.idle.lock().clear();
                } else {
                    self.keep(connection);
                }
                Err(Fault::unanswered(error, lost))
            }
        }
    }

    /// Makes a connection that is its caller's own.
    pub(super) fn listen(&self) -> Result<Connection> {
        self.here()?;
        self.connect()
    }

    fn refuse_risk(&self) -> Result<()> {
        let risks = match self.durability {
            Durability::Strict => self.server().risks(),
            Durability::Relaxed => Vec::new(),
        };
        if risks.is_empty() {
            return Ok(());
        }
        Err(Kind::NotDurable(risks.join("; ")).into())
    }

    fn take(&self) -> Option<Connection> {
        loop {
            let mut idle = self.idle.lock().pop()?;
            if idle.since.elapsed() < TRUSTED_FOR || idle.connection.check_connection() {
                return Some(idle.connection);
            }
        }
    }

    fn keep(&self, connection: Connection) {
        let since = instant();
        self.idle.lock().push(Idle { connection, since });
    }

    /// Refuses to go on in a fork: a connection has one owner.
    fn here(&self) -> Result<()> {
        if std::process::id() == self.process {
            return Ok(());
        }
        Err(Kind::Forked.into())
    }

    fn connect(&self) -> Result<Connection> {
        let connect = || {
            let mut connection = self
                .client
                .get_connection_with_timeout(self.connect_timeout)?;
            connection.set_read_timeout(Some(self.response_timeout))?;
            connection.set_write_timeout(Some(self.response_timeout))?;
            let server = server::look(&mut connection)?;
            Ok((connection, server))
        };
        let (connection, server) = connect().map_err(Fault::unreachable)?;
        server.refuse_old()?;
        *self.server.lock() = Arc::new(server);
        Ok(connection)
    }
}

fn client(options: &Options) -> Result<Client> {
    let mut login = RedisConnectionInfo::default()
        .set_db(options.database.into())
        .set_lib_name("votive", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &options.login.user {
        login = login.set_username(user);
    }
    if let Some(password) = &options.login.password {
        login = login.set_password(password);
    }
    let address = match &options.address {
        Address::Tcp { host, port, tls } if *tls => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
        Address::Tcp { host, port, .. } => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    let interval = options.keepalive_interval;
    let keepalive = TcpKeepalive::new()
        .with_time(interval)
        .with_interval(interval / PROBES_MAX)
        .with_retries(PROBES_MAX);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    let info = address.into_connection_info().map_err(Fault::unreachable)?;
    let info = info.set_tcp_settings(tcp).set_redis_settings(login);
    match options.address {
        Address::Tcp { tls: true, .. } => tls::client(info, options.tls_root.as_deref()),
        _ => Client::open(info).map_err(Fault::unreachable),
    }
}
