//! Wakes those who wait in this process.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Wakes those who wait in this process.
#[derive(Default)]
pub(crate) struct Bell {
    rings: Mutex<Rings>,
    rung: Condvar,
}

/// How often it was rung.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rings {
    count: u64,
    pub(super) interrupts: u64,
}

impl Bell {
    /// Has everybody look.
    pub(crate) fn ring(&self) {
        self.rings.lock().count += 1;
        self.rung.notify_all();
    }

    /// Has everybody go home.
    pub(crate) fn interrupt(&self) {
        self.rings.lock().interrupts += 1;
        self.rung.notify_all();
    }

    pub(super) fn rings(&self) -> Rings {
        *self.rings.lock()
    }

    pub(super) fn wait_for_more(&self, than: Rings, timeout: Duration) {
        let mut rings = self.rings.lock();
        self.rung
            .wait_while_for(&mut rings, |rings| *rings == than, timeout);
    }
}
