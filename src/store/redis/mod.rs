//! The Redis store: one server, shared by any number of processes of any number of machines.
//!
//! Owns one invariant: whatever changes the store is one script, which the server performs at once and
//! whole, and which may be sent again. Rules that are kept in Rust for other stores are kept in
//! `scripts/rules.lua` here; a test compares the two.
//!
//! | file | what for |
//! | --- | --- |
//! | `options` `connection` `tls` `server` `foreign` | reaching the server, what it promises, and whose it is |
//! | `script` `reply` `wire` `plain` `error` | how operations get there and answers come back |
//! | `scripts/` | the operations, and the rules that they share |
//! | `stage` `register` | two-phase commit, and who committed |
//! | `dispatch` `notify` `presence` | claims, wake-ups, proof of life |
//! | `inspect` `check` | looking |

mod check;
mod connection;
mod dispatch;
mod error;
mod foreign;
mod inspect;
mod kept;
mod library;
mod notify;
mod options;
mod plain;
mod presence;
mod register;
mod reply;
mod script;
mod server;
mod stage;
mod tls;
mod wire;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

pub use options::{Durability, Options};

use crate::id::{StoreId, TxnId};
use crate::register::Tier;
use crate::store::{self, Capabilities, Kind, Store};
use crate::time::Timestamp;
use dispatch::Disowned;
use error::{Fault, Result};
use notify::{Bell, Listener, Renewal};
use presence::Leases;
use script::{Arguments, Link};

/// The name of this backend in errors and capabilities.
const BACKEND: &str = "redis";

/// The version of the keys that this program writes, and the newest that it reads.
const VERSION: u32 = 1;

/// A store on a Redis server.
pub struct RedisStore {
    id: StoreId,
    name: String,
    address: String,
    capabilities: Capabilities,
    link: Arc<Link>,
    leases: Arc<Leases>,
    renewal: Renewal,
    bell: Arc<Bell>,
    listener: Listener,
    /// Outcomes that their owner knows: their records go with the next write.
    known: Mutex<Vec<TxnId>>,
    disowned: Mutex<Vec<Disowned>>,
}

impl RedisStore {
    /// Opens the store, and makes it if there is none of its name and the options do not say otherwise.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the server cannot be reached, [`Kind::Invalid`] if it is too old,
    /// [`Kind::NoStore`] if there is none and none was to be made,
    /// [`Kind::NewerVersion`] and [`Kind::Foreign`] if what is there is not for this program. Nothing
    /// was written.
    ///
    /// # Blocking
    /// Up to the timeouts of `options`.
    pub fn open(options: Options) -> store::Result<Self> {
        Self::open_at(options).map_err(|fault| fault.during("open its server"))
    }

    fn open_at(options: Options) -> Result<Self> {
        let link = Link::open(&options)?;
        let (id, clock) = open_keys(&link, &options)?;
        let link = Arc::new(link.raised(clock, options.clock));
        let leases = Arc::new(Leases::default());
        let bell = Arc::new(Bell::default());
        Ok(Self {
            id,
            capabilities: capabilities(&link.pool.server().risks(), options.durability),
            renewal: Renewal::new(&link, &leases),
            listener: Listener::new(&link, &bell),
            name: options.name,
            address: options.address.to_string(),
            link,
            leases,
            bell,
            known: Mutex::default(),
            disowned: Mutex::default(),
        })
    }

    fn start_renewal(&self) -> Result<()> {
        self.renewal.start().map_err(|error| {
            tracing::error!(%error, "no thread to renew leases");
            Fault::from(Kind::Other)
        })
    }
}

impl Store for RedisStore {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", &self.address)
            .field("name", &self.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Finds the store's identity and the latest time that it has seen, or makes them where there are none:
/// a store that is only looked at may be where nothing can be written.
fn open_keys(link: &Link, options: &Options) -> Result<(StoreId, Timestamp)> {
    let mut found = reply::list(link.run(&script::PEEK, Arguments::default())?)?;
    if found.is_empty() {
        foreign::refuse_foreign(link)?;
        if !options.create {
            let what = format!("the server has none that is named `{}`", options.name);
            return Err(Kind::NoStore(what).into());
        }
        let arguments = Arguments::default().shown(VERSION).shown(StoreId::random());
        found = reply::list(link.run(&script::OPEN, arguments)?)?;
    }
    let [version, id, clock] = &found[..] else {
        return Err(Fault::corrupt("the store has no version"));
    };
    let found = reply::parsed(version)?;
    if found > VERSION {
        let known = VERSION;
        return Err(Kind::NewerVersion { found, known }.into());
    }
    let clock = Timestamp::from_micros(reply::number(clock)?);
    Ok((reply::parsed(id)?, clock))
}

fn capabilities(risks: &[String], durability: Durability) -> Capabilities {
    let tier = if risks.is_empty() || durability == Durability::Relaxed {
        Tier::Prepared
    } else {
        Tier::Volatile
    };
    let mut capabilities = Capabilities::new(BACKEND, tier);
    capabilities.shared = true;
    capabilities.caveats = risks.to_vec();
    if durability == Durability::Relaxed && !risks.is_empty() {
        let caveat = "`durability=relaxed`: what was acknowledged may be lost with the server";
        capabilities.caveats.insert(0, caveat.to_owned());
    }
    capabilities
}
