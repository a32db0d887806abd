//! Tasks kept in Redis by hand: a body, a hash of fields, a place in a sorted set. Nothing remembers who committed,
//! lists what is there, counts it, wakes anybody or refuses an id that is taken.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::{Connection, Script};

use crate::group;
use crate::redis::{connect, name};
use crate::setting::Result;

/// A queue by hand.
pub(crate) struct Raw {
    prefix: String,
    enqueue: Script,
    claim: Script,
    settle: Script,
    next: AtomicU64,
}

impl Raw {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            prefix: format!("{{{}}}", name()),
            enqueue: Script::new(
                "for at = 1, #ARGV, 3 do
                     local id = ARGV[at]
                     redis.call('SET', KEYS[1] .. ':body:' .. id, ARGV[at + 2])
                     redis.call('HSET', KEYS[1] .. ':task:' .. id, 'state', 'ready', 'queue', 'default',
                         'at', ARGV[at + 1])
                     redis.call('ZADD', KEYS[1] .. ':ready', ARGV[at + 1], id)
                 end
                 return 0",
            ),
            claim: Script::new(
                "local popped = redis.call('ZPOPMIN', KEYS[1] .. ':ready', ARGV[2])
                 local found = {}
                 for at = 1, #popped, 2 do
                     local id = popped[at]
                     redis.call('HSET', KEYS[1] .. ':task:' .. id, 'state', 'claimed', 'token', ARGV[1])
                     redis.call('ZADD', KEYS[1] .. ':claimed', ARGV[1], id)
                     found[#found + 1] = {id, redis.call('GET', KEYS[1] .. ':body:' .. id)}
                 end
                 return found",
            ),
            settle: Script::new(
                "for at = 2, #ARGV do
                     local id = ARGV[at]
                     if redis.call('HGET', KEYS[1] .. ':task:' .. id, 'token') ~= ARGV[1] then
                         return redis.error_reply('ERR lost')
                     end
                     redis.call('ZREM', KEYS[1] .. ':claimed', id)
                     redis.call('DEL', KEYS[1] .. ':task:' .. id, KEYS[1] .. ':body:' .. id)
                 end
                 return 0",
            ),
            next: AtomicU64::new(0),
        }
    }

    /// A queue with `count` tasks.
    pub(crate) fn filled(count: u64) -> Result<Self> {
        let raw = Self::new();
        raw.fill(count.next_multiple_of(100), 100)?;
        Ok(raw)
    }

    /// Enqueues `count` tasks, `size` at a time.
    pub(crate) fn fill(&self, count: u64, size: u64) -> Result<()> {
        let mut connection = connect()?;
        (0..count / size).try_for_each(|_| self.enqueue(&mut connection, size))
    }

    /// Enqueues `count` tasks one by one, on so many connections at once.
    pub(crate) fn fill_by(&self, producers: u64, count: u64) -> Result<()> {
        group::on_threads(producers, |_| self.fill(count / producers, 1))
    }

    fn enqueue(&self, connection: &mut Connection, size: u64) -> Result<()> {
        let body = [b'x'; 150];
        let mut call = self.enqueue.key(&self.prefix);
        for _ in 0..size {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            call.arg(format!("{next:036}")).arg(next).arg(&body[..]);
        }
        Ok(call.invoke::<()>(connection)?)
    }

    /// Claims and removes `count` tasks, `size` at a time.
    pub(crate) fn drain(&self, count: u64, size: u64) -> Result<()> {
        let mut connection = connect()?;
        for _ in 0..count / size {
            let token = self.next.fetch_add(1, Ordering::Relaxed);
            let mut claim = self.claim.key(&self.prefix);
            let claimed: Vec<(String, Vec<u8>)> =
                claim.arg(token).arg(size).invoke(&mut connection)?;
            if claimed.is_empty() {
                return Err("the tasks ran out".into());
            }
            let mut settle = self.settle.key(&self.prefix);
            settle.arg(token);
            for (id, _body) in &claimed {
                settle.arg(id);
            }
            settle.invoke::<()>(&mut connection)?;
        }
        Ok(())
    }

    /// Claims and removes `count` tasks by hundreds, on so many connections at once.
    pub(crate) fn drain_by(&self, workers: u64, count: u64) -> Result<()> {
        group::on_threads(workers, |_| self.drain(count / workers, 100))
    }
}
