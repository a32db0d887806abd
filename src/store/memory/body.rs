//! What the store keeps of a task beside the ledger's entry: the rest of its record.

use std::sync::Arc;

use crate::store::Listed;
use crate::store::ledger::{Alike, Cold, Entry, Keeper};
use crate::task::{Account, Options, Record};

/// Keeps bodies by having them.
#[derive(Default)]
pub(super) struct Whole {
    alike: Alike,
}

impl Keeper<Cold> for Whole {
    fn keep(&mut self, record: &Record) -> Cold {
        Cold {
            kind: record.kind.clone(),
            payload: record.payload.clone(),
            account: record.account.clone(),
            progress: record.progress.clone(),
        }
    }

    fn options(&mut self, record: &Record) -> Arc<Options> {
        self.alike.share(&record.options)
    }

    fn account(&mut self, body: &mut Cold, account: &Account) {
        body.account = Some(Box::new(account.clone()));
    }

    fn progress(&mut self, body: &mut Cold, progress: Option<&str>) {
        body.progress = progress.map(str::to_owned);
    }
}

pub(super) fn record(entry: &Entry<Cold>) -> Record {
    entry.record(entry.body.clone())
}

pub(super) fn listed(entry: &Entry<Cold>) -> Listed {
    let claim = entry.claim.as_ref();
    Listed {
        record: record(entry),
        holder: claim.map(|claim| (*claim.consumer).clone()),
        claimed_at: claim.map(|claim| claim.claimed_at),
    }
}
