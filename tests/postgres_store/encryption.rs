//! Servers that encrypt: who checks what, and what is said of a server that is not believed.
#![cfg(test)]

use std::path::Path;
use std::sync::LazyLock;

use votive::store::Kind;
use votive::store::postgres::{PostgresStore, TlsMode};
use votive_testbed::{Postgres, or_skip, postgres, tls};

use crate::fixture::{Process, claim, options, schema};

static ENCRYPTED: LazyLock<Option<Postgres>> =
    LazyLock::new(|| or_skip(Postgres::start(postgres::Options::default().tls())));

fn open(server: &Postgres, mode: TlsMode, root: Option<&Path>) -> Result<PostgresStore, Kind> {
    let mut options = options(&schema()).tls(mode);
    if let Some(root) = root {
        options = options.tls_root(root);
    }
    let url = format!("{}?application_name=secret", server.url());
    PostgresStore::open(&url, options).map_err(|error| error.kind)
}

#[test]
fn a_store_that_checks_whom_it_speaks_to_is_one_like_any_other() {
    let Some(server) = &*ENCRYPTED else { return };
    let root = server.tls_root();
    let store = open(server, TlsMode::VerifyFull, Some(&root)).unwrap();
    let mut process = Process::new(&store);
    process.enqueue(3);
    let (consumer, _presence) = process.consumer("web-1");
    assert_eq!(claim(&store, &consumer, 9).len(), 3);
    let in_the_open = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                       WHERE application_name = 'secret' AND NOT ssl";
    let mut client = server.client().unwrap();
    let count: i64 = client.query_one(in_the_open, &[]).unwrap().get(0);
    assert_eq!(count, 0);
}

#[test]
fn a_certificate_of_another_authority_is_refused_and_the_setting_named() {
    let Some(server) = &*ENCRYPTED else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = tls::other_authority(folder.path()).unwrap();
    for root in [Some(&*other), None] {
        let refused = open(server, TlsMode::VerifyFull, root).unwrap_err();
        let Kind::Invalid(what) = &refused else {
            panic!("{refused:?}")
        };
        assert!(
            what.contains("not trusted") && what.contains("`sslrootcert`"),
            "{what}"
        );
    }
    assert!(open(server, TlsMode::Require, None).is_ok());
}

#[test]
fn who_must_encrypt_is_refused_by_a_server_that_does_not() {
    let Some(server) = &*crate::fixture::SERVER else {
        return;
    };
    let refused = open(server, TlsMode::Require, None).unwrap_err();
    assert_eq!(refused, Kind::Unavailable);
}
