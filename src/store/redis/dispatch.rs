//! Claims, leases, wake-ups and liveness.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::Value;

use super::error::{Fault, Result};
use super::script::{self, Arguments, Step};
use super::{RedisStore, kept, reply, wire};
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
    /// The first and the last of its tokens.
    tokens: [Token; 2],
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
        let wants = wants.map(|want| (&want.queue, want.count.min(CLAIMS_MAX)));
        let count = wants.clone().map(|(_, count)| count).sum::<usize>();
        let count = count.min(CLAIMS_MAX);
        if count == 0 {
            return Ok(Vec::new());
        }
        let first = Token::next_of(consumer.incarnation, count as u64);
        let arguments = Arguments::default()
            .shown(consumer.incarnation)
            .with(&consumer.name)
            .shown(request.lease.as_micros())
            .shown(first.count)
            .shown(count);
        let arguments = wants.fold(arguments, |arguments, (queue, count)| {
            arguments.with(queue).shown(count)
        });
        let answer = self.link.write(&script::CLAIM, CLAIM, now, arguments);
        let given = answer.and_then(Given::read);
        let is_lost = |fault: &Fault| matches!(fault.kind, Kind::Unknown | Kind::Corrupt(_));
        if given.as_ref().is_err_and(is_lost) {
            let tokens = [first, nth(first, count - 1)];
            self.disowned.lock().push(Disowned { tokens });
        }
        Ok(given?.claims(first, now))
    }

    /// Gives back what was claimed by calls whose answers were lost. Until that is done nothing more is
    /// claimed: the tasks would be nobody's for as long as this process lives. What a departed incarnation has claimed
    /// is free by itself.
    fn disown(&self) -> Result<()> {
        loop {
            let Some(disowned) = self.disowned.lock().pop() else {
                return Ok(());
            };
            let [first, last] = disowned.tokens;
            if !self.leases.is_attended(first.incarnation) {
                continue;
            }
            let arguments = Arguments::default()
                .shown(first.incarnation)
                .with(wire::token_text(first))
                .with(wire::token_text(last));
            if let Err(fault) = self.link.run(&script::DISOWN, arguments) {
                self.disowned.lock().push(disowned);
                return Err(fault);
            }
        }
    }
}

/// The token that comes so many after another.
fn nth(first: Token, after: usize) -> Token {
    Token {
        count: first.count + after as u64,
        ..first
    }
}

/// What a claim gave out.
struct Given {
    tasks: Vec<Value>,
    bodies: Vec<Value>,
    /// The places, from one, of those that the dead held.
    reclaimed: Vec<usize>,
}

impl Given {
    fn read(answer: Value) -> Result<Self> {
        let mut parts = reply::list(answer)?.into_iter();
        let mut next = || parts.next().map_or_else(|| Ok(Vec::new()), reply::list);
        let (tasks, bodies, reclaimed) = (next()?, next()?, next()?);
        if tasks.len() != bodies.len() {
            return Err(Fault::corrupt("a claim is incomplete"));
        }
        Ok(Self {
            tasks,
            bodies,
            reclaimed: reclaimed.iter().map(reply::parsed).collect::<Result<_>>()?,
        })
    }

    /// Reads the tasks. One that cannot be read does not keep the others from being run: it stays claimed, which is
    /// known of it.
    fn claims(&self, first: Token, now: Timestamp) -> Vec<Claim> {
        let mut claims = Vec::with_capacity(self.tasks.len());
        for (place, (task, body)) in self.tasks.iter().zip(&self.bodies).enumerate() {
            match kept::claimed(task, body) {
                Ok(record) => claims.push(Claim {
                    arrival: Arrival::at_claim(&record.options, self.is_reclaimed(place), now),
                    record,
                    token: nth(first, place),
                }),
                Err(fault) => tracing::error!(?fault, "a task that cannot be read was claimed"),
            }
        }
        claims
    }

    fn is_reclaimed(&self, place: usize) -> bool {
        self.reclaimed.contains(&(place + 1))
    }
}
