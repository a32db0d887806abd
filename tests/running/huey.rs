//! For those who come from Huey: its variables are heard, and what it has stored is left alone.
#![cfg(test)]

use std::fs;

use rusqlite::Connection;

use crate::child::{Order, Site};
use votive::task::State;
use votive_testbed::{Redis, or_skip};

const TABLES: &str = "
    create table kv (queue text not null, key text not null, value blob not null, primary key (queue, key));
    create table schedule (id integer not null primary key, queue text not null, data blob not null, timestamp real not null);
    create table task (id integer not null primary key, queue text not null, data blob not null, priority real not null default 0.0);
    insert into task (queue, data) values ('huey', x'800495');
";

#[test]
fn hueys_variables_are_heard() {
    let site = Site::new();
    let task = site.enqueue("default", &Order::Simple);
    let url = format!("sqlite://{}", site.path("votive.db").display());
    let process = site.ready(
        &[],
        &[("HUEY_TASKQUEUE_URL", &url), ("HUEY_CONSUMER", "true")],
    );
    site.reaches(task, State::Done);
    process.stop();
}

#[test]
fn a_database_of_huey_is_refused_and_left_as_it_is() {
    let site = Site::new();
    let file = site.path("huey_queue.sqlite");
    Connection::open(&file)
        .unwrap()
        .execute_batch(TABLES)
        .unwrap();
    let before = fs::read(&file).unwrap();
    let url = format!("sqlite://{}", file.display());
    let (exit, said) = site.start(&[], &[("HUEY_TASKQUEUE_URL", &url)]).end();
    assert_eq!(exit, 1, "{said}");
    assert!(said.contains("$HUEY_TASKQUEUE_URL: the store cannot be opened: votive does not use what Huey has made"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_folder_of_huey_is_refused_and_left_as_it_is() {
    let site = Site::new();
    for name in ["queue", "schedule", "results"] {
        fs::create_dir_all(site.path("huey").join(name)).unwrap();
    }
    fs::write(site.path("huey/queue/1"), "a pickle").unwrap();
    let url = format!("file://{}", site.path("huey").display());
    let (exit, said) = site.start(&[], &[("HUEY_TASKQUEUE_URL", &url)]).end();
    assert_eq!(exit, 1, "{said}");
    assert!(
        said.contains("votive does not use what Huey has made"),
        "{said}"
    );
    let left = fs::read_dir(site.path("huey")).unwrap().count();
    assert_eq!(left, 3);
    assert_eq!(
        fs::read_to_string(site.path("huey/queue/1")).unwrap(),
        "a pickle"
    );
}

#[test]
fn a_redis_database_of_huey_is_refused_and_left_as_it_is() {
    let Some(server) = or_skip(Redis::start(votive_testbed::redis::Options::default())) else {
        return;
    };
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    // So many that they do not come in one page, and of Huey's kinds one at a time.
    for number in 0..3_000 {
        let set = redis::cmd("SET")
            .arg(format!("huey.{number}"))
            .arg("")
            .exec(&mut connection);
        set.unwrap();
    }
    let site = Site::new();
    for (command, key, rest) in [
        ("LPUSH", "huey.redis.plone", vec!["x800495"]),
        ("ZADD", "huey.schedule.plone", vec!["1800000000", "x800495"]),
        ("HSET", "huey.results.plone", vec!["id", "x800495"]),
        ("LPUSH", "huey.errors.plone", vec!["{}"]),
    ] {
        redis::cmd(command)
            .arg(key)
            .arg(rest)
            .exec(&mut connection)
            .unwrap();
        let url = server.url();
        let (exit, said) = site.start(&[], &[("HUEY_TASKQUEUE_URL", &url)]).end();
        assert_eq!(exit, 1, "{key}: {said}");
        let hint = "votive does not use what Huey has made";
        assert!(said.contains(hint) && said.contains(key), "{said}");
        let count: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
        assert_eq!(count, 3_001);
        redis::cmd("DEL").arg(key).exec(&mut connection).unwrap();
    }
}

#[test]
fn hueys_own_default_is_explained() {
    let site = Site::new();
    let url = "sqlite://tmp/huey_queue.sqlite";
    let (exit, said) = site.start(&[], &[("HUEY_TASKQUEUE_URL", url)]).end();
    assert_eq!(exit, 2, "{said}");
    assert!(said.contains("sqlite:///"), "{said}");
}
