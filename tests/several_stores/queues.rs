//! Two queues in different stores: both get their task, or neither.
#![cfg(test)]

use std::sync::Arc;

use votive::id::TxnId;
use votive::register::Tier;
use votive::store::Store;
use votive::txn::TransactionManager;

use crate::fixture::{Backend, Ground, batch, greet, orphan, queue, recover_now, refuse, visible};

struct Pair {
    first: Arc<dyn Store>,
    second: Arc<dyn Store>,
    manager: TransactionManager,
    _ground: Ground,
}

impl Pair {
    /// Opens two stores, or none if the server of one is not installed.
    fn open(first: Backend, second: Backend) -> Option<Self> {
        let ground = Ground::new();
        Some(Self {
            first: ground.store(first, "first")?,
            second: ground.store(second, "second")?,
            manager: TransactionManager::new(),
            _ground: ground,
        })
    }

    fn enqueue(&self, work: &mut votive::txn::Work, name: &str) {
        for store in [&self.first, &self.second] {
            queue(store).enqueue(work, &greet(name)).unwrap();
        }
    }

    fn visible(&self) -> [Vec<String>; 2] {
        [visible(&*self.first), visible(&*self.second)]
    }

    /// The batch of a process that died: the second store holds it, the first was to decide.
    fn stage(&self) -> TxnId {
        let txn = orphan(&*self.first);
        let (batch, now) = (batch(&*self.second, "ann"), self.second.now().unwrap());
        self.second
            .stage(txn, self.first.id(), &batch, now)
            .unwrap();
        txn
    }

    fn apply(&self, txn: TxnId) -> votive::store::Result<votive::store::Applied> {
        let (batch, now) = (batch(&*self.first, "ann"), self.first.now().unwrap());
        self.first.apply(txn, &batch, &[self.second.id()], now)
    }
}

fn a_commit_reaches_both(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.enqueue(&mut txn, "ann");
    assert_eq!(pair.visible(), [[""; 0]; 2]);
    let plan = txn.plan().unwrap();
    let committed = txn.commit().unwrap();
    assert_eq!(pair.visible(), [["ann"]; 2]);
    assert_eq!(
        (committed.tier, plan.tier),
        (Tier::Prepared, Tier::Prepared)
    );
    assert!(committed.pending.is_empty());
}

fn one_decides_and_the_other_promises(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.enqueue(&mut txn, "ann");
    let plan = txn.plan().unwrap();
    let mut all = plan.prepared.clone();
    all.extend(plan.commit_point);
    all.sort_unstable();
    let mut both = [pair.first.id(), pair.second.id()];
    both.sort_unstable();
    assert_eq!(all, both);
    txn.abort().unwrap();
}

fn an_abort_reaches_neither(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.enqueue(&mut txn, "ann");
    txn.abort().unwrap();
    assert_eq!(pair.visible(), [[""; 0]; 2]);
}

fn what_either_refuses_neither_has(pair: &Pair) {
    for refusing in [&pair.first, &pair.second] {
        let mut txn = pair.manager.begin().unwrap();
        pair.enqueue(&mut txn, "ann");
        refuse(refusing, &mut txn);
        assert!(txn.commit().is_err());
        assert_eq!(pair.visible(), [[""; 0]; 2]);
    }
    for store in [&pair.first, &pair.second] {
        assert!(store.in_doubt(None, 10).unwrap().is_empty());
    }
}

fn a_savepoint_takes_back_from_both(pair: &Pair) {
    let mut txn = pair.manager.begin().unwrap();
    pair.enqueue(&mut txn, "kept");
    let mut savepoint = txn.savepoint().unwrap();
    pair.enqueue(&mut savepoint, "undone");
    savepoint.rollback().unwrap();
    drop(savepoint);
    txn.commit().unwrap();
    assert_eq!(pair.visible(), [["kept"]; 2]);
}

fn what_one_decided_recovery_publishes_in_the_other(pair: &Pair) {
    let txn = pair.stage();
    pair.apply(txn).unwrap();
    assert_eq!(pair.visible(), [vec!["ann".to_owned()], vec![]]);
    pair.manager
        .registers()
        .insert(Arc::clone(&pair.first) as _);
    assert_eq!(recover_now(&pair.second, &pair.manager).published, 1);
    assert_eq!(pair.visible(), [["ann"]; 2]);
}

fn what_recovery_discarded_can_not_be_decided_any_more(pair: &Pair) {
    let txn = pair.stage();
    pair.manager
        .registers()
        .insert(Arc::clone(&pair.first) as _);
    assert_eq!(recover_now(&pair.second, &pair.manager).discarded, 1);
    assert!(pair.apply(txn).is_err());
    assert_eq!(pair.visible(), [[""; 0]; 2]);
}

fn who_does_not_know_the_other_leaves_it_in_doubt(pair: &Pair) {
    let txn = pair.stage();
    assert_eq!(recover_now(&pair.second, &pair.manager).in_doubt, 1);
    pair.apply(txn).unwrap();
    assert_eq!(recover_now(&pair.second, &pair.manager).in_doubt, 1);
    pair.manager
        .registers()
        .insert(Arc::clone(&pair.first) as _);
    assert_eq!(recover_now(&pair.second, &pair.manager).published, 1);
    assert_eq!(pair.visible(), [["ann"]; 2]);
}

/// Makes a test of every story for each pair of stores.
macro_rules! pairs {
    ($($pair:ident: $first:expr, $second:expr;)*) => {
        $(mod $pair {
            use super::{Backend, Pair};

            pairs! { @ $first, $second,
                a_commit_reaches_both
                one_decides_and_the_other_promises
                an_abort_reaches_neither
                what_either_refuses_neither_has
                a_savepoint_takes_back_from_both
                what_one_decided_recovery_publishes_in_the_other
                what_recovery_discarded_can_not_be_decided_any_more
                who_does_not_know_the_other_leaves_it_in_doubt
            }
        })*
    };
    (@ $first:expr, $second:expr, $($story:ident)*) => {
        $(
            #[test]
            fn $story() {
                if let Some(pair) = Pair::open($first, $second) {
                    super::$story(&pair);
                }
            }
        )*
    };
}

pairs! {
    sqlite_and_sqlite: Backend::Sqlite, Backend::Sqlite;
    sqlite_and_redis: Backend::Sqlite, Backend::Redis;
    redis_and_sqlite: Backend::Redis, Backend::Sqlite;
    redis_and_redis: Backend::Redis, Backend::Redis;
    file_and_sqlite: Backend::File, Backend::Sqlite;
    redis_and_file: Backend::Redis, Backend::File;
    postgres_and_sqlite: Backend::Postgres, Backend::Sqlite;
    redis_and_postgres: Backend::Redis, Backend::Postgres;
    file_and_postgres: Backend::File, Backend::Postgres;
}
