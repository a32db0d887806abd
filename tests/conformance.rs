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

mod file {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use tempfile::TempDir;
    use votive::conformance::Harness;
    use votive::store::Store;
    use votive::store::file::{FileStore, Options};
    use votive::time::ManualClock;

    struct File(TempDir);

    impl File {
        fn folder(&self) -> PathBuf {
            self.0.path().join("queue")
        }

        fn store(&self, clock: &ManualClock) -> Arc<dyn Store> {
            let options = Options::default().clock(clock.clone());
            Arc::new(FileStore::open(self.folder(), options).unwrap())
        }

        /// The files of the folder, and what is in them.
        fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
            let paths = fs::read_dir(self.folder()).unwrap();
            let paths = paths.map(|entry| entry.unwrap().path());
            let files = paths.filter(|path| path.is_file());
            files
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect()
        }
    }

    impl Harness for File {
        fn open(&self, clock: &ManualClock) -> Arc<dyn Store> {
            self.store(clock)
        }

        /// What a crash leaves is in the files of the open store. Written back over the closed ones,
        /// without the locks, which die with the process.
        fn reopen_after_crash(
            &self,
            store: Arc<dyn Store>,
            clock: &ManualClock,
        ) -> Option<Arc<dyn Store>> {
            let left = self.files();
            drop(store);
            for path in self.files().keys() {
                fs::remove_file(path).unwrap();
            }
            for (path, content) in left {
                fs::write(path, content).unwrap();
            }
            fs::remove_dir_all(self.folder().join("alive")).unwrap();
            Some(self.store(clock))
        }
    }

    votive::conformance!(File(tempfile::tempdir().unwrap()));
}

mod sqlite {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use tempfile::TempDir;
    use votive::conformance::Harness;
    use votive::store::Store;
    use votive::store::sqlite::{Options, SqliteStore};
    use votive::time::ManualClock;

    struct Sqlite(TempDir);

    impl Sqlite {
        fn file(&self, suffix: &str) -> PathBuf {
            self.0.path().join(format!("queue.db{suffix}"))
        }

        fn store(&self, clock: &ManualClock) -> Arc<dyn Store> {
            let options = Options::default().clock(clock.clone());
            Arc::new(SqliteStore::open(self.file(""), options).unwrap())
        }
    }

    impl Harness for Sqlite {
        fn open(&self, clock: &ManualClock) -> Arc<dyn Store> {
            self.store(clock)
        }

        /// What a crash leaves is in the files of the open store. Written back over the closed ones,
        /// so that the database is still the same file, and without the locks, which die with it.
        fn reopen_after_crash(
            &self,
            store: Arc<dyn Store>,
            clock: &ManualClock,
        ) -> Option<Arc<dyn Store>> {
            let names = ["", "-wal"].map(|suffix| self.file(suffix));
            let left = names.clone().map(|name| fs::read(name).unwrap());
            drop(store);
            for (name, content) in names.iter().zip(left) {
                fs::write(name, content).unwrap();
            }
            fs::remove_dir_all(self.file("-votive")).unwrap();
            Some(self.store(clock))
        }
    }

    votive::conformance!(Sqlite(tempfile::tempdir().unwrap()));
}

/// Stores on a server that speaks the protocol of Redis.
mod redis_server {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, LazyLock};

    use votive::conformance::Harness;
    use votive::store::Store;
    use votive::store::redis::{Options, RedisStore};
    use votive::time::ManualClock;
    use votive_testbed::Redis;

    static CASES: AtomicU32 = AtomicU32::new(0);

    /// A store of its own on a server that all cases share.
    pub(crate) struct Case {
        name: String,
        server: &'static LazyLock<Option<Redis>>,
    }

    impl Case {
        pub(crate) fn new(server: &'static LazyLock<Option<Redis>>) -> Self {
            let name = format!("case-{}", CASES.fetch_add(1, Ordering::Relaxed));
            Self { name, server }
        }
    }

    impl Harness for Case {
        fn is_available(&self) -> bool {
            self.server.is_some()
        }

        fn open(&self, clock: &ManualClock) -> Arc<dyn Store> {
            let server = self.server.as_ref().unwrap().address();
            let options = Options::tcp(server.ip().to_string(), server.port());
            let patient = options.response_timeout(std::time::Duration::from_secs(120));
            let options = patient.name(&self.name).clock(clock.clone());
            Arc::new(RedisStore::open(options).unwrap())
        }

        /// What a crash of this process leaves is at the server. The server's own death is another
        /// test's.
        fn reopen_after_crash(
            &self,
            store: Arc<dyn Store>,
            clock: &ManualClock,
        ) -> Option<Arc<dyn Store>> {
            drop(store);
            Some(self.open(clock))
        }
    }
}

mod redis {
    use std::sync::LazyLock;

    use votive_testbed::{Redis, or_skip, redis};

    use crate::redis_server::Case;

    static SERVER: LazyLock<Option<Redis>> =
        LazyLock::new(|| or_skip(Redis::start(redis::Options::default())));

    votive::conformance!(Case::new(&SERVER));
}

mod valkey {
    use std::sync::LazyLock;

    use votive_testbed::{Redis, or_skip, redis};

    use crate::redis_server::Case;

    static SERVER: LazyLock<Option<Redis>> =
        LazyLock::new(|| or_skip(Redis::start(redis::Options::valkey())));

    votive::conformance!(Case::new(&SERVER));
}

mod postgres {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, LazyLock, Mutex};

    use votive::conformance::Harness;
    use votive::store::Store;
    use votive::store::postgres::{Options, PostgresStore};
    use votive::time::ManualClock;
    use votive_testbed::{Postgres, Proxy, or_skip, postgres};

    static SERVER: LazyLock<Option<Postgres>> =
        LazyLock::new(|| or_skip(Postgres::start(postgres::Options::default())));
    static CASES: AtomicU32 = AtomicU32::new(0);

    /// A schema of its own on the server that all cases share.
    struct Case {
        schema: String,
        /// Leads to the server until the process is to have crashed.
        proxy: Mutex<Option<Proxy>>,
    }

    impl Case {
        fn new() -> Self {
            Self {
                schema: format!("case_{}", CASES.fetch_add(1, Ordering::Relaxed)),
                proxy: Mutex::default(),
            }
        }
    }

    impl Harness for Case {
        fn is_available(&self) -> bool {
            SERVER.is_some()
        }

        fn open(&self, clock: &ManualClock) -> Arc<dyn Store> {
            let server = SERVER.as_ref().unwrap();
            let proxy = Proxy::start(server.address()).unwrap();
            let url = server.url_at(proxy.address(), "postgres");
            *self.proxy.lock().unwrap() = Some(proxy);
            let options = Options::default().schema(&self.schema);
            Arc::new(PostgresStore::open(&url, options.clock(clock.clone())).unwrap())
        }

        /// The server hears nothing more of the process. Its own death is another test's.
        fn reopen_after_crash(
            &self,
            store: Arc<dyn Store>,
            clock: &ManualClock,
        ) -> Option<Arc<dyn Store>> {
            *self.proxy.lock().unwrap() = None;
            drop(store);
            Some(self.open(clock))
        }
    }

    votive::conformance!(Case::new());
}
