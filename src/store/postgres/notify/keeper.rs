//! The store's one thread: it is notified of the commits of other processes once somebody waits for them, and
//! prolongs the leases of this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Waiting;
use super::clock::StoreClock;
use crate::store::notify::Bell;
use crate::store::postgres::connection::{Connector, Link, Wants};
use crate::store::postgres::error::{Fault, Result};
use crate::store::postgres::options::Pooler;
use crate::store::postgres::pool::{Durability, Pool, Write, commands, one};
use crate::store::postgres::presence::{self, Presences, Role};
use crate::store::postgres::{register, row};

/// How long a notification that the store sends to itself may take before the connection is taken for
/// one that carries none.
const ECHO_MAX: Duration = Duration::from_secs(5);

/// The first and the last pause before the next try to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// The longest sleep without a look at the leases.
const SLEEP_MAX: Duration = Duration::from_secs(60);

const RENEW: Write<'static> = Write {
    durability: Durability::Deferred,
    failpoints: ["", ""],
    wakes: None,
};

/// What the thread shares with the store.
pub(in crate::store::postgres) struct Shared {
    pub(in crate::store::postgres) connector: Arc<Connector>,
    pub(in crate::store::postgres) pool: Arc<Pool>,
    pub(in crate::store::postgres) clock: Arc<StoreClock>,
    pub(in crate::store::postgres) presences: Presences,
    pub(in crate::store::postgres) bell: Arc<Bell>,
    pub(in crate::store::postgres) waiting: Arc<Waiting>,
}

/// The thread, for as long as the store is open.
pub(in crate::store::postgres) struct Keeper {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    stopping: AtomicBool,
    /// Whether anybody has waited yet. Until then a notification would only wake up the server and this process.
    wanted: AtomicBool,
    listening: AtomicBool,
    nudged: Notify,
}

impl Keeper {
    /// Starts the thread.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the store that has a thread"
    )]
    pub(in crate::store::postgres) fn start(shared: Shared) -> Self {
        let stop = Arc::new(Stop::default());
        let worker = Worker {
            shared,
            stop: Arc::clone(&stop),
            renewed: None,
        };
        let thread = std::thread::spawn(move || worker.run());
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Has the thread look at the leases again.
    pub(in crate::store::postgres) fn nudge(&self) {
        self.stop.nudged.notify_one();
    }

    /// Has the thread be notified of commits from now on, and everybody look once it is.
    pub(in crate::store::postgres) fn listen(&self) {
        if !self.stop.wanted.swap(true, Ordering::SeqCst) {
            self.nudge();
        }
    }

    /// Whether commits of other processes are notified of, as far as is known.
    pub(in crate::store::postgres) fn is_listening(&self) -> bool {
        self.stop.listening.load(Ordering::SeqCst)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.stopping.store(true, Ordering::SeqCst);
        self.stop.nudged.notify_one();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that keeps the leases panicked");
        }
    }
}

struct Worker {
    shared: Shared,
    stop: Arc<Stop>,
    renewed: Option<Instant>,
}

impl Worker {
    /// A lost connection is made again, and then everybody looks: what was notified meanwhile is lost.
    fn run(mut self) {
        let [shortest, longest] = PAUSES;
        let mut pause = shortest;
        while !self.is_stopping() {
            let started = self.shared.connector.connect();
            let lost = started.and_then(|mut link| {
                pause = shortest;
                self.serve(&mut link)
            });
            self.stop.listening.store(false, Ordering::SeqCst);
            self.look_again();
            match lost {
                Ok(()) => {}
                Err(fault) if self.is_stopping() => drop(fault),
                Err(fault) => {
                    tracing::warn!(?fault, "commits of other processes are noticed by polling");
                    self.pause(pause);
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.stopping.load(Ordering::SeqCst)
    }

    /// Waits without a connection.
    fn pause(&self, pause: Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        match runtime {
            Ok(runtime) => {
                let nudged = self.stop.nudged.notified();
                let paused = runtime.block_on(async { tokio::time::timeout(pause, nudged).await });
                drop(paused);
            }
            Err(error) => {
                tracing::error!(%error, "no timer");
                std::thread::yield_now();
            }
        }
    }

    fn serve(&mut self, link: &mut Link) -> Result<()> {
        let can_listen = self.shared.connector.options().pooler == Pooler::Session;
        let mut has_listened = false;
        while !self.is_stopping() {
            if can_listen && !has_listened && self.stop.wanted.load(Ordering::SeqCst) {
                listen(link)?;
                self.await_echo(link)?;
                has_listened = true;
            }
            let sleep = self.renew()?;
            let notified = link.listen(self.stop.nudged.notified(), sleep)?;
            if !notified.is_empty() {
                self.stop.listening.store(true, Ordering::SeqCst);
                for queue in &notified {
                    self.shared.waiting.notified(queue);
                }
                self.shared.bell.ring();
            }
        }
        Ok(())
    }

    /// Sends itself a notification: a pooler that hands connections round accepts LISTEN and carries
    /// nothing.
    fn await_echo(&mut self, link: &mut Link) -> Result<()> {
        one(link, super::ECHO, Vec::new(), Wants::Rows)?;
        let heard = !link.listen(std::future::pending(), ECHO_MAX)?.is_empty();
        self.stop.listening.store(heard, Ordering::SeqCst);
        if !heard {
            tracing::warn!(
                "no notification comes through, as behind a pooler in transaction mode: \
                 commits of other processes are noticed by polling"
            );
        }
        // What was committed before LISTEN was not notified of.
        self.look_again();
        Ok(())
    }

    fn look_again(&self) {
        self.shared.waiting.say_again();
        self.shared.bell.ring();
    }

    /// Prolongs the leases if it is time, and returns for how long nothing is to be done.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place of the store that reads a timer"
    )]
    fn renew(&mut self) -> Result<Duration> {
        let Some(lease) = self.shared.presences.lease_min() else {
            return Ok(SLEEP_MAX);
        };
        let interval = (lease / 3).min(SLEEP_MAX);
        if let Some(renewed) = self.renewed {
            let left = interval.saturating_sub(renewed.elapsed());
            if !left.is_zero() {
                return Ok(left);
            }
        }
        let renewed = Instant::now();
        self.prolong()?;
        self.renewed = Some(renewed);
        Ok(interval)
    }

    fn prolong(&self) -> Result<()> {
        let shared = &self.shared;
        let _turn = shared.presences.turn();
        let consumers = shared.presences.attended(Role::Consumer);
        let managers = shared.presences.attended(Role::Manager);
        let now = shared.clock.now(&shared.pool)?;
        shared.pool.write(RENEW, |session| {
            presence::prolong(session, &consumers, now)?;
            if let Some((_, lease)) = managers.first() {
                let managers: Vec<_> = managers.iter().map(|(manager, _)| *manager).collect();
                register::keep_alive(session, &managers, now.saturating_add(*lease))?;
            }
            presence::clean(session, now)
        })
    }
}

fn listen(link: &mut Link) -> Result<()> {
    let channel = one(link, super::CHANNEL, Vec::new(), Wants::Rows)?;
    let channel = channel.rows.first();
    let channel = channel.ok_or_else(|| Fault::corrupt("the channel has no name"))?;
    let channel: &str = row::column(channel, 0)?;
    commands(link, format!("LISTEN {channel}"))
}
