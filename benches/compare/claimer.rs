//! Claims and settlements without a consumer.

use std::sync::Arc;
use std::time::Duration;

use votive::id::{ConsumerId, Incarnation};
use votive::store::{Change, Claim, ClaimRequest, Presence, Settlement, Store, Verdict, Want};
use votive::task::Options;
use votive::txn::TransactionManager;

use crate::setting::{Result, preload_with};

const LEASE: Duration = Duration::from_secs(60);

/// Who claims from a store and settles.
pub(crate) struct Claimer {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who numbers its transactions.
    pub manager: TransactionManager,
    consumer: ConsumerId,
    _presence: Presence,
}

impl Claimer {
    /// Fills the store with `backlog` tasks.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        backlog: u64,
        options: impl Fn(u64) -> Options,
    ) -> Result<Self> {
        let manager = TransactionManager::new();
        preload_with(&store, &manager, backlog, options)?;
        let incarnation = Incarnation::random();
        let presence = store.attend(incarnation, LEASE)?;
        let name = "bench".to_owned();
        Ok(Self {
            store,
            manager,
            consumer: ConsumerId { incarnation, name },
            _presence: presence,
        })
    }

    /// Claims and settles `count` tasks, `size` at a time.
    pub(crate) fn run(&self, count: u64, size: u64) -> Result<()> {
        let want = Want {
            queue: "default".to_owned(),
            count: usize::try_from(size)?,
        };
        let request = ClaimRequest {
            consumer: self.consumer.clone(),
            wants: vec![want],
            lease: LEASE,
        };
        for _ in 0..count / size {
            let claims = self.store.claim(&request, self.store.now()?)?;
            if claims.is_empty() {
                return Err("the tasks ran out".into());
            }
            let batch = claims.iter().map(settled).collect();
            votive::queue::apply(&self.store, &self.manager, &batch)?;
        }
        Ok(())
    }
}

fn settled(claim: &Claim) -> Change {
    Change::Settle(Settlement {
        task: claim.record.id,
        token: claim.token,
        verdict: Verdict::Done,
        counts: claim.record.counts,
        account: None,
    })
}
