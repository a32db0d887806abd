//! Servers that are killed and started again, connections that are cut, answers that come too late: while
//! producers and consumers work, and nothing of it may show in what is committed.
#![cfg(test)]

use std::time::Duration;

use votive_testbed::{Fault, Postgres, Proxy, Redis, or_skip};

use crate::campaign::number;
use crate::dice::Dice;
use crate::layout::{Layout, Program};
use crate::servers;
use crate::site::{DATABASE_COUNT, Site};
use crate::storm::Storm;

/// How often a server is killed in each layout, unless `VOTIVE_SERVER_KILLS` says otherwise.
const KILLS: usize = 5;

/// How often a connection fails in each layout, unless `VOTIVE_FAULTS` says otherwise.
const FAULTS: usize = 10;

/// Longer than any client waits for an answer here.
const TOO_LONG: Duration = Duration::from_secs(5);

/// A server of the test's own.
enum Server {
    Redis(Redis),
    Postgres(Postgres),
}

impl Server {
    fn start(program: Program) -> Option<Self> {
        Some(match program {
            Program::Redis => {
                let options = votive_testbed::redis::Options::default();
                Self::Redis(or_skip(Redis::start(options))?)
            }
            Program::Postgres => Self::Postgres(or_skip(servers::start_postgres())?),
        })
    }

    fn address(&self) -> std::net::SocketAddr {
        match self {
            Self::Redis(server) => server.address(),
            Self::Postgres(server) => server.address(),
        }
    }

    fn kill(&self) {
        match self {
            Self::Redis(server) => server.kill().unwrap(),
            Self::Postgres(server) => server.kill().unwrap(),
        }
    }

    fn restart(&self) {
        match self {
            Self::Redis(server) => server.restart().unwrap(),
            Self::Postgres(server) => server.restart().unwrap(),
        }
    }
}

/// A site whose servers nobody else has, each behind a proxy.
struct Ground {
    site: Site,
    servers: Vec<(Server, Proxy)>,
}

impl Ground {
    fn new(layout: Layout) -> Option<Self> {
        let mut ground = Self {
            site: Site::in_folder(layout),
            servers: Vec::new(),
        };
        for program in Program::ALL {
            if layout.needs(program) {
                ground.add(Server::start(program)?);
            }
        }
        Some(ground)
    }

    fn add(&mut self, server: Server) {
        let proxy = Proxy::start(server.address()).unwrap();
        match &server {
            Server::Redis(_) => self.site.redis = Some(proxy.address()),
            Server::Postgres(server) => {
                self.site.postgres = Some(proxy.address());
                self.site.databases = (0..DATABASE_COUNT)
                    .map(|number| format!("site_{number}"))
                    .collect();
                for name in &self.site.databases {
                    server.create_database(name).unwrap();
                }
            }
        }
        self.servers.push((server, proxy));
    }
}

#[track_caller]
fn is_fine(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Kills each server again and again, and starts it on what is on its disk.
#[track_caller]
pub(crate) fn outlives_its_servers(layout: Layout) {
    let Some(ground) = Ground::new(layout) else {
        return;
    };
    let mut dice = Dice::new();
    let mut storm = Storm::begin(&ground.site);
    for _ in 0..number("VOTIVE_SERVER_KILLS").unwrap_or(KILLS) {
        for (server, _) in &ground.servers {
            storm.wait_for_commits(1 + dice.below(10));
            server.kill();
            storm.wait_for_refusals(3);
            server.restart();
        }
    }
    storm.wait_for_commits(1);
    is_fine(&storm.end());
}

/// Has connections fail in all ways at any instant.
#[track_caller]
pub(crate) fn outlives_its_connections(layout: Layout) {
    let Some(ground) = Ground::new(layout) else {
        return;
    };
    let mut dice = Dice::new();
    let mut storm = Storm::begin(&ground.site);
    for _ in 0..number("VOTIVE_FAULTS").unwrap_or(FAULTS) {
        for (server, proxy) in &ground.servers {
            let before = proxy.triggered();
            proxy.arm(fault(server, &mut dice));
            // A statement that was prepared long ago is not sent again, nor is its text.
            if !storm.wait_for_a_while(|| proxy.triggered() > before) {
                proxy.arm(Fault::CutAfter(dice.below(4_000)));
                storm.wait_until(|| proxy.triggered() > before);
            }
            storm.wait_for_commits(1);
        }
    }
    ground.servers.iter().for_each(|(_, proxy)| proxy.pass());
    is_fine(&storm.end());
}

fn fault(server: &Server, dice: &mut Dice) -> Fault {
    let patterns: &[&str] = match server {
        Server::Redis(_) => &["EVALSHA"],
        Server::Postgres(_) => &["COMMIT", "INSERT", "PREPARE TRANSACTION"],
    };
    let pattern = dice.pick(patterns).as_bytes().to_vec();
    match dice.below(10) {
        0..3 => Fault::CutAfter(dice.below(4_000)),
        3..5 => Fault::CutBefore(pattern),
        5..9 => Fault::CutAnswer(pattern),
        _ => Fault::DelayAnswer(pattern, TOO_LONG),
    }
}

/// Takes the list of layouts once: makes of it two tests of each.
macro_rules! faults {
    ($($layout:ident: tasks $tasks:expr, notes $notes:expr, effects $effects:expr;)*) => {
        $(mod $layout {
            use crate::layout::{Backend, Layout, Load, Place};

            const LAYOUT: Layout = Layout {
                tasks: $tasks,
                notes: $notes,
                effects: $effects,
                load: Load::Answers,
            };

            #[test]
            fn outlives_its_servers() {
                super::outlives_its_servers(LAYOUT);
            }

            #[test]
            fn outlives_its_connections() {
                super::outlives_its_connections(LAYOUT);
            }
        })*
    };
}

faults! {
    redis_with_an_application_in_sqlite:
        tasks Backend::Redis, notes Place::Sqlite, effects Place::Sqlite;
    redis_with_an_application_in_postgres:
        tasks Backend::Redis, notes Place::Postgres, effects Place::Postgres;
    redis_deciding_for_postgres:
        tasks Backend::Redis, notes Place::Preparing, effects Place::Preparing;
    postgres_enlisted_ours:
        tasks Backend::Postgres, notes Place::Ours, effects Place::Ours;
    postgres_with_an_application_in_sqlite:
        tasks Backend::Postgres, notes Place::Sqlite, effects Place::Sqlite;
    sqlite_with_an_application_in_postgres:
        tasks Backend::Sqlite, notes Place::Postgres, effects Place::Postgres;
    file_deciding_for_postgres:
        tasks Backend::File, notes Place::Preparing, effects Place::Preparing;
    queues_in_sqlite_and_redis:
        tasks Backend::Sqlite, notes Place::Queue(Backend::Redis), effects Place::Queue(Backend::Redis);
    queues_in_redis_and_postgres:
        tasks Backend::Redis, notes Place::Queue(Backend::Postgres), effects Place::Queue(Backend::Postgres);
}
