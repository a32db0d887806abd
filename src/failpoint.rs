//! Named points at which a test has the process die. Without the feature `failpoints` nothing is left
//! of them.

/// Aborts the process at its n-th call for `name` when the environment has `VOTIVE_FAILPOINT=name:n`;
/// n defaults to 1.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let armed = std::env::var("VOTIVE_FAILPOINT").ok()?;
        let (name, count) = armed.rsplit_once(':').unwrap_or((&armed, "1"));
        Some((name.to_owned(), count.parse().unwrap_or(1)))
    });
    static HITS: AtomicU64 = AtomicU64::new(0);

    let Some((armed, count)) = &*ARMED else {
        return;
    };
    if armed == name && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *count {
        std::process::abort();
    }
}

/// Does nothing: the feature `failpoints` is off.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn hit(_name: &str) {}
