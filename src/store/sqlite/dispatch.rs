//! Claims, leases, wake-ups and liveness.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::SqliteStore;
use super::claim;
use super::error::{Fault, Result};
use super::presence::{Guard, Role};
use super::row::Sql;
use super::writer::{Durability, Write};
use crate::id::{Incarnation, TaskId, Token};
use crate::store::notify::Bell;
use crate::store::{self, Claim, ClaimKey, ClaimRequest, Dispatch, Interest, Kind, Presence};
use crate::time::Timestamp;

const CLAIM: Write = Write {
    durability: Durability::Deferred,
    failpoints: ["sqlite.claim.before_commit", "sqlite.claim.after_commit"],
};

impl Dispatch for SqliteStore {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> store::Result<Vec<Claim>> {
        let claimed = self.claim_if_any(request, now);
        claimed.map_err(|fault| fault.during("claim tasks"))
    }

    /// A claim has no expiry of its own here: it lasts as long as its holder's kernel lock.
    fn extend(
        &self,
        claims: &[ClaimKey],
        _lease: Duration,
        _now: Timestamp,
    ) -> store::Result<Vec<TaskId>> {
        let lost = self.read(|connection| {
            let mut lost = Vec::new();
            for claim in claims {
                if token(connection, claim.task)? != Some(claim.token) {
                    lost.push(claim.task);
                }
            }
            Ok(lost)
        });
        lost.map_err(|fault| fault.during("look after claims"))
    }

    fn wait(&self, interests: &[Interest], timeout: Duration) -> store::Result<Option<Interest>> {
        let waited = self.wait_for(interests, timeout);
        waited.map_err(|fault| fault.during("wait for work"))
    }

    fn interrupt(&self) {
        self.bell.interrupt();
    }

    fn attend(&self, incarnation: Incarnation, _lease: Duration) -> store::Result<Presence> {
        let attended = self
            .here()
            .and_then(|()| self.presences.attend(Role::Consumer, incarnation));
        match attended {
            Ok(guard) => Ok(Presence::new(
                incarnation,
                Attendance {
                    guard: Some(guard),
                    bell: Arc::clone(&self.bell),
                },
            )),
            Err(fault) => Err(fault.during("attend an incarnation")),
        }
    }

    fn departed(&self, _now: Timestamp) -> store::Result<BTreeSet<Incarnation>> {
        let departed = self.read(|connection| self.departed_holders(connection));
        departed.map_err(|fault| fault.during("look who has departed"))
    }
}

/// Ends the proof of life when it is dropped, and tells the others, who may take back what it held.
struct Attendance {
    guard: Option<Guard>,
    bell: Arc<Bell>,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.guard = None;
        self.bell.ring();
    }
}

impl SqliteStore {
    /// Looks before it writes, so that an idle claim takes no lock that a producer waits for.
    fn claim_if_any(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        let consumer = &request.consumer;
        if !self
            .presences
            .is_attended(Role::Consumer, consumer.incarnation)
        {
            let whose = format!("consumer {consumer} is not attended, so it must not claim");
            return Err(Kind::Invalid(whose).into());
        }
        let (any, departed) = self.read(|connection| {
            let departed = self.departed_holders(connection)?;
            let any = any_for(connection, request, &departed, now)?;
            Ok((any, departed))
        })?;
        if !any {
            return Ok(Vec::new());
        }
        let (request, sweeps) = (request.clone(), Arc::clone(&self.sweeps));
        self.write(CLAIM, move |connection| {
            let claims = claim::claim(connection, &request, &departed, now)?;
            sweeps.after(&claims, connection)?;
            Ok(claims)
        })
    }

    /// Those who hold claims and are proved dead: their kernel locks are free.
    pub(super) fn departed_holders(
        &self,
        connection: &Connection,
    ) -> Result<BTreeSet<Incarnation>> {
        let mut departed = BTreeSet::new();
        for holder in claim::holders(connection)? {
            if self.presences.is_departed(Role::Consumer, holder)? {
                departed.insert(holder);
            }
        }
        Ok(departed)
    }
}

fn any_for(
    connection: &Connection,
    request: &ClaimRequest,
    departed: &BTreeSet<Incarnation>,
    now: Timestamp,
) -> Result<bool> {
    for want in request.wants.iter().filter(|want| want.count > 0) {
        let queue = &want.queue;
        if claim::is_ready(connection, queue, now)?
            || claim::any_holds(connection, departed, queue)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn token(connection: &Connection, task: TaskId) -> Result<Option<Token>> {
    let mut select = connection
        .prepare_cached("SELECT holder, token FROM votive_task WHERE id = ?1 AND state = 4")?;
    let token = select.query_row([Sql(task)], |row| {
        Ok(Token {
            incarnation: row.get::<_, Sql<Incarnation>>(0)?.0,
            count: row.get::<_, i64>(1)?.cast_unsigned(),
        })
    });
    token.optional().map_err(Fault::from)
}
