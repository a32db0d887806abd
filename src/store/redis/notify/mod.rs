//! Waiting for something to do: woken by the server, never polling while its messages arrive.
//!
//! Who looks in vain leaves a note in the store, in the same step; who changes something takes the note
//! and sends a message. So there are as many messages as there are waits, not as many as there are
//! tasks, and none can come between looking and waiting.

mod bell;
mod clock;
mod listener;
mod renewal;

use std::time::Duration;

use serde::Serialize;

use bell::Rings;

pub(super) use bell::Bell;
pub(super) use clock::{StoreClock, instant};
pub(super) use listener::Listener;
pub(super) use renewal::Renewal;

use super::error::Result;
use super::script::{self, Arguments, Link};
use super::{RedisStore, reply};
use crate::store::{Interest, Kind};
use crate::time::Timestamp;

/// The shortest sleep, lest rounding turns waiting into spinning.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The longest sleep while no messages arrive.
const DEAF_SLEEP_MAX: Duration = Duration::from_secs(1);

/// The longest sleep while something is due by a clock that is moved by hand.
const REPLACED_SLEEP_MAX: Duration = Duration::from_millis(20);

/// An interest, as the script is told it.
#[derive(Serialize)]
struct Told<'i> {
    kind: &'static str,
    name: String,
    /// Where the value is that a mark had when the wait began; none if there was no mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<usize>,
    #[serde(skip)]
    interest: &'i Interest,
}

enum Look {
    Served(usize),
    /// For this long nothing but a message can serve anybody.
    Quiet(Duration),
}

impl RedisStore {
    /// Waits until an interest may be served.
    pub(super) fn wait_for(
        &self,
        interests: &[Interest],
        timeout: Duration,
    ) -> Result<Option<Interest>> {
        let started = instant();
        self.listener.start();
        let first = self.bell.rings();
        let (told, values) = self.tell(interests)?;
        let text = serde_json::to_string(&told)?;
        loop {
            let rings = self.bell.rings();
            let now = self.now_or_ask()?;
            let quiet = match self.look(&text, &values, now)? {
                Look::Served(number) => {
                    let served = told.get(number.wrapping_sub(1));
                    return Ok(served.map(|told| told.interest.clone()));
                }
                Look::Quiet(quiet) if self.listener.is_connected() => quiet,
                Look::Quiet(quiet) => quiet.min(DEAF_SLEEP_MAX),
            };
            let Some(left) = timeout.checked_sub(started.elapsed()) else {
                return Ok(None);
            };
            if self.bell.rings().interrupts != first.interrupts {
                return Ok(None);
            }
            self.bell.wait_for_more(rings, quiet.min(left));
            if let Some(told) = told.iter().find(|told| self.is_announced(told, rings)) {
                return Ok(Some(told.interest.clone()));
            }
        }
    }

    /// Puts interests in the script's words, with the values that marks have now.
    fn tell<'i>(&self, interests: &'i [Interest]) -> Result<(Vec<Told<'i>>, Vec<Vec<u8>>)> {
        const OWN_ARGUMENTS: usize = 3;
        let mut values = Vec::new();
        let mut told = Vec::with_capacity(interests.len());
        for interest in interests {
            let mut value = None;
            let (kind, name) = match interest {
                Interest::Ready(queue) => ("ready", queue.clone()),
                Interest::Settled(task) => ("settled", task.to_string()),
                Interest::Mark(key) => {
                    if let Some(found) = self.mark_of(key)? {
                        values.push(found);
                        value = Some(OWN_ARGUMENTS + values.len());
                    }
                    ("mark", key.clone())
                }
            };
            told.push(Told {
                kind,
                name,
                value,
                interest,
            });
        }
        Ok((told, values))
    }

    /// Whether a message said that something can be claimed. That is believed, for a claim looks itself, and another
    /// trip would come before every task that somebody waits for.
    fn is_announced(&self, told: &Told<'_>, since: Rings) -> bool {
        let topic = || format!("{}:{}", told.kind, told.name);
        told.kind == "ready" && self.bell.has_heard(&topic(), since)
    }

    fn look(&self, interests: &str, values: &[Vec<u8>], now: Timestamp) -> Result<Look> {
        let arguments = Arguments::default().with(interests).all(values);
        let answer = self.link.run_at(&script::LOOK, now, arguments)?;
        let [number, due_at, lease_ends_in] = &reply::list(answer)?[..] else {
            return Err(Kind::Corrupt("a look saw too little".to_owned()).into());
        };
        if let Ok(number @ 1..) = usize::try_from(reply::number(number)?) {
            return Ok(Look::Served(number));
        }
        let mut quiet = Duration::MAX;
        if !reply::bytes(due_at)?.is_empty() {
            let due_at = Timestamp::from_micros(reply::number(due_at)?);
            quiet = quiet.min(due_at.since(now).saturating_add(SLEEP_MIN));
        }
        if !reply::bytes(lease_ends_in)?.is_empty() {
            // By the server's clock, which may be behind the store's time.
            let ends_in: i64 = reply::number(lease_ends_in)?;
            let ends_in = Duration::from_micros(ends_in.unsigned_abs());
            quiet = quiet.min(ends_in.saturating_add(SLEEP_MIN));
        }
        if self.link.clock.is_replaced() && quiet != Duration::MAX {
            quiet = quiet.min(REPLACED_SLEEP_MAX);
        }
        Ok(Look::Quiet(quiet))
    }
}

impl Link {
    /// Sends an empty message to all who listen.
    fn nudge(&self) -> Result<()> {
        let sent = self.pool.send(false, Kind::Unavailable, |connection| {
            redis::cmd("PUBLISH")
                .arg(self.channel())
                .arg("")
                .query(connection)
        });
        sent.map(drop)
    }
}
