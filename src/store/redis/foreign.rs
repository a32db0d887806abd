//! Databases of other task queues, where a store of ours would be a stranger.

use super::error::{Fault, Result};
use super::reply;
use super::script::Link;
use crate::store::Kind;

/// What the keys of Huey begin with: a queue, its schedule, its results in one piece or one by one, its errors.
const HUEY: [&[u8]; 5] = [
    b"huey.redis.",
    b"huey.schedule.",
    b"huey.results.",
    b"huey.r.",
    b"huey.errors.",
];

/// How many keys one command of the look through a database is to look at.
const LOOKED_AT: u32 = 1_000;

/// Refuses a database in which Huey keeps tasks. Only reads; looks at every key, a thousand at a time, and so is
/// only asked where there is no store yet.
pub(super) fn refuse_foreign(link: &Link) -> Result<()> {
    let mut cursor = "0".to_owned();
    loop {
        let page = link.pool.send(false, Kind::Unavailable, |connection| {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg("huey.*");
            scan.arg("COUNT").arg(LOOKED_AT).query(connection)
        })?;
        let parts = reply::list(page)?;
        let [next, keys] = &parts[..] else {
            return Err(Fault::corrupt("a page of keys is incomplete"));
        };
        for key in reply::list(keys.clone())? {
            let key = reply::bytes(&key)?;
            if HUEY.iter().any(|prefix| key.starts_with(prefix)) {
                let whose = format!("its key `{}` is Huey's", String::from_utf8_lossy(key));
                return Err(Kind::Foreign(whose).into());
            }
        }
        cursor = reply::text(next)?;
        if cursor == "0" {
            return Ok(());
        }
    }
}
