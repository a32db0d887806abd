//! Proof of life by leases: an incarnation lives until its lease runs out by the server's clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::error::Result;
use super::script::{self, Arguments, Link};
use crate::id::Incarnation;

/// How long a process whose transactions are decided here is taken to live after it was last heard of.
pub(super) const MANAGER_LEASE: Duration = Duration::from_secs(60);

/// The leases that this process keeps up.
#[derive(Default)]
pub(super) struct Leases {
    consumers: Mutex<BTreeMap<Incarnation, Attended>>,
    managers: Mutex<Vec<Incarnation>>,
    /// Held while leases are sent, lest one is renewed after its holder has departed.
    sending: Mutex<()>,
}

struct Attended {
    lease: Duration,
    /// How many presences it has.
    count: usize,
}

impl Leases {
    /// Whether an incarnation is attended by this process.
    pub(super) fn is_attended(&self, incarnation: Incarnation) -> bool {
        self.consumers.lock().contains_key(&incarnation)
    }

    /// Adds the lease of an incarnation whose transactions are decided here.
    pub(super) fn add_manager(&self, incarnation: Incarnation) {
        self.managers.lock().push(incarnation);
    }

    /// Returns the shortest lease.
    pub(super) fn shortest(&self) -> Duration {
        let consumers = self.consumers.lock();
        let leases = consumers.values().map(|attended| attended.lease);
        leases.chain([MANAGER_LEASE]).min().unwrap_or(MANAGER_LEASE)
    }

    /// Renews all, and returns the shortest.
    pub(super) fn renew(&self, link: &Link) -> Result<Duration> {
        let _sending = self.sending.lock();
        let consumers: Vec<_> = {
            let consumers = self.consumers.lock();
            let lease =
                |(incarnation, attended): (&Incarnation, &Attended)| (*incarnation, attended.lease);
            consumers.iter().map(lease).collect()
        };
        renew(link, "leases", &consumers)?;
        let managers = self.managers.lock().clone();
        let managers: Vec<_> = managers
            .into_iter()
            .map(|incarnation| (incarnation, MANAGER_LEASE))
            .collect();
        renew(link, "managers", &managers)?;
        Ok(self.shortest())
    }

    /// Attends an incarnation from now on.
    pub(super) fn attend(
        self: &Arc<Self>,
        link: &Arc<Link>,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<Attendance> {
        renew(link, "leases", &[(incarnation, lease)])?;
        let mut consumers = self.consumers.lock();
        let attended = consumers
            .entry(incarnation)
            .or_insert(Attended { lease, count: 0 });
        attended.lease = attended.lease.max(lease);
        attended.count += 1;
        Ok(Attendance {
            incarnation,
            leases: Arc::clone(self),
            link: Arc::clone(link),
        })
    }
}

fn renew(link: &Link, set: &str, leases: &[(Incarnation, Duration)]) -> Result<()> {
    if leases.is_empty() {
        return Ok(());
    }
    let mut arguments = Arguments::default().with(set);
    for (incarnation, lease) in leases {
        arguments = arguments.shown(incarnation).shown(lease.as_micros());
    }
    link.run(&script::RENEW, arguments).map(drop)
}

/// Ends the proof of life when it is dropped, so that others may take over at once.
pub(super) struct Attendance {
    incarnation: Incarnation,
    leases: Arc<Leases>,
    link: Arc<Link>,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let _sending = self.leases.sending.lock();
        let mut consumers = self.leases.consumers.lock();
        if let Some(attended) = consumers.get_mut(&self.incarnation) {
            attended.count -= 1;
            if attended.count > 0 {
                return;
            }
            consumers.remove(&self.incarnation);
        }
        drop(consumers);
        let arguments = Arguments::default().shown(self.incarnation);
        if let Err(fault) = self.link.run(&script::DEPART, arguments) {
            tracing::warn!(
                ?fault,
                "a departure was not announced; the lease runs out by itself"
            );
        }
    }
}
