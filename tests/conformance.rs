//! Every store passes the suite of the contract.
#![cfg(test)]

mod memory {
    use std::sync::Arc;

    use votive::conformance::Harness;
    use votive::store::Store;
    use votive::store::memory::MemoryStore;
    use votive::time::ManualClock;

    struct Memory;

    impl Harness for Memory {
        fn open(&self, clock: &ManualClock) -> Arc<dyn Store> {
            Arc::new(MemoryStore::with_clock(Arc::new(clock.clone())))
        }
    }

    votive::conformance!(Memory);
}
