//! Claims, leases, wake-ups and liveness.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::Value;
use serde::Serialize;

use super::error::{Fault, Result};
use super::script::{self, Arguments, Step};
use super::{RedisStore, reply, wire};
use crate::id::{Incarnation, TaskId, Token};
use crate::store::{
    self, Arrival, Claim, ClaimKey, ClaimRequest, Dispatch, Interest, Kind, Presence,
};
use crate::time::Timestamp;

const CLAIM: Step = Step::repeatable("redis.claim.before_commit", "redis.claim.after_commit");

/// The most tasks that one claim gives out, so that it does not keep the server from others for long.
const CLAIMS_MAX: usize = 256;

/// A claim whose answer was lost: whatever it gave out, nobody knows of.
pub(super) struct Disowned {
    incarnation: Incarnation,
    tokens: Vec<String>,
}

#[derive(Serialize)]
struct Want<'r> {
    queue: &'r str,
    count: usize,
}

impl Dispatch for RedisStore {
    fn claim(&self, request: &ClaimRequest, now: Timestamp) -> store::Result<Vec<Claim>> {
        let claimed = self.claim_tasks(request, now);
        claimed.map_err(|fault| fault.during("claim tasks"))
    }

    /// A claim has no expiry of its own here: it lasts as long as its holder's lease, which this prolongs.
    fn extend(
        &self,
        claims: &[ClaimKey],
        lease: Duration,
        now: Timestamp,
    ) -> store::Result<Vec<TaskId>> {
        let extend = || -> Result<_> {
            let keys: Vec<_> = claims
                .iter()
                .map(|claim| format!("{} {}", claim.task, wire::token_text(claim.token)))
                .collect();
            let arguments = Arguments::default()
                .shown(lease.as_micros())
                .with(keys.join("\n"));
            let lost = self.link.run_at(&script::EXTEND, now, arguments)?;
            reply::list(lost)?.iter().map(reply::parsed).collect()
        };
        extend().map_err(|fault| fault.during("extend leases"))
    }

    fn wait(&self, interests: &[Interest], timeout: Duration) -> store::Result<Option<Interest>> {
        let waited = self.wait_for(interests, timeout);
        waited.map_err(|fault| fault.during("wait for work"))
    }

    fn interrupt(&self) {
        self.bell.interrupt();
    }

    fn attend(&self, incarnation: Incarnation, lease: Duration) -> store::Result<Presence> {
        let attend = || -> Result<_> {
            let attendance = self.leases.attend(&self.link, incarnation, lease)?;
            self.start_renewal()?;
            Ok(Presence::new(incarnation, attendance))
        };
        attend().map_err(|fault| fault.during("attend an incarnation"))
    }

    fn departed(&self, now: Timestamp) -> store::Result<BTreeSet<Incarnation>> {
        let look = || -> Result<_> {
            let departed = self
                .link
                .run_at(&script::DEPARTED, now, Arguments::default())?;
            reply::list(departed)?.iter().map(reply::parsed).collect()
        };
        look().map_err(|fault| fault.during("look who has departed"))
    }
}

impl RedisStore {
    fn claim_tasks(&self, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claim>> {
        let consumer = &request.consumer;
        if !self.leases.is_attended(consumer.incarnation) {
            let whose = format!("consumer {consumer} is not attended, so it must not claim");
            return Err(Kind::Invalid(whose).into());
        }
        self.disown()?;
        let wants = request.wants.iter().filter(|want| want.count > 0);
        let wants: Vec<_> = wants
            .map(|want| Want {
                queue: &want.queue,
                count: want.count.min(CLAIMS_MAX),
            })
            .collect();
        let count = wants.iter().map(|want| want.count).sum::<usize>();
        let tokens = (0..count.min(CLAIMS_MAX)).map(|_| Token::next(consumer.incarnation));
        let tokens: Vec<_> = tokens.map(wire::token_text).collect();
        let arguments = Arguments::default()
            .shown(consumer.incarnation)
            .with(&consumer.name)
            .shown(request.lease.as_micros())
            .with(serde_json::to_string(&tokens)?)
            .with(serde_json::to_string(&wants)?);
        let answer = self.link.write(&script::CLAIM, CLAIM, now, arguments);
        if answer
            .as_ref()
            .is_err_and(|fault| fault.kind == Kind::Unknown)
        {
            self.disowned.lock().push(Disowned {
                incarnation: consumer.incarnation,
                tokens,
            });
        }
        let claims = reply::list(answer?)?;
        claims
            .into_iter()
            .map(|claim| read_claim(claim, now))
            .collect()
    }

    /// Gives back what was claimed by calls whose answers were lost. Until that is done nothing more is
    /// claimed: the tasks would be nobody's for as long as this process lives.
    fn disown(&self) -> Result<()> {
        loop {
            let Some(lost) = self.disowned.lock().pop() else {
                return Ok(());
            };
            let arguments = Arguments::default()
                .shown(lost.incarnation)
                .with(serde_json::to_string(&lost.tokens)?);
            if let Err(fault) = self.link.run(&script::DISOWN, arguments) {
                self.disowned.lock().push(lost);
                return Err(fault);
            }
        }
    }
}

fn read_claim(value: Value, now: Timestamp) -> Result<Claim> {
    let parts = reply::list(value)?;
    let [token, is_reclaimed, fields, body, id] = &parts[..] else {
        return Err(Fault::corrupt("a claim is incomplete"));
    };
    let record = wire::listed(fields, body, &reply::text(id)?)?.record;
    let arrival = match record.options.expires_at {
        Some(at) if at <= now => Arrival::Expired,
        _ if reply::number(is_reclaimed)? > 0 => Arrival::Reclaimed,
        _ => Arrival::Fresh,
    };
    Ok(Claim {
        token: wire::read_token(token)?,
        arrival,
        record,
    })
}
