//! The bare signal of each store: what wakes one who waits, and the least look that tells him so.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::{Client, NoTls};
use crossbeam_channel::{Receiver, Sender, unbounded};
use notify::{RecursiveMode, Watcher};
use rusqlite::Connection;

use crate::own::PAUSE;
use crate::setting::Result;

/// For how long a file that was written is looked at: a slow disk may take its time to flush.
const LOOKS_MAX: Duration = Duration::from_secs(5);

/// A signal that takes longer is lost.
const LOST: Duration = Duration::from_secs(10);

/// Sends signals by `send`, one at a time, which says when that was done, and returns how long after each the other
/// side was awake.
fn measure(
    count: u64,
    woken: &Receiver<Instant>,
    mut send: impl FnMut() -> Result<Instant>,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for _ in 0..count {
        std::thread::sleep(PAUSE);
        let signalled = send()?;
        let awake = woken.recv_timeout(LOST)?;
        latencies.push(awake.saturating_duration_since(signalled));
    }
    Ok(latencies)
}

/// Calls `look` whenever a file was written, until it fails, and says when it found something.
fn watch(
    file: &Path,
    wakes: Sender<Instant>,
    mut look: impl FnMut() -> Result<bool> + Send + 'static,
) -> Result<notify::RecommendedWatcher> {
    let (written, writes) = unbounded();
    let mut watcher = notify::recommended_watcher(move |_: notify::Result<_>| {
        // Nobody waits any more when the measurement is over.
        let _over = written.send(());
    })?;
    watcher.watch(file, RecursiveMode::NonRecursive)?;
    std::thread::spawn(move || {
        while writes.recv().is_ok() {
            // The file is written before what was written can be seen.
            let until = Instant::now() + LOOKS_MAX;
            while Instant::now() < until {
                match look() {
                    Ok(true) if wakes.send(Instant::now()).is_ok() => {
                        // What else was said of the same write is no news.
                        while writes.try_recv().is_ok() {}
                        break;
                    }
                    Ok(false) => std::thread::sleep(Duration::from_micros(50)),
                    _ => return,
                }
            }
        }
    });
    Ok(watcher)
}

/// A message is sent through a channel; another thread receives it.
pub(crate) fn channel(count: u64) -> Result<Vec<Duration>> {
    let (sender, receiver) = unbounded();
    let (wakes, woken) = unbounded();
    std::thread::spawn(move || {
        receiver
            .iter()
            .try_for_each(|()| wakes.send(Instant::now()))
    });
    measure(count, &woken, || {
        sender.send(())?;
        Ok(Instant::now())
    })
}

/// A row is committed; another connection watches the log, and looks for it.
pub(crate) fn sqlite(path: &Path, count: u64) -> Result<Vec<Duration>> {
    let open = || -> Result<Connection> {
        let connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
        Ok(connection)
    };
    let writer = open()?;
    writer.execute_batch("CREATE TABLE task (id INTEGER PRIMARY KEY)")?;
    let (wakes, woken) = unbounded();
    let (reader, mut seen) = (open()?, 0);
    let look = move || {
        let last: i64 = reader.query_row("SELECT count(*) FROM task", [], |row| row.get(0))?;
        Ok(std::mem::replace(&mut seen, last) != last)
    };
    let _watcher = watch(&path.with_extension("db-wal"), wakes, look)?;
    measure(count, &woken, || {
        writer.execute("INSERT INTO task DEFAULT VALUES", [])?;
        Ok(Instant::now())
    })
}

/// A record is appended and flushed under a lock; somebody else watches the file, and looks under the same lock how
/// long it is: what was written before it was flushed must not be seen.
pub(crate) fn file(path: &Path, count: u64) -> Result<Vec<Duration>> {
    let mut log = File::create(path)?;
    let (writing, reading) = (File::open(path)?, File::open(path)?);
    let (wakes, woken) = unbounded();
    let mut length = 0;
    let mut watcher = notify::recommended_watcher(move |_: notify::Result<_>| {
        let look = || {
            reading.lock()?;
            let now = reading.metadata()?.len();
            reading.unlock()?;
            std::io::Result::Ok(now)
        };
        if let Ok(now) = look()
            && std::mem::replace(&mut length, now) != now
        {
            // Nobody waits any more when the measurement is over.
            let _over = wakes.send(Instant::now());
        }
    })?;
    watcher.watch(path, RecursiveMode::NonRecursive)?;
    measure(count, &woken, || {
        writing.lock()?;
        log.write_all(&[b'x'; 100])?;
        log.sync_data()?;
        // From here on it may be seen.
        let flushed = Instant::now();
        writing.unlock()?;
        Ok(flushed)
    })
}

/// A message is published; another connection is subscribed to its channel.
pub(crate) fn redis(url: &str, count: u64) -> Result<Vec<Duration>> {
    let client = ::redis::Client::open(url)?;
    let mut subscriber = client.get_connection()?;
    let (wakes, woken) = unbounded();
    let (ready, is_ready) = unbounded();
    std::thread::spawn(move || -> Result<()> {
        let mut channel = subscriber.as_pubsub();
        channel.subscribe("task")?;
        ready.send(())?;
        loop {
            channel.get_message()?;
            wakes.send(Instant::now())?;
        }
    });
    is_ready.recv()?;
    let mut publisher = client.get_connection()?;
    measure(count, &woken, || {
        ::redis::cmd("PUBLISH")
            .arg("task")
            .arg("1")
            .exec(&mut publisher)?;
        Ok(Instant::now())
    })
}

/// A notification is committed; another connection listens.
pub(crate) fn postgres(url: &str, count: u64) -> Result<Vec<Duration>> {
    let mut listener = Client::connect(url, NoTls)?;
    listener.batch_execute("LISTEN task")?;
    let (wakes, woken) = unbounded();
    std::thread::spawn(move || -> Result<()> {
        let mut notifications = listener.notifications();
        let mut heard = notifications.blocking_iter();
        while heard.next()?.is_some() {
            wakes.send(Instant::now())?;
        }
        Ok(())
    });
    let mut notifier = Client::connect(url, NoTls)?;
    measure(count, &woken, || {
        notifier.batch_execute("NOTIFY task")?;
        Ok(Instant::now())
    })
}
