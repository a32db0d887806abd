//! Claims, leases, wake-ups and liveness.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::PostgresStore;
use super::claim::{self, Claimer};
use super::error::Result;
use super::notify::EVERYBODY;
use super::pool::{Alone, Durability, Pool, Write};
use super::presence::{self, Guard, Presences, Role};
use super::reclaim;
use super::value::Value;
use crate::id::{Incarnation, TaskId};
use crate::store::notify::Bell;
use crate::store::{self, Claim, ClaimKey, ClaimRequest, Dispatch, Interest, Kind, Presence, Want};
use crate::time::Timestamp;

const CLAIM: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: [
        "postgres.claim.before_commit",
        "postgres.claim.after_commit",
    ],
    wakes: None,
};
const ATTEND: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: ["", ""],
    wakes: None,
};
const DEPART: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: ["", ""],
    wakes: Some(EVERYBODY),
};

impl Dispatch for PostgresStore {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> store::Result<Vec<Claim>> {
        let claimed = self.claim_attended(request, now);
        claimed.map_err(|fault| fault.during("claim tasks"))
    }

    /// A claim has no expiry of its own here: it lasts as long as the lease of its holder.
    fn extend(
        &self,
        claims: &[ClaimKey],
        _lease: Duration,
        now: Timestamp,
    ) -> store::Result<Vec<TaskId>> {
        let lost = self.extend_leases(claims, now);
        lost.map_err(|fault| fault.during("look after claims"))
    }

    fn wait(&self, interests: &[Interest], timeout: Duration) -> store::Result<Option<Interest>> {
        let waited = self.wait_for(interests, timeout);
        waited.map_err(|fault| fault.during("wait for work"))
    }

    fn interrupt(&self) {
        self.bell.interrupt();
    }

    fn attend(&self, incarnation: Incarnation, lease: Duration) -> store::Result<Presence> {
        let attended = self.begin_lease(incarnation, lease);
        attended
            .map(|attendance| Presence::new(incarnation, attendance))
            .map_err(|fault| fault.during("attend an incarnation"))
    }

    fn departed(&self, now: Timestamp) -> store::Result<BTreeSet<Incarnation>> {
        let own = self.presences.attended(Role::Consumer);
        let own: Vec<_> = own
            .into_iter()
            .map(|(incarnation, _)| incarnation)
            .collect();
        let departed = self.read(|session| presence::departed(session, &own, now));
        departed.map_err(|fault| fault.during("look who has departed"))
    }
}

/// Ends the lease when it is dropped, and tells the others, who may take back what its holder held.
struct Attendance {
    guard: Option<Guard>,
    incarnation: Incarnation,
    process: u32,
    presences: Presences,
    pool: Arc<Pool>,
    bell: Arc<Bell>,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.guard = None;
        let is_fork = std::process::id() != self.process;
        if is_fork || self.presences.is_attended(Role::Consumer, self.incarnation) {
            return;
        }
        let turn = self.presences.turn();
        let expired = self.pool.write(DEPART, |session| {
            presence::expire(session, self.incarnation)?;
            reclaim::clean(session, Some(&[self.incarnation]))
        });
        drop(turn);
        if let Err(fault) = expired {
            tracing::warn!(
                ?fault,
                "a lease could not be ended: others wait until it has run out"
            );
        }
        self.bell.ring();
    }
}

impl PostgresStore {
    fn claim_attended(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        let consumer = &request.consumer;
        if !self
            .presences
            .is_attended(Role::Consumer, consumer.incarnation)
        {
            let whose = format!("consumer {consumer} is not attended, so it must not claim");
            return Err(Kind::Invalid(whose).into());
        }
        let own = self.own_consumers();
        let claims = match self.claim_either(request, &own, now) {
            // Whatever there is, others have it.
            Err(fault) if fault.is_locked() => Vec::new(),
            claims => claims?,
        };
        self.waiting.claimed(claims.len());
        Ok(claims)
    }

    /// By statements that are transactions by themselves, or by one of many.
    fn claim_either(
        &self,
        request: &ClaimRequest,
        own: &Value,
        now: Timestamp,
    ) -> Result<Vec<Claim>> {
        let claimer = Claimer {
            consumer: &request.consumer,
            own,
            lines: &self.lines,
            now,
        };
        let in_transaction = |wants: &[Want], is_tried| {
            self.write_again(CLAIM, |session| claimer.claim(session, wants, is_tried))
        };
        let wants = &request.wants;
        let mut alone = Alone(&self.pool, CLAIM);
        let mut claims = match claimer.claim_alone(&mut alone, wants)? {
            claim::Alone::Claimed(claims) => return Ok(claims),
            claim::Alone::Nothing if !self.may_find(wants, now)? => return Ok(Vec::new()),
            claim::Alone::Nothing => return in_transaction(wants, true),
            claim::Alone::Impossible => return in_transaction(wants, false),
            claim::Alone::Partly(claims) => claims,
        };
        let mut rest = wants.clone();
        for want in &mut rest {
            want.count -= claims.len().min(want.count);
        }
        match in_transaction(&rest, false) {
            Ok(more) => claims.extend(more),
            Err(fault) => claim::or_less(fault, &claims)?,
        }
        Ok(claims)
    }

    /// Whether a claim may find something, in the line or beside it. To look is less than to claim, and of those who
    /// are woken by the same commit all but one come too late.
    fn may_find(&self, wants: &[Want], now: Timestamp) -> Result<bool> {
        self.read(|session| {
            for want in wants {
                if self.look_at(session, &want.queue, now)?.0 {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// The consumers of this process: they live, however late the server hears of it.
    pub(super) fn own_consumers(&self) -> Value {
        let own = self.presences.attended(Role::Consumer);
        let number = |(own, _): &(Incarnation, _)| Some(own.to_u64().cast_signed());
        Value::Integers(own.iter().map(number).collect())
    }

    fn extend_leases(&self, claims: &[ClaimKey], now: Timestamp) -> Result<Vec<TaskId>> {
        let holders: BTreeSet<_> = claims.iter().map(|claim| claim.token.incarnation).collect();
        let mut leases = self.presences.attended(Role::Consumer);
        leases.retain(|(own, _)| holders.contains(own));
        let ids = claims.iter().map(|claim| claim.task.to_bytes()).collect();
        let present = self.write(ATTEND, |session| {
            presence::prolong(session, &leases, now)?;
            claim::present(session, ids)
        })?;
        let is_lost = |claim: &&ClaimKey| present.get(&claim.task.to_bytes()) != Some(&claim.token);
        Ok(claims
            .iter()
            .filter(is_lost)
            .map(|claim| claim.task)
            .collect())
    }

    fn begin_lease(&self, incarnation: Incarnation, lease: Duration) -> Result<Attendance> {
        let now = self.clock_now()?;
        let guard = self.presences.attend(Role::Consumer, incarnation, lease);
        self.write(ATTEND, |session| {
            presence::prolong(session, &[(incarnation, lease)], now)
        })?;
        self.keeper.nudge();
        Ok(Attendance {
            guard: Some(guard),
            incarnation,
            process: self.process,
            presences: self.presences.clone(),
            pool: Arc::clone(&self.pool),
            bell: Arc::clone(&self.bell),
        })
    }
}
