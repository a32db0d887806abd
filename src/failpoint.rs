//! Named points at which a test has the process die. Without the feature `failpoints` nothing is left
//! of them.

/// Where an application that commits by itself is hit; tests call these points.
#[cfg(feature = "failpoints")]
pub const APPLICATION: &[&str] = &["application.before_commit", "application.after_commit"];

/// Where an application's SQLite database is hit.
#[cfg(feature = "failpoints")]
pub const RUSQLITE: &[&str] = &[
    "rusqlite.commit.before_commit",
    "rusqlite.commit.after_commit",
    "rusqlite.decide.before_commit",
    "rusqlite.decide.after_commit",
    "rusqlite.forget.before_commit",
    "rusqlite.forget.after_commit",
];

/// Where an application's Postgres database is hit.
#[cfg(feature = "failpoints")]
pub const POSTGRES_RESOURCE: &[&str] = &[
    "postgres_resource.commit.before_commit",
    "postgres_resource.commit.after_commit",
    "postgres_resource.decide.before_commit",
    "postgres_resource.decide.after_commit",
    "postgres_resource.finish.before_commit",
    "postgres_resource.finish.after_commit",
    "postgres_resource.forget.before_commit",
    "postgres_resource.forget.after_commit",
    "postgres_resource.prepare.before_commit",
    "postgres_resource.prepare.after_commit",
];

/// Where a SQLite store is hit.
#[cfg(feature = "failpoints")]
pub const SQLITE: &[&str] = &[
    "sqlite.apply.before_commit",
    "sqlite.apply.after_commit",
    "sqlite.claim.before_commit",
    "sqlite.claim.after_commit",
    "sqlite.decide.before_commit",
    "sqlite.decide.after_commit",
    "sqlite.discard.before_commit",
    "sqlite.discard.after_commit",
    "sqlite.forget.before_commit",
    "sqlite.forget.after_commit",
    "sqlite.forgettable.before_commit",
    "sqlite.forgettable.after_commit",
    "sqlite.publish.before_commit",
    "sqlite.publish.after_commit",
    "sqlite.stage.before_commit",
    "sqlite.stage.after_commit",
];

/// Where a file store is hit.
#[cfg(feature = "failpoints")]
pub const FILE: &[&str] = &[
    "file.apply.before_commit",
    "file.apply.after_commit",
    "file.claim.before_commit",
    "file.claim.after_commit",
    "file.decide.before_commit",
    "file.decide.after_commit",
    "file.discard.before_commit",
    "file.discard.after_commit",
    "file.forget.before_commit",
    "file.forget.after_commit",
    "file.forgettable.before_commit",
    "file.forgettable.after_commit",
    "file.publish.before_commit",
    "file.publish.after_commit",
    "file.stage.before_commit",
    "file.stage.after_commit",
];

/// Where a file store is hit while it gives back space.
#[cfg(feature = "failpoints")]
pub const FILE_COMPACT: &[&str] = &[
    "file.compact.before_write",
    "file.compact.after_write",
    "file.compact.before_rename",
    "file.compact.after_rename",
    "file.compact.after_sync",
    "file.compact.before_flush",
    "file.compact.before_remove",
    "file.compact.after_remove",
];

/// Where a Redis store is hit: before a script is sent, and after its answer came.
#[cfg(feature = "failpoints")]
pub const REDIS: &[&str] = &[
    "redis.apply.before_commit",
    "redis.apply.after_commit",
    "redis.claim.before_commit",
    "redis.claim.after_commit",
    "redis.decide.before_commit",
    "redis.decide.after_commit",
    "redis.discard.before_commit",
    "redis.discard.after_commit",
    "redis.forget.before_commit",
    "redis.forget.after_commit",
    "redis.forgettable.before_commit",
    "redis.forgettable.after_commit",
    "redis.publish.before_commit",
    "redis.publish.after_commit",
    "redis.stage.before_commit",
    "redis.stage.after_commit",
];

/// Where a Postgres store is hit.
#[cfg(feature = "failpoints")]
pub const POSTGRES: &[&str] = &[
    "postgres.apply.before_commit",
    "postgres.apply.after_commit",
    "postgres.claim.before_commit",
    "postgres.claim.after_commit",
    "postgres.decide.before_commit",
    "postgres.decide.after_commit",
    "postgres.discard.before_commit",
    "postgres.discard.after_commit",
    "postgres.forget.before_commit",
    "postgres.forget.after_commit",
    "postgres.forgettable.before_commit",
    "postgres.forgettable.after_commit",
    "postgres.publish.before_commit",
    "postgres.publish.after_commit",
    "postgres.stage.before_commit",
    "postgres.stage.after_commit",
];

/// Every point, a list for each module that has some. A durable step has a point before it and one
/// after it.
#[cfg(feature = "failpoints")]
pub const ALL: &[&[&str]] = &[
    APPLICATION,
    RUSQLITE,
    POSTGRES_RESOURCE,
    SQLITE,
    FILE,
    FILE_COMPACT,
    REDIS,
    POSTGRES,
];

/// Aborts the process at its n-th call for `name` when the environment has `VOTIVE_FAILPOINT=name:n`;
/// n defaults to 1. A step that is of no use to die at has an empty name.
///
/// # Panics
/// If a point is armed and `name` is missing from [`ALL`].
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
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
    let is_listed = ALL.iter().any(|list| list.contains(&name));
    assert!(
        is_listed || name.is_empty(),
        "`{name}` is missing from the lists"
    );
    if armed == name && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *count {
        std::process::abort();
    }
}

/// Does nothing: the feature `failpoints` is off.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn hit(_name: &str) {}
