//! Opening: several at once, what is somebody else's or newer, who may call, and who may listen.
#![cfg(test)]

use std::process::Command;

use votive::store::postgres::{Options, PostgresStore, TlsMode};
use votive::store::{Inspect, Kind};
use votive_testbed::{Postgres, or_skip, postgres};

use crate::fixture::{self, SERVER, chain, options, schema};

#[test]
fn of_many_who_open_at_once_one_makes_the_tables() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    let open = || {
        PostgresStore::open(&server.url(), options(&schema))
            .unwrap()
            .id()
    };
    let ids: Vec<_> = std::thread::scope(|threads| {
        let threads: Vec<_> = (0..8).map(|_| threads.spawn(open)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    drop(PostgresStore::open(&server.url(), options(&schema)).unwrap());
    let mut client = server.client().unwrap();
    let newer = format!("UPDATE {schema}.schema_version SET version = 99");
    client.batch_execute(&newer).unwrap();
    let refused = PostgresStore::open(&server.url(), options(&schema)).unwrap_err();
    let (found, known) = (99, 1);
    assert_eq!(refused.kind, Kind::NewerVersion { found, known });
}

#[test]
fn a_schema_with_other_tables_is_refused_and_left_alone() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    let mut client = server.client().unwrap();
    let theirs = format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.invoice (id int)");
    client.batch_execute(&theirs).unwrap();
    let refused = PostgresStore::open(&server.url(), options(&schema)).unwrap_err();
    assert!(matches!(refused.kind, Kind::Foreign(_)), "{refused}");
    let count = "SELECT count(*) FROM pg_tables WHERE schemaname = $1";
    let count: i64 = client.query_one(count, &[&schema]).unwrap().get(0);
    assert_eq!(count, 1);
}

#[test]
fn a_store_that_must_be_there_is_not_made() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    let refused = PostgresStore::open(&server.url(), options(&schema).create(false)).unwrap_err();
    assert!(refused.to_string().contains(&schema), "{refused}");
}

#[test]
fn schemas_of_one_database_know_nothing_of_each_other() {
    let Some(server) = &*SERVER else { return };
    let (one, other) = (fixture::open(server), fixture::open(server));
    fixture::Process::new(&one).enqueue(3);
    assert_ne!(one.id(), other.id());
    assert!(other.stats().unwrap().queues.is_empty());
}

#[test]
fn a_copied_schema_does_not_answer_for_its_original() {
    let Some(server) = &*SERVER else { return };
    let schema = schema();
    drop(PostgresStore::open(&server.url(), options(&schema)).unwrap());
    let mut client = server.client().unwrap();
    let moved =
        format!("UPDATE {schema}.resource SET fingerprint = 'system 1 database 2 schema 3'");
    client.batch_execute(&moved).unwrap();
    let copy = PostgresStore::open(&server.url(), options(&schema)).unwrap();
    let refused = votive::register::Register::incarnations(&copy).unwrap_err();
    assert!(chain(&refused).contains("a copy"), "{}", chain(&refused));
}

#[test]
fn a_server_that_does_not_wait_for_its_disk_is_worth_no_more_than_memory() {
    let lax = postgres::Options::default().setting("fsync", "off");
    let Some(server) = or_skip(Postgres::start(lax)) else {
        return;
    };
    let store = fixture::open(&server);
    let capabilities = store.capabilities();
    assert_eq!(capabilities.tier_max, votive::register::Tier::Volatile);
    assert!(capabilities.caveats[0].contains("fsync=off"));
}

#[test]
fn the_password_is_in_no_error_and_in_no_description() {
    let Some(server) = &*SERVER else { return };
    let secret = "geheim7";
    let reachable = format!("postgres://postgres:{secret}@{}/postgres", server.address());
    let store = PostgresStore::open(&reachable, options(&schema())).unwrap();
    let mut said = format!("{store:?}");
    for address in ["127.0.0.1:1/db", "127.0.0.1:x/db", "/db?nothing=known"] {
        let address = format!("postgres://postgres:{secret}@{address}");
        let error = PostgresStore::open(&address, Options::default()).unwrap_err();
        said.extend([chain(&error), format!("{error:?}")]);
    }
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn a_runtime_of_one_thread_is_refused() {
    let Some(server) = &*SERVER else { return };
    let store = fixture::open(server);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let refused = runtime.block_on(async { store.stats() }).unwrap_err();
    assert!(refused.to_string().contains("runtime"), "{refused}");
    assert!(store.stats().is_ok());
}

#[test]
fn a_runtime_of_many_threads_may_call_from_anywhere() {
    let Some(server) = &*SERVER else { return };
    let store = std::sync::Arc::new(fixture::open(server));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let same = std::sync::Arc::clone(&store);
    let on_worker = runtime.spawn(async move { same.stats().is_ok() });
    let same = std::sync::Arc::clone(&store);
    let off_worker = runtime.spawn_blocking(move || same.stats().is_ok());
    let all = runtime.block_on(async {
        (
            store.stats().is_ok(),
            on_worker.await.unwrap(),
            off_worker.await.unwrap(),
        )
    });
    assert_eq!(all, (true, true, true));
}

/// A server that encrypts, by a certificate for `localhost` that nobody else vouches for.
fn encrypting(folder: &std::path::Path) -> Option<Postgres> {
    let [key, certificate] = ["key.pem", "cert.pem"].map(|name| folder.join(name));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        votive_testbed::skip("`openssl` is not installed");
        return None;
    }
    let owner = format!(
        "chmod 755 {0}; chmod 600 {0}/key.pem; chown postgres {0}/key.pem || true",
        folder.display()
    );
    Command::new("sh").args(["-c", &owner]).output().unwrap();
    let settings = postgres::Options::default()
        .setting("ssl", "on")
        .setting("ssl_key_file", &key.display().to_string())
        .setting("ssl_cert_file", &certificate.display().to_string());
    or_skip(Postgres::start(settings))
}

#[test]
fn a_connection_is_encrypted_and_the_server_checked_as_far_as_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = encrypting(folder.path()) else {
        return;
    };
    let url = |host: &str| {
        format!(
            "postgres://postgres@{host}:{}/postgres",
            server.address().port()
        )
    };
    let open =
        |host: &str, options: Options| PostgresStore::open(&url(host), options.schema(schema()));
    let verify = || Options::default().tls(TlsMode::VerifyFull);
    let root = folder.path().join("cert.pem");
    assert!(open("localhost", verify().tls_root(&root)).is_ok());
    assert!(
        open("127.0.0.1", verify().tls_root(&root)).is_err(),
        "another name"
    );
    assert!(
        open("localhost", verify()).is_err(),
        "nobody vouches for it"
    );
    let store = open("127.0.0.1", Options::default().tls(TlsMode::Require)).unwrap();
    let count = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                 WHERE ssl AND application_name = 'votive'";
    let count: i64 = server
        .client()
        .unwrap()
        .query_one(count, &[])
        .unwrap()
        .get(0);
    assert!(count > 0);
    drop(store);
}

#[test]
fn a_server_without_encryption_is_refused_if_it_was_required() {
    let Some(server) = &*SERVER else { return };
    let required = options(&schema()).tls(TlsMode::Require);
    assert!(PostgresStore::open(&server.url(), required).is_err());
}
