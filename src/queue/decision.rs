//! What recovery does with a staged batch. Pure: facts in, one action out; the model check calls these
//! very functions.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::ResourceId;
use crate::register::{Answer, Decision};
use crate::store::InDoubt;
use crate::time::Timestamp;

/// What is to be done with a staged batch, or with what a database has prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Its transaction committed: make it visible; in a database, commit it.
    Publish,
    /// Its transaction did not and never will: forget it; in a database, roll it back.
    Discard,
    /// Nobody knows yet: leave it as it is and ask again later. Never give up, never discard by age.
    Wait,
}

/// Draws the conclusion of a holder of a staged batch, or of a database that prepared, from the
/// register's answer.
///
/// `unfinished` says that a database that prepared has not been seen to commit yet: the decision comes
/// before those commits, and a task that became visible between would not find what it is about.
#[must_use]
pub fn action(answer: Answer, unfinished: bool) -> Action {
    match answer.as_holder() {
        Some(Decision::Committed) if unfinished => Action::Wait,
        Some(Decision::Committed) => Action::Publish,
        Some(Decision::Aborted) => Action::Discard,
        None => Action::Wait,
    }
}

/// Whether any of the databases among `stores`, which an outcome record lists as having prepared, is not
/// among those that have `finished`. Stores need not have: their tasks do not wait for each other.
#[must_use]
pub fn unfinished(stores: &[ResourceId], finished: &BTreeSet<ResourceId>) -> bool {
    let mut databases = stores.iter().filter(|id| id.is_preparing_database());
    databases.any(|database| !finished.contains(database))
}

/// Whether a staged batch is old enough to be asked about. A matter of speed, not of safety: asking
/// early aborts a transaction that was about to commit.
#[must_use]
pub fn is_due(in_doubt: &InDoubt, now: Timestamp, grace: Duration) -> bool {
    now.since(in_doubt.staged_at) >= grace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::Standing;

    fn answer(decision: Option<Decision>, standing: Standing) -> Answer {
        Answer { decision, standing }
    }

    #[test]
    fn a_record_is_followed_whatever_has_become_of_its_incarnation() {
        for standing in [Standing::Open, Standing::Closed, Standing::Gone] {
            let committed = answer(Some(Decision::Committed), standing);
            assert_eq!(action(committed, false), Action::Publish);
            let aborted = answer(Some(Decision::Aborted), standing);
            assert_eq!(action(aborted, false), Action::Discard);
        }
    }

    #[test]
    fn without_a_record_only_a_gone_incarnation_settles_the_matter() {
        assert_eq!(action(answer(None, Standing::Gone), false), Action::Discard);
        assert_eq!(action(answer(None, Standing::Open), false), Action::Wait);
        assert_eq!(action(answer(None, Standing::Closed), false), Action::Wait);
    }

    #[test]
    fn only_databases_must_have_committed_and_each_of_them() {
        let databases = [1, 2].map(|number| ResourceId::of_preparing_database([number; 12]));
        let listed = [ResourceId::random(), databases[0], databases[1]];
        let unfinished =
            |finished: &[ResourceId]| unfinished(&listed, &finished.iter().copied().collect());
        assert!(unfinished(&[]) && unfinished(&databases[..1]) && unfinished(&databases[1..]));
        assert!(!unfinished(&databases));
    }

    #[test]
    fn nothing_is_published_before_every_prepared_database_has_committed() {
        let committed = answer(Some(Decision::Committed), Standing::Open);
        assert_eq!(action(committed, true), Action::Wait);
    }
}
