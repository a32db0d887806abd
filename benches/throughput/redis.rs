//! The same on a private Redis server that flushes every write before it answers: each operation of votive
//! beside a script that does by hand what it must do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use redis::{Connection, Script};
use votive::store::Store;
use votive::store::redis::{Options, RedisStore};
use votive_testbed::{Redis, or_skip};

use crate::setting::Result;
use crate::{Pair, claims, own};

/// The server of all pieces of work; `None` if there is none to be had.
static SERVER: LazyLock<Option<Redis>> =
    LazyLock::new(|| or_skip(Redis::start(votive_testbed::redis::Options::default())));

/// Tells apart the keys of one piece of work from those of the next.
static NAMES: AtomicU64 = AtomicU64::new(0);

const PAIRS: &[Pair] = &[
    Pair {
        name: "redis one per txn, queue alone",
        raw_name: "a script that sets a body, a hash and a place",
        goal: Some(0.8),
        raw: |setting| {
            let raw = Raw::new()?;
            setting.measure(setting.transactions, || raw.fill(setting.transactions))
        },
        own: |setting| {
            let work = own::batches(fresh()?, setting.transactions, 1)?;
            setting.measure(setting.transactions, work)
        },
    },
    Pair {
        name: "redis one per txn, 16 producers",
        raw_name: "16 connections, each by the same script",
        goal: None,
        raw: |setting| {
            let raw = Raw::new()?;
            let count = setting.tasks / 2;
            setting.measure(count, || raw.each(16, |raw| raw.fill(count / 16)))
        },
        own: |setting| {
            let work = own::producers(fresh()?, 16, setting.tasks / 2)?;
            setting.measure(setting.tasks / 2, work)
        },
    },
    Pair {
        name: "redis 100 per txn",
        raw_name: "a script that does the same with 100 of them",
        goal: Some(0.8),
        raw: |setting| {
            let raw = Raw::new()?;
            setting.measure(setting.tasks, || raw.fill_by(setting.tasks, 100))
        },
        own: |setting| {
            let work = own::batches(fresh()?, setting.tasks, 100)?;
            setting.measure(setting.tasks, work)
        },
    },
    Pair {
        name: "redis drain, 4 workers",
        raw_name: "4 connections, each a script to claim one and one to remove it",
        goal: Some(0.5),
        raw: |setting| {
            let raw = Raw::new()?;
            let count = setting.tasks / 2;
            raw.fill_untimed(count)?;
            setting.measure(count, || raw.each(4, |raw| raw.drain(count / 4)))
        },
        own: |setting| {
            let work = own::drain(fresh()?, 4, setting.tasks / 2)?;
            setting.measure(setting.tasks / 2, work)
        },
    },
    Pair {
        name: "redis claim + settle at 1k : at most",
        raw_name: "the same at a fifth of the largest backlog",
        goal: None,
        raw: |setting| claims(fresh()?, setting.backlog_max / 5, setting),
        own: |setting| claims(fresh()?, 1_000, setting),
    },
];

/// The pieces of work, or none if there is no server.
pub(crate) fn pairs() -> &'static [Pair] {
    if SERVER.is_some() { PAIRS } else { &[] }
}

/// An empty store, or `None` if there is no server.
pub(crate) fn store() -> Result<Option<Arc<dyn Store>>> {
    SERVER.as_ref().map(|_| fresh()).transpose()
}

fn server() -> Result<&'static Redis> {
    Ok(SERVER.as_ref().ok_or("there is no server")?)
}

fn name() -> String {
    format!("bench-{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// An empty store; whatever was on the server is gone.
fn fresh() -> Result<Arc<dyn Store>> {
    redis::cmd("FLUSHALL").exec(&mut connect()?)?;
    let address = server()?.address();
    let options = Options::tcp(address.ip().to_string(), address.port()).name(name());
    Ok(Arc::new(RedisStore::open(options)?))
}

fn connect() -> Result<Connection> {
    Ok(redis::Client::open(server()?.url())?.get_connection()?)
}

/// The times from the return of a push, which is on disk then, until who waited for it was woken and has asked
/// for one thing more, as every consumer does, in milliseconds, at 20 per second.
pub(crate) fn raw_latencies(count: u64) -> Result<Vec<f64>> {
    let key = name();
    let (woken, wakes) = crossbeam_channel::unbounded();
    let (mut waiting, mut pushing) = (connect()?, connect()?);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| -> Result<()> {
            for _ in 0..count {
                let mut pop = redis::cmd("BLPOP");
                pop.arg(&key).arg(0).exec(&mut waiting)?;
                redis::cmd("PING").exec(&mut waiting)?;
                woken.send(Instant::now())?;
            }
            Ok(())
        });
        let mut latencies = Vec::new();
        for _ in 0..count {
            std::thread::sleep(Duration::from_millis(50));
            redis::cmd("RPUSH")
                .arg(&key)
                .arg("task")
                .exec(&mut pushing)?;
            let pushed = Instant::now();
            let woken = wakes.recv()?;
            latencies.push(woken.saturating_duration_since(pushed).as_secs_f64() * 1e3);
        }
        waiter.join().map_err(|_| "the waiter panicked")??;
        Ok(latencies)
    })
}

/// Tasks kept by hand: a body, a hash of fields, a place in a sorted set. Nothing remembers who committed, lists what is
/// there, counts it, wakes anybody or refuses an id that is taken.
struct Raw {
    prefix: String,
    enqueue: Script,
    enqueue_many: Script,
    claim: Script,
    settle: Script,
    next: AtomicU64,
}

impl Raw {
    fn new() -> Result<Self> {
        redis::cmd("FLUSHALL").exec(&mut connect()?)?;
        Ok(Self {
            prefix: format!("{{{}}}", name()),
            enqueue: Script::new(
                "redis.call('SET', KEYS[1] .. ':body:' .. ARGV[1], ARGV[3])
                 redis.call('HSET', KEYS[1] .. ':task:' .. ARGV[1], 'state', 'ready', 'queue', 'default',
                     'at', ARGV[2])
                 return redis.call('ZADD', KEYS[1] .. ':ready', ARGV[2], ARGV[1])",
            ),
            enqueue_many: Script::new(
                "local places = {}
                 for i = 1, #ARGV, 3 do
                     redis.call('SET', KEYS[1] .. ':body:' .. ARGV[i], ARGV[i + 2])
                     redis.call('HSET', KEYS[1] .. ':task:' .. ARGV[i], 'state', 'ready', 'queue', 'default',
                         'at', ARGV[i + 1])
                     places[#places + 1], places[#places + 2] = ARGV[i + 1], ARGV[i]
                 end
                 return redis.call('ZADD', KEYS[1] .. ':ready', unpack(places))",
            ),
            claim: Script::new(
                "local id = redis.call('ZPOPMIN', KEYS[1] .. ':ready')[1]
                 if not id then return false end
                 redis.call('HSET', KEYS[1] .. ':task:' .. id, 'state', 'claimed', 'token', ARGV[1])
                 redis.call('ZADD', KEYS[1] .. ':claimed', ARGV[1], id)
                 return {id, redis.call('GET', KEYS[1] .. ':body:' .. id)}",
            ),
            settle: Script::new(
                "if redis.call('HGET', KEYS[1] .. ':task:' .. ARGV[1], 'token') ~= ARGV[2] then
                     return redis.error_reply('ERR lost')
                 end
                 redis.call('ZREM', KEYS[1] .. ':claimed', ARGV[1])
                 return redis.call('DEL', KEYS[1] .. ':task:' .. ARGV[1], KEYS[1] .. ':body:' .. ARGV[1])",
            ),
            next: AtomicU64::new(0),
        })
    }

    /// Enqueues `count` tasks, one by one.
    fn fill(&self, count: u64) -> Result<()> {
        let mut connection = connect()?;
        let body = [b'x'; 150];
        for _ in 0..count {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let mut call = self.enqueue.key(&self.prefix);
            call.arg(format!("{next:036}")).arg(next).arg(&body[..]);
            call.invoke::<()>(&mut connection)?;
        }
        Ok(())
    }

    /// Enqueues `count` tasks, so many at a time.
    fn fill_by(&self, count: u64, size: u64) -> Result<()> {
        let mut connection = connect()?;
        let body = [b'x'; 150];
        for _ in 0..count / size {
            let mut call = self.enqueue_many.key(&self.prefix);
            for _ in 0..size {
                let next = self.next.fetch_add(1, Ordering::Relaxed);
                call.arg(format!("{next:036}")).arg(next).arg(&body[..]);
            }
            call.invoke::<()>(&mut connection)?;
        }
        Ok(())
    }

    /// Enqueues `count` tasks without waiting for the disk after each.
    fn fill_untimed(&self, count: u64) -> Result<()> {
        self.each(16, |raw| raw.fill(count / 16 + 1))
    }

    /// Claims and removes `count` tasks, one by one.
    fn drain(&self, count: u64) -> Result<()> {
        let mut connection = connect()?;
        for _ in 0..count {
            let token = self.next.fetch_add(1, Ordering::Relaxed);
            let mut claim = self.claim.key(&self.prefix);
            let claimed: Option<(String, Vec<u8>)> = claim.arg(token).invoke(&mut connection)?;
            let (id, _body) = claimed.ok_or("the tasks ran out")?;
            let mut settle = self.settle.key(&self.prefix);
            settle.arg(id).arg(token).invoke::<()>(&mut connection)?;
        }
        Ok(())
    }

    /// Does the same on so many connections at once.
    fn each(&self, count: u64, work: impl Fn(&Self) -> Result<()> + Sync) -> Result<()> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(|| work(self))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
        })
    }
}
