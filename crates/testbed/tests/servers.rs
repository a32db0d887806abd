//! What tests rely on: a killed server is dead, a restarted one has its data, and nothing outlives the
//! process that started it.
#![cfg(test)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{after, select, tick};
use votive_testbed::{Postgres, Redis, Result, or_skip, postgres, redis};

const ABANDON: &str = "VOTIVE_TESTBED_ABANDON";

/// Sends a command to Redis, and returns the last of its answer's first `lines` lines.
fn ask(server: &Redis, command: &str, lines: usize) -> String {
    let mut connection = TcpStream::connect(server.address()).unwrap();
    write!(connection, "{command}\r\n").unwrap();
    let answers = BufReader::new(connection).lines().take(lines);
    answers.last().unwrap().unwrap()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let (again, late) = (
        tick(Duration::from_millis(10)),
        after(Duration::from_secs(60)),
    );
    while !holds() {
        select! {
            recv(again) -> _ => {}
            recv(late) -> _ => panic!("never: {what}"),
        }
    }
}

fn redis() -> Result<Redis> {
    Redis::start(redis::Options::default())
}

fn postgres() -> Result<Postgres> {
    Postgres::start(postgres::Options::default().setting("max_prepared_transactions", "7"))
}

#[test]
fn redis_has_its_data_after_a_kill() {
    let Some(server) = or_skip(redis()) else {
        return;
    };
    assert_eq!(ask(&server, "SET votive kept", 1), "+OK");
    server.kill().unwrap();
    assert!(TcpStream::connect(server.address()).is_err());
    server.restart().unwrap();
    assert_eq!(ask(&server, "GET votive", 2), "kept");
}

#[test]
fn redis_asks_for_the_password() {
    let options = redis::Options::default().password("secret");
    let Some(server) = or_skip(Redis::start(options)) else {
        return;
    };
    assert!(ask(&server, "PING", 1).starts_with("-NOAUTH"));
    assert!(server.url().starts_with("redis://:secret@127.0.0.1:"));
}

#[test]
fn redis_takes_settings_and_listens_on_a_socket() {
    let options = redis::Options::default().setting("appendfsync", "no");
    let Some(server) = or_skip(Redis::start(options)) else {
        return;
    };
    assert_eq!(ask(&server, "CONFIG GET appendfsync", 5), "no");
    assert!(std::os::unix::net::UnixStream::connect(server.unix_socket()).is_ok());
}

#[test]
fn valkey_starts_where_it_is_installed() {
    let Some(server) = or_skip(Redis::start(redis::Options::valkey())) else {
        return;
    };
    assert_eq!(ask(&server, "PING", 1), "+PONG");
}

#[test]
fn postgres_has_its_data_after_a_kill() {
    let Some(server) = or_skip(postgres()) else {
        return;
    };
    let mut client = server.client().unwrap();
    client
        .batch_execute("CREATE TABLE kept AS SELECT 7 AS number")
        .unwrap();
    server.kill().unwrap();
    assert!(client.batch_execute("SELECT 1").is_err());
    server.restart().unwrap();
    let row = server
        .client()
        .unwrap()
        .query_one("SELECT number FROM kept", &[])
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
}

#[test]
fn postgres_takes_settings_and_makes_databases() {
    let Some(server) = or_skip(postgres()) else {
        return;
    };
    let url = server.create_database("other").unwrap();
    let mut client = ::postgres::Client::connect(&url, ::postgres::NoTls).unwrap();
    let row = client
        .query_one("SHOW max_prepared_transactions", &[])
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "7");
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let Some(server) = or_skip(redis()) else {
        return;
    };
    let (folder, address) = (server.folder().to_owned(), server.address());
    drop(server);
    assert!(!folder.exists() && TcpStream::connect(address).is_err());
}

/// What the child process of the next test does; nothing in the parent.
#[test]
fn a_child_process_abandons_its_servers() {
    if std::env::var_os(ABANDON).is_none() {
        return;
    }
    let (redis, postgres) = (redis().unwrap(), postgres().unwrap());
    println!("\nfolder:{}", redis.folder().display());
    println!("folder:{}", postgres.unix_socket().display());
    std::process::abort();
}

#[test]
fn a_process_that_is_killed_leaves_no_server_and_no_folder() {
    if or_skip(redis()).is_none() || or_skip(postgres()).is_none() {
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "a_child_process_abandons_its_servers",
            "--exact",
            "--nocapture",
        ])
        .env(ABANDON, "1")
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let folders: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("folder:"))
        .collect();
    assert_eq!(folders.len(), 2, "{said}");
    let is_named = |folder: &str| {
        let all = Command::new("ps")
            .args(["-A", "-o", "args="])
            .output()
            .unwrap();
        String::from_utf8_lossy(&all.stdout).contains(folder)
    };
    for folder in folders {
        eventually("the folder is gone", || !Path::new(folder).exists());
        eventually("the server is gone", || !is_named(folder));
    }
}
