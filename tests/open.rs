//! A store is opened by its URL, and a wrong one says what is wrong and what would be right.
#![cfg(test)]

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use votive::store::Store;
use votive::store::memory::MemoryStore;
use votive::{OpenError, Schemes};
use votive_testbed::{Postgres, Redis, or_skip, postgres, redis};

/// The whole chain of an error, as a program shows it.
fn refusal(url: &str) -> String {
    let error = votive::open(url).err().expect("a refusal");
    let mut source: Option<&dyn Error> = Some(&error);
    let chain = std::iter::from_fn(|| {
        let error = source?;
        source = error.source();
        Some(error.to_string())
    });
    chain.collect::<Vec<_>>().join(": ")
}

fn backend(store: &Arc<dyn Store>) -> &'static str {
    store.capabilities().backend
}

#[test]
fn every_memory_url_is_a_store_of_its_own() {
    let stores = ["memory://", "memory:"].map(|url| votive::open(url).unwrap());
    assert_eq!(stores.each_ref().map(backend), ["memory", "memory"]);
    assert_ne!(stores[0].id(), stores[1].id());
}

#[test]
fn a_memory_store_has_no_name() {
    let text = refusal("memory://jobs");
    assert!(
        text.ends_with("`memory://jobs` has a name: write `memory://`"),
        "{text}"
    );
}

#[test]
fn a_sqlite_url_opens_the_same_store_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/tasks.db", folder.path().display());
    let first = votive::open(&url).unwrap();
    let again = votive::open(&format!("{url}?busy_timeout=1s&create=false")).unwrap();
    assert_eq!((backend(&first), first.id()), ("sqlite", again.id()));
}

#[test]
fn a_file_url_opens_the_same_store_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/tasks", folder.path().display());
    let first = votive::open(&url).unwrap();
    let again = votive::open(&format!("{url}/?create=false&segment_size=1000000")).unwrap();
    assert_eq!((backend(&first), first.id()), ("file", again.id()));
}

#[test]
fn a_host_in_a_file_url_is_refused_with_the_right_forms() {
    let text = refusal("file://tmp/tasks");
    assert!(
        text.contains("`file:tmp/tasks` for a relative path"),
        "{text}"
    );
}

#[test]
fn a_folder_that_must_be_there_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = folder.path().join("tasks");
    let text = refusal(&format!("file://{}?create=false", tasks.display()));
    assert!(
        text.starts_with("the store could not be opened: "),
        "{text}"
    );
    assert!(!tasks.exists());
}

#[test]
fn a_file_that_must_be_there_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.db");
    let url = format!("sqlite://{}?create=false", file.display());
    assert!(refusal(&url).starts_with("the store could not be opened: "));
    assert!(!file.exists());
}

fn redis_server() -> Option<Redis> {
    or_skip(Redis::start(redis::Options::default().password("geheim")))
}

#[test]
fn every_form_of_a_redis_url_opens_the_same_store() {
    let Some(server) = redis_server() else { return };
    let (host, port) = (server.address().ip(), server.address().port());
    let socket = server.unix_socket().display().to_string();
    let urls = [
        server.url(),
        server.unix_url(),
        format!("redis://:geheim@{host}?port={port}&db=0"),
        format!("redis:?host={host}&port={port}&password=geheim&connect_timeout=2s"),
        format!("redis://?unix_socket_path={socket}&password=geheim&name=default"),
    ];
    let ids: BTreeSet<_> = urls
        .iter()
        .map(|url| votive::open(url).unwrap().id())
        .collect();
    assert_eq!(ids.len(), 1);
}

#[test]
fn another_name_or_database_is_another_redis_store() {
    let Some(server) = redis_server() else { return };
    let base = server.url();
    let other_database = base.replace("/0", "/1");
    let ids: BTreeSet<_> = [&base, &format!("{base}?name=other"), &other_database]
        .iter()
        .map(|url| votive::open(url).unwrap().id())
        .collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn what_a_redis_url_says_twice_is_refused() {
    for (url, name) in [
        ("redis://host/1?db=1", "`db`"),
        ("redis://host?host=other", "`host`"),
        ("redis://host:1?port=1", "`port`"),
        ("redis://:word@host?password=word", "`password`"),
        (
            "redis://host?unix_socket_path=/socket",
            "`unix_socket_path`",
        ),
        ("redis+unix:///socket?host=host", "`host`"),
        ("redis://host?name=a%20b", "`name`"),
        ("redis://host?durability=some", "`durability`"),
    ] {
        let text = refusal(url);
        assert!(text.contains(name) && text.contains("must be"), "{text}");
    }
}

#[test]
fn the_password_of_a_redis_url_is_in_no_error() {
    for url in [
        "redis://:geheim@127.0.0.1:1/0",
        "redis:?host=127.0.0.1&port=1&password=geheim",
        "redis://:geheim@host/x?db=0",
    ] {
        let text = refusal(url);
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[test]
fn a_host_in_a_sqlite_url_is_refused_with_the_right_forms() {
    let text = refusal("sqlite://tmp/x.sqlite");
    assert!(
        text.contains("`sqlite:tmp/x.sqlite` for a relative path"),
        "{text}"
    );
    assert!(
        text.contains("`sqlite:///tmp/x.sqlite` for an absolute one"),
        "{text}"
    );
}

#[test]
fn a_url_without_a_scheme_shows_what_is_supported() {
    let text = refusal("tasks.db");
    assert!(
        text.contains("`memory://`") && text.contains("`sqlite:relative/path`"),
        "{text}"
    );
    assert!(
        text.ends_with("it has no scheme: it must begin with a name and `:`"),
        "{text}"
    );
}

#[test]
fn an_unknown_scheme_suggests_a_known_one() {
    let text = refusal("sqlite3:tasks.db");
    assert!(
        text.contains("unknown scheme `sqlite3`: did you mean `sqlite`?"),
        "{text}"
    );
}

#[test]
fn a_wrong_parameter_says_what_it_must_be() {
    let unknown = refusal("sqlite:x.db?busy-timeout=5s");
    assert!(
        unknown.contains("did you mean `busy_timeout`?"),
        "{unknown}"
    );
    let wrong = refusal("sqlite:x.db?busy_timeout=5");
    assert!(
        wrong.contains("must be a duration such as `500ms`"),
        "{wrong}"
    );
    assert!(!std::path::Path::new("x.db").exists());
}

#[test]
fn a_password_is_in_no_error() {
    let text = refusal("sqlite://ann:geheim@host/x.db?password=geheim");
    assert!(!text.contains("geheim"), "{text}");
}

#[test]
fn others_add_schemes_but_take_none() {
    let mut schemes = Schemes::default();
    let add = |schemes: &mut Schemes, name: &str| {
        schemes.add(name, "scratch://", |url| {
            url.allow(&[])?;
            Ok(Arc::new(MemoryStore::new()))
        })
    };
    add(&mut schemes, "scratch").unwrap();
    assert_eq!(backend(&schemes.open("scratch://").unwrap()), "memory");
    let taken = add(&mut schemes, "SQLite");
    assert!(matches!(taken, Err(OpenError::SchemeTaken(name)) if name == "sqlite"));
}

#[test]
fn every_form_of_a_postgres_url_opens_the_same_store() {
    let server = or_skip(Postgres::start(postgres::Options::default()));
    let Some(server) = server else { return };
    let (address, socket) = (server.address(), server.unix_socket().display().to_string());
    let port = address.port();
    let urls = [
        format!("postgres://postgres:any@{address}/postgres?schema=queue"),
        format!("postgresql://postgres@{address}/postgres?schema=queue&sslmode=disable"),
        format!(
            "postgres:///postgres?user=postgres&host={socket}&port={port}&schema=queue&pooler=transaction"
        ),
    ];
    let stores = urls.map(|url| votive::open(&url).unwrap());
    let ids = stores.each_ref().map(|store| store.id());
    assert_eq!(stores.each_ref().map(backend), ["postgres"; 3]);
    assert_eq!(BTreeSet::from(ids).len(), 1);
}

#[test]
fn what_is_wrong_with_a_postgres_url_is_said_and_its_password_is_not() {
    for (parameter, said) in [
        ("sslmod=require", "did you mean `sslmode`?"),
        ("sslmode=sometimes", "`verify-full`"),
        ("pooler=yes", "`session` or `transaction`"),
        ("answer_timeout=5", "`500ms`"),
        ("schema=pg_mine", "`pg_mine`"),
        ("password=geheim7&schema=pg_mine", "`pg_mine`"),
    ] {
        let text = refusal(&format!("postgres://me:geheim7@127.0.0.1:1/db?{parameter}"));
        assert!(text.contains(said) && !text.contains("geheim7"), "{text}");
    }
}
