//! Servers that encrypt, and servers that ask who it is.
#![cfg(test)]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use votive::store::redis::{Options, RedisStore};
use votive::store::{Dispatch, Error, Interest, Kind};
use votive_testbed::{Redis, or_skip, redis, tls};

use crate::fixture::{Client, server, tell};

const LEASE: Duration = Duration::from_secs(60);

fn encrypted() -> Option<Redis> {
    or_skip(Redis::start(redis::Options::default().tls()))
}

fn options(server: &Redis) -> Options {
    let address = server.address();
    Options::tls(address.ip().to_string(), address.port())
}

/// What the refusal of a certificate says.
#[track_caller]
fn distrust(opened: Result<RedisStore, Error>) -> String {
    match opened.map(drop).unwrap_err().kind {
        Kind::Invalid(what) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_behind_encryption_is_one_like_any_other() {
    let Some(server) = encrypted() else { return };
    let client = Client::with(options(&server).tls_root(server.tls_root()), LEASE);
    let ready = [Interest::Ready("default".to_owned())];
    let waited = std::thread::scope(|threads| {
        let wait = threads.spawn(|| client.store.wait(&ready, LEASE).unwrap());
        client.enqueue();
        wait.join().unwrap()
    });
    assert_eq!(waited, Some(ready[0].clone()));
    assert_eq!(client.claim(2).unwrap().len(), 1);
}

#[test]
fn the_address_of_a_server_that_encrypts_says_whom_to_trust() {
    let Some(server) = encrypted() else { return };
    let url = server.url();
    assert!(url.starts_with("rediss://") && url.contains("tls_root="));
    let store = votive::open(&url).unwrap();
    assert!(store.capabilities().caveats.is_empty());
}

#[test]
fn a_certificate_of_another_authority_is_refused_and_the_setting_named() {
    let Some(server) = encrypted() else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = tls::other_authority(folder.path()).unwrap();
    for options in [options(&server).tls_root(other), options(&server)] {
        let what = distrust(RedisStore::open(options));
        assert!(
            what.contains("not trusted") && what.contains("`tls_root`"),
            "{what}"
        );
    }
}

#[test]
fn a_file_without_certificates_is_named() {
    let Some(server) = encrypted() else { return };
    let file = server.folder().join("log");
    for file in [file, "/nowhere.pem".into()] {
        let what = distrust(RedisStore::open(options(&server).tls_root(&file)));
        assert!(what.contains(&file.display().to_string()), "{what}");
    }
}

#[test]
fn who_does_not_encrypt_is_refused_by_a_server_that_does() {
    let Some(server) = encrypted() else { return };
    let address = server.address();
    let plain = Options::tcp(address.ip().to_string(), address.port());
    let opened = RedisStore::open(plain.response_timeout(Duration::from_secs(5)));
    assert_eq!(opened.map(drop).unwrap_err().kind, Kind::Unavailable);
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_user_is_let_in_with_its_password_which_no_log_shows() {
    let Some(server) = server() else { return };
    let rules = [
        "ACL", "SETUSER", "worker", "on", ">geheim", "~*", "&*", "+@all",
    ];
    tell(&server, &rules);
    // While there is but one subscriber, an event that other tests come to first is nobody's for good, unless it is
    // their thread's own.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let options = || crate::fixture::options(server.address()).user("worker");
    let mut said = tracing::subscriber::with_default(subscriber, || {
        let client = Client::with(options().password("geheim"), LEASE);
        assert!(client.is_visible(client.enqueue()));
        let refused = RedisStore::open(options().password("geheimer")).unwrap_err();
        assert!(
            matches!(&refused.kind, Kind::Invalid(what) if what.contains("password")),
            "{refused:?}"
        );
        format!(
            "{refused} {refused:?} {:?} {:?}",
            client.store,
            options().password("geheim")
        )
    });
    said.push_str(&String::from_utf8_lossy(&log.0.lock()));
    assert!(
        said.contains("performed") && !said.contains("geheim"),
        "{said}"
    );
}
