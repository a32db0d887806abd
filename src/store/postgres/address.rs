//! Where a store is and how it is opened, as a URL says it.

use super::options::{Options, Pooler, TlsMode};
use crate::store::url::{StoreUrl, UrlError};

/// What a URL may have after `?`.
const PARAMETERS: [&str; 16] = [
    "answer_timeout",
    "application_name",
    "connect_timeout",
    "connections_max",
    "create",
    "durability",
    "host",
    "lock_timeout",
    "password",
    "poll_interval",
    "pooler",
    "port",
    "schema",
    "sslmode",
    "sslrootcert",
    "user",
];

impl Options {
    /// Reads a URL; the first value is the address for [`PostgresStore::open`](super::PostgresStore::open).
    ///
    /// # Errors
    /// [`UrlError`] names the parameter that is not known or cannot be read.
    pub fn from_url(url: &StoreUrl) -> Result<(String, Self), UrlError> {
        url.allow(&PARAMETERS)?;
        let mut options = times(url, Self::default())?;
        if let Some(schema) = url.parameter::<String>("schema", "the name of a schema")? {
            options = options.schema(schema);
        }
        if let Some(Tls(mode)) =
            url.parameter("sslmode", "`disable`, `prefer`, `require` or `verify-full`")?
        {
            options = options.tls(mode);
        }
        if let Some(file) = url.parameter::<String>("sslrootcert", "a file")? {
            options = options.tls_root(file);
        }
        if let Some(Pooled(pooler)) = url.parameter("pooler", "`session` or `transaction`")? {
            options = options.pooler(pooler);
        }
        if let Some(count) = url.parameter("connections_max", "a number of connections")? {
            options = options.connections_max(count);
        }
        if let Some(create) = url.parameter("create", "`true` or `false`")? {
            options = options.create(create);
        }
        if let Some(Relaxed(relaxed)) = url.parameter("durability", "`strict` or `relaxed`")? {
            options = options.relaxed(relaxed);
        }
        Ok((address(url)?, options))
    }
}

fn times(url: &StoreUrl, mut options: Options) -> Result<Options, UrlError> {
    if let Some(timeout) = url.duration("connect_timeout")? {
        options = options.connect_timeout(timeout);
    }
    if let Some(timeout) = url.duration("answer_timeout")? {
        options = options.answer_timeout(timeout);
    }
    if let Some(timeout) = url.duration("lock_timeout")? {
        options = options.lock_timeout(timeout);
    }
    if let Some(interval) = url.duration("poll_interval")? {
        options = options.poll_interval(interval);
    }
    Ok(options)
}

/// The URL with those parameters alone that the driver knows.
fn address(url: &StoreUrl) -> Result<String, UrlError> {
    let mut address = url.as_url().clone();
    address.set_query(None);
    for name in ["host", "port", "user", "password", "application_name"] {
        if let Some(value) = url.parameter::<String>(name, "a text")? {
            address.query_pairs_mut().append_pair(name, &value);
        }
    }
    Ok(address.into())
}

struct Tls(TlsMode);

impl std::str::FromStr for Tls {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(Self(match text {
            "disable" => TlsMode::Disable,
            "prefer" => TlsMode::Prefer,
            "require" => TlsMode::Require,
            "verify-full" => TlsMode::VerifyFull,
            _ => return Err(()),
        }))
    }
}

struct Pooled(Pooler);

impl std::str::FromStr for Pooled {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "session" => Ok(Self(Pooler::Session)),
            "transaction" => Ok(Self(Pooler::Transaction)),
            _ => Err(()),
        }
    }
}

struct Relaxed(bool);

impl std::str::FromStr for Relaxed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "strict" => Ok(Self(false)),
            "relaxed" => Ok(Self(true)),
            _ => Err(()),
        }
    }
}
