//! Opening a store by its URL. The only list of the kinds of stores that come with votive; other
//! crates add theirs to [`Schemes`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "file")]
use crate::store::file::{self, FileStore};
use crate::store::memory::MemoryStore;
#[cfg(feature = "postgres")]
use crate::store::postgres::{self, PostgresStore};
#[cfg(feature = "redis")]
use crate::store::redis::{self, RedisStore};
#[cfg(feature = "sqlite")]
use crate::store::sqlite::{self, SqliteStore};
use crate::store::url::{StoreUrl, UrlError, advise};
use crate::store::{self, Store};

/// Opens the store at `url`, of a kind that comes with votive.
///
/// | URL | store |
/// | --- | --- |
/// | `memory://` | a new one in the memory of this process |
/// | `file:///absolute/folder`, `file:relative/folder` | in a folder, which is made if there is none |
/// | `sqlite:///absolute/path`, `sqlite:relative/path` | in a SQLite file, which is made if there is none |
/// | `redis://[user][:password@]host[:port][/db]`, `rediss://…`, `redis+unix:///path` | on a Redis server |
/// | `postgres://[user[:password]@]host[:port]/database`, `postgresql://…` | in a schema of a Postgres database |
///
/// Parameters of `sqlite`, after `?` and joined by `&`: `busy_timeout` and `poll_interval` (`500ms`,
/// `5s`), `wal_autocheckpoint` and `max_page_count` (pages), `create` (`true` or `false`).
///
/// Parameters of `file`: `poll_interval`, `segment_size` (bytes), `create`.
///
/// Parameters of `redis`: `name`, because a server may have several stores; `durability`, `strict` or
/// `relaxed`; `connect_timeout`, `response_timeout` and `keepalive_interval`; `tls_root` (a file); `create`;
/// and instead of the parts of the URL `host`, `port`, `db`, `password` and `unix_socket_path`.
///
/// Parameters of `postgres`: `schema`, which is made if there is none; `sslmode` (`disable`, `prefer`,
/// `require`, `verify-full`) and `sslrootcert` (a file); `host` where it is the folder of a socket, with
/// `port`, `user` and `password` then;
/// `pooler` (`session` or `transaction`); `durability` (`strict` or `relaxed`); `connect_timeout`,
/// `answer_timeout`, `lock_timeout` and `poll_interval`; `connections_max`, `application_name` and
/// `create`.
///
/// # Errors
/// The URL is wrong, or the store cannot be opened; see [`OpenError`].
///
/// # Examples
/// ```
/// let store = votive::open("memory://")?;
/// assert_eq!(store.capabilities().backend, "memory");
///
/// let error = votive::open("sqlight:tasks.db").err().map(|error| error.to_string());
/// assert!(error.is_some_and(|text| text.contains("did you mean `sqlite`?")));
/// # Ok::<(), votive::OpenError>(())
/// ```
pub fn open(url: &str) -> Result<Arc<dyn Store>, OpenError> {
    Schemes::default().open(url)
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is wrong; nothing was opened.
    #[error("the store URL is wrong; supported are {supported}")]
    Url {
        /// The forms that URLs may have.
        supported: String,
        /// What is wrong with it.
        #[source]
        source: UrlError,
    },
    /// No store of this kind is known; nothing was opened.
    #[error("unknown scheme `{scheme}`: {advice}")]
    UnknownScheme {
        /// The scheme of the URL.
        scheme: String,
        /// What may have been meant, and what is known.
        advice: String,
    },
    /// Two kinds of stores want the same scheme; the first one keeps it.
    #[error("the scheme `{0}` is taken")]
    SchemeTaken(String),
    /// The store could not be opened.
    #[error("the store could not be opened")]
    Store(#[source] store::Error),
}

/// Why a store was not opened by the function that knows its kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// The URL is wrong.
    #[error("the URL is wrong")]
    Url(#[from] UrlError),
    /// The store could not be opened.
    #[error("the store could not be opened")]
    Store(#[from] store::Error),
}

type Opened = Result<Arc<dyn Store>, SchemeError>;
type Opener = dyn Fn(&StoreUrl) -> Opened + Send + Sync;

struct Scheme {
    form: String,
    open: Box<Opener>,
}

/// The kinds of stores that can be opened by a URL. [`Schemes::default`] has those of votive.
///
/// # Examples
/// ```
/// use std::sync::Arc;
///
/// use votive::Schemes;
/// use votive::store::memory::MemoryStore;
///
/// let mut schemes = Schemes::default();
/// schemes.add("scratch", "scratch://", |url| {
///     url.allow(&[])?;
///     Ok(Arc::new(MemoryStore::new()))
/// })?;
/// assert!(schemes.open("scratch://").is_ok());
/// # Ok::<(), votive::OpenError>(())
/// ```
pub struct Schemes(BTreeMap<String, Scheme>);

impl Schemes {
    /// Adds a kind of store. `form` is how its URLs look, for error messages; the function opens one
    /// and should refuse parameters that it does not know, with [`StoreUrl::allow`].
    ///
    /// # Errors
    /// [`OpenError::SchemeTaken`]; what was there is kept.
    pub fn add(
        &mut self,
        scheme: &str,
        form: &str,
        open: impl Fn(&StoreUrl) -> Result<Arc<dyn Store>, SchemeError> + Send + Sync + 'static,
    ) -> Result<(), OpenError> {
        let scheme = scheme.to_lowercase();
        if self.0.contains_key(&scheme) {
            return Err(OpenError::SchemeTaken(scheme));
        }
        self.insert(&scheme, form, open);
        Ok(())
    }

    fn insert(
        &mut self,
        scheme: &str,
        form: &str,
        open: impl Fn(&StoreUrl) -> Opened + Send + Sync + 'static,
    ) {
        let form = form.to_owned();
        let open = Box::new(open);
        self.0.insert(scheme.to_owned(), Scheme { form, open });
    }

    /// Opens the store at `url`.
    ///
    /// # Errors
    /// The URL is wrong, or the store cannot be opened; see [`OpenError`].
    pub fn open(&self, url: &str) -> Result<Arc<dyn Store>, OpenError> {
        let url: StoreUrl = url.parse().map_err(|error| self.wrong(error))?;
        let scheme = self.0.get(url.scheme()).ok_or_else(|| self.unknown(&url))?;
        (scheme.open)(&url).map_err(|error| match error {
            SchemeError::Url(error) => self.wrong(error),
            SchemeError::Store(error) => OpenError::Store(error),
        })
    }

    fn wrong(&self, source: UrlError) -> OpenError {
        let forms = self.0.values().map(|scheme| scheme.form.as_str());
        let supported = forms.collect::<Vec<_>>().join(", ");
        OpenError::Url { supported, source }
    }

    fn unknown(&self, url: &StoreUrl) -> OpenError {
        let known: Vec<_> = self.0.keys().map(String::as_str).collect();
        let scheme = url.scheme().to_owned();
        let advice = match feature(&scheme) {
            Some(feature) => {
                format!("it needs the feature `{feature}`, which this program was built without")
            }
            None => advise(&scheme, &known),
        };
        OpenError::UnknownScheme { scheme, advice }
    }
}

/// The feature with which a scheme comes.
fn feature(scheme: &str) -> Option<&'static str> {
    match scheme {
        "file" => Some("file"),
        "postgres" | "postgresql" => Some("postgres"),
        "redis" | "rediss" | "redis+unix" => Some("redis"),
        "sqlite" => Some("sqlite"),
        _ => None,
    }
}

impl Default for Schemes {
    fn default() -> Self {
        let mut schemes = Self(BTreeMap::new());
        schemes.insert("memory", "`memory://`", memory);
        #[cfg(feature = "file")]
        schemes.insert(
            "file",
            "`file:///absolute/folder`, `file:relative/folder`",
            file,
        );
        #[cfg(feature = "sqlite")]
        schemes.insert(
            "sqlite",
            "`sqlite:///absolute/path`, `sqlite:relative/path`",
            sqlite,
        );
        #[cfg(feature = "redis")]
        for (scheme, form) in [
            ("redis", "`redis://[:password@]host:port/db`"),
            ("rediss", "`rediss://[:password@]host:port/db`"),
            ("redis+unix", "`redis+unix:///path?db=0`"),
        ] {
            schemes.insert(scheme, form, redis);
        }
        #[cfg(feature = "postgres")]
        for (scheme, form) in [
            ("postgres", "`postgres://user:password@host:port/database`"),
            (
                "postgresql",
                "`postgresql://user:password@host:port/database`",
            ),
        ] {
            schemes.insert(scheme, form, postgres);
        }
        schemes
    }
}

fn memory(url: &StoreUrl) -> Opened {
    url.nowhere()?;
    url.allow(&[])?;
    Ok(Arc::new(MemoryStore::new()))
}

#[cfg(feature = "file")]
fn file(url: &StoreUrl) -> Opened {
    let folder = url.folder()?;
    let mut options = file::Options::default();
    url.allow(&["create", "poll_interval", "segment_size"])?;
    if let Some(create) = url.parameter("create", "`true` or `false`")? {
        options = options.create(create);
    }
    if let Some(interval) = url.duration("poll_interval")? {
        options = options.poll_interval(interval);
    }
    if let Some(bytes) = url.parameter("segment_size", "a number of bytes")? {
        options = options.segment_size(bytes);
    }
    Ok(Arc::new(FileStore::open(folder, options)?))
}

#[cfg(feature = "sqlite")]
fn sqlite(url: &StoreUrl) -> Opened {
    const PAGES: &str = "a number of pages";
    let file = url.file()?;
    let mut options = sqlite::Options::default();
    url.allow(&[
        "busy_timeout",
        "create",
        "max_page_count",
        "poll_interval",
        "wal_autocheckpoint",
    ])?;
    if let Some(timeout) = url.duration("busy_timeout")? {
        options = options.busy_timeout(timeout);
    }
    if let Some(create) = url.parameter("create", "`true` or `false`")? {
        options = options.create(create);
    }
    if let Some(pages) = url.parameter("max_page_count", PAGES)? {
        options = options.max_page_count(pages);
    }
    if let Some(interval) = url.duration("poll_interval")? {
        options = options.poll_interval(interval);
    }
    if let Some(pages) = url.parameter("wal_autocheckpoint", PAGES)? {
        options = options.wal_autocheckpoint(pages);
    }
    Ok(Arc::new(SqliteStore::open(file, options)?))
}

#[cfg(feature = "redis")]
fn redis(url: &StoreUrl) -> Opened {
    let options = redis::Options::from_url(url)?;
    Ok(Arc::new(RedisStore::open(options)?))
}

#[cfg(feature = "postgres")]
fn postgres(url: &StoreUrl) -> Opened {
    let (address, options) = postgres::Options::from_url(url)?;
    Ok(Arc::new(PostgresStore::open(&address, options)?))
}

impl fmt::Debug for Schemes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
