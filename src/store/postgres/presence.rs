//! Proof of life: a lease of each incarnation, which its process prolongs for as long as it lives.
//!
//! Nothing else is timed: a claim lasts as long as the lease of its holder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::claim::tasks_of_claim;
use super::error::Result;
use super::reclaim;
use super::session::Session;
use super::value::Value;
use crate::id::Incarnation;
use crate::time::Timestamp;

/// What an incarnation lives as. The two lives of one incarnation end apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// It holds claims.
    Consumer,
    /// It begins transactions.
    Manager,
}

/// The incarnations that this process keeps alive on behalf of one store. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub(crate) struct Presences(Arc<Lives>);

#[derive(Default)]
struct Lives {
    lives: Mutex<BTreeMap<(Role, Incarnation), Life>>,
    turn: Mutex<()>,
}

struct Life {
    lease: Duration,
    guards: usize,
}

/// Keeps one incarnation alive.
pub(crate) struct Guard {
    presences: Presences,
    role: Role,
    incarnation: Incarnation,
}

impl Presences {
    /// Begins to keep an incarnation alive, or shares it if that has begun already.
    pub(crate) fn attend(&self, role: Role, incarnation: Incarnation, lease: Duration) -> Guard {
        let mut lives = self.0.lives.lock();
        let life = lives
            .entry((role, incarnation))
            .or_insert(Life { lease, guards: 0 });
        life.guards += 1;
        life.lease = life.lease.min(lease);
        Guard {
            presences: self.clone(),
            role,
            incarnation,
        }
    }

    /// Held by who prolongs leases from the look at who is attended until it is written, and by who ends
    /// one: else a lease that has ended would be prolonged by somebody who had looked before.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock()
    }

    /// Whether this store keeps an incarnation alive.
    pub(crate) fn is_attended(&self, role: Role, incarnation: Incarnation) -> bool {
        self.0.lives.lock().contains_key(&(role, incarnation))
    }

    /// Those that this store keeps alive, with their leases.
    pub(crate) fn attended(&self, role: Role) -> Vec<(Incarnation, Duration)> {
        let lives = self.0.lives.lock();
        let of_role = lives.iter().filter(|((of, _), _)| *of == role);
        of_role
            .map(|((_, incarnation), life)| (*incarnation, life.lease))
            .collect()
    }

    /// The shortest lease of all.
    pub(crate) fn lease_min(&self) -> Option<Duration> {
        self.0.lives.lock().values().map(|life| life.lease).min()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut lives = self.presences.0.lives.lock();
        let key = (self.role, self.incarnation);
        let Some(life) = lives.get_mut(&key) else {
            return;
        };
        life.guards -= 1;
        if life.guards == 0 {
            lives.remove(&key);
        }
    }
}

/// Prolongs leases of consumers, or begins them.
pub(super) fn prolong(
    session: &mut dyn Session,
    leases: &[(Incarnation, Duration)],
    now: Timestamp,
) -> Result<()> {
    if leases.is_empty() {
        return Ok(());
    }
    let number = |(incarnation, _): &(Incarnation, _)| Some(incarnation.to_u64().cast_signed());
    let until = |(_, lease): &(_, Duration)| Some(now.saturating_add(*lease).as_micros());
    session
        .execute(
            "INSERT INTO @.lease (incarnation, expires_at)
             SELECT * FROM unnest($1::bigint[], $2::bigint[])
             ON CONFLICT (incarnation) DO UPDATE SET expires_at = EXCLUDED.expires_at",
            vec![
                Value::Integers(leases.iter().map(number).collect()),
                Value::Integers(leases.iter().map(until).collect()),
            ],
        )
        .map(drop)
}

/// Ends a lease, so that others see at once that its claims are free.
pub(super) fn expire(session: &mut dyn Session, incarnation: Incarnation) -> Result<()> {
    session
        .execute(
            "UPDATE @.lease SET expires_at = 0 WHERE incarnation = $1",
            vec![incarnation.into()],
        )
        .map(drop)
}

/// Clears away claims that are over, and leases that ran out a day ago and that no claim depends on, and gives
/// one that has run out to claims that have none.
pub(super) fn clean(session: &mut dyn Session, now: Timestamp) -> Result<()> {
    const KEPT: Duration = Duration::from_secs(24 * 3_600);
    reclaim::clean(session, None)?;
    session.execute(
        "DELETE FROM @.lease l WHERE l.expires_at <= $1
         AND (SELECT 1 FROM @.claim c WHERE c.holder = l.incarnation LIMIT 1) IS NULL",
        vec![now.saturating_sub(KEPT).into()],
    )?;
    session
        .execute(
            "INSERT INTO @.lease (incarnation, expires_at)
             SELECT DISTINCT c.holder, 0 FROM @.claim c
             WHERE NOT EXISTS (SELECT 1 FROM @.lease l WHERE l.incarnation = c.holder)
             ON CONFLICT DO NOTHING",
            Vec::new(),
        )
        .map(drop)
}

/// Returns the holders of claims whose lease has run out, but for `own`.
pub(super) fn departed(
    session: &mut dyn Session,
    own: &[Incarnation],
    now: Timestamp,
) -> Result<BTreeSet<Incarnation>> {
    let rows = session.query(
        concat!(
            "SELECT l.incarnation FROM @.lease l
             WHERE l.expires_at <= $1 AND l.incarnation <> ALL ($2)
                 AND (SELECT 1 FROM @.claim c WHERE c.holder = l.incarnation AND (",
            tasks_of_claim!("1"),
            " ORDER BY t.seq LIMIT 1) IS NOT NULL LIMIT 1) IS NOT NULL"
        ),
        vec![now.into(), super::register::numbers(own)],
    )?;
    rows.iter()
        .map(|row| super::register::incarnation(row, 0))
        .collect()
}
