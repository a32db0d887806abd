//! A process that forks: connections do not survive that.
#![cfg(test)]

use votive::store::{Dispatch, Error, Inspect, Kind};

use crate::fixture::{Process, SERVER, claim, insert, open, record, request};

#[test]
fn a_fork_is_told_to_open_the_store_again() {
    let Some(server) = &*SERVER else { return };
    let store = open(server);
    let mut process = Process::new(&store);
    let (consumer, _presence) = process.consumer("web-1");
    // With it goes a look for what has passed its retention, so that the next is a statement alone.
    process.enqueue(2);
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let is_forked = |error: Error| error.kind == Kind::Forked;
            let applied = process.apply(vec![insert(record(&store))]);
            let claimed = store.claim(&request(&consumer, 1), store.now().unwrap());
            let looked = store.stats();
            let refused = applied.is_err_and(is_forked)
                && claimed.is_err_and(is_forked)
                && looked.is_err_and(is_forked);
            std::process::exit(if refused { 7 } else { 1 });
        }
        fork::Fork::Parent(child) => {
            let status = fork::waitpid(child).unwrap();
            assert_eq!(fork::WEXITSTATUS(status), 7);
        }
    }
    assert_eq!(claim(&store, &consumer, 3).len(), 2);
    process.enqueue(1);
}
