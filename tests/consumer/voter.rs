//! A participant that votes as it is told.
#![cfg(test)]

use std::sync::Arc;

use parking_lot::Mutex;
use votive::id::ResourceId;
use votive::txn::{
    Answer, BoxError, DataManager, JoinError, PrepareInfo, Prepared, Role, Vote, Work,
};

/// What a participant votes in its transactions, the last vote first, and how often it finished.
#[derive(Clone, Default)]
pub(crate) struct Votes {
    coming: Arc<Mutex<Vec<Answer>>>,
    pub(crate) finished: Arc<Mutex<u32>>,
    is_stuck: bool,
}

impl Votes {
    pub(crate) fn new(votes: Vec<Answer>) -> Self {
        Self {
            coming: Arc::new(Mutex::new(votes)),
            ..Self::default()
        }
    }

    /// Those of a participant that cannot be undone.
    pub(crate) fn stuck() -> Self {
        Self {
            is_stuck: true,
            ..Self::default()
        }
    }

    pub(crate) fn join(&self, work: &mut Work, role: Role) -> Result<(), JoinError> {
        let votes = self.clone();
        let key = role.resource().unwrap_or(ResourceId::from_bytes([0; 16]));
        work.join_with(key, |_| Ok(Voter { role, votes })).map(drop)
    }
}

struct Voter {
    role: Role,
    votes: Votes,
}

impl DataManager for Voter {
    fn role(&self) -> Role {
        self.role
    }

    fn sort_key(&self) -> Result<String, BoxError> {
        Ok("voter".to_owned())
    }

    fn prepare(&mut self, _: &mut PrepareInfo<'_>) -> Result<Prepared, BoxError> {
        Ok(Prepared::Work)
    }

    fn vote(&mut self, _: Vote<'_>) -> Answer {
        self.votes.coming.lock().pop().unwrap_or(Answer::Ok)
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        *self.votes.finished.lock() += 1;
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        if self.votes.is_stuck {
            return Err("cannot be undone".into());
        }
        Ok(())
    }
}
