//! The file store beside a plain file that is appended to and flushed, and what a large backlog takes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, unbounded};
use notify::{RecursiveMode, Watcher};
use votive::consumer::Consumer;
use votive::handler::{Context, Registry};
use votive::queue::Queue;
use votive::store::Store;
use votive::store::file::{FileStore, Options};
use votive::txn::TransactionManager;

use crate::report::Run;
use crate::setting::{Noop, Result, Setting, preload};
use crate::{Pair, claims, own, print_latencies};

/// How long two commits are apart where latency is measured.
const PAUSE: Duration = Duration::from_millis(20);

/// The arguments with which this program does one thing as another process.
const WEIGH: &str = "--weigh";
const PRODUCE: &str = "--produce";
const APPEND: &str = "--append";

/// The pieces of work.
pub(crate) const PAIRS: &[Pair] = &[
    Pair {
        name: "file one per txn, queue alone",
        raw_name: "append 100 bytes + fdatasync",
        goal: Some(0.8),
        raw: |setting| appended(setting, setting.transactions, 1),
        own: |setting| {
            let work = own::batches(store(&setting.fresh()?)?, setting.transactions, 1)?;
            setting.measure(setting.transactions, work)
        },
    },
    Pair {
        name: "file one per txn, 16 producers",
        raw_name: "a lone producer of ours",
        goal: Some(4.0),
        raw: |setting| {
            let work = own::batches(store(&setting.fresh()?)?, setting.transactions, 1)?;
            setting.measure(setting.transactions, work)
        },
        own: |setting| {
            let work = own::producers(store(&setting.fresh()?)?, 16, setting.tasks / 2)?;
            setting.measure(setting.tasks / 2, work)
        },
    },
    Pair {
        name: "file 100 per txn",
        raw_name: "append 100 times 100 bytes + fdatasync",
        goal: None,
        raw: |setting| appended(setting, setting.tasks, 100),
        own: |setting| {
            let work = own::batches(store(&setting.fresh()?)?, setting.tasks, 100)?;
            setting.measure(setting.tasks, work)
        },
    },
    Pair {
        name: "file drain, 4 workers",
        raw_name: "append 100 times 100 bytes + fdatasync",
        goal: None,
        raw: |setting| appended(setting, setting.tasks, 100),
        own: |setting| {
            let work = own::drain(store(&setting.fresh()?)?, 4, setting.tasks)?;
            setting.measure(setting.tasks, work)
        },
    },
    Pair {
        name: "file claim + settle at 1k : at 1M",
        raw_name: "the same at the largest backlog",
        goal: None,
        raw: |setting| claims(store(&setting.fresh()?)?, setting.backlog_max, setting),
        own: |setting| claims(store(&setting.fresh()?)?, 1_000, setting),
    },
];

fn appended(setting: &Setting, count: u64, size: usize) -> Result<Run> {
    let folder = setting.fresh()?;
    setting.measure(count, || append(&folder, count, size))
}

/// Opens a store in `folder`.
fn store(folder: &Path) -> Result<Arc<dyn Store>> {
    let store = FileStore::open(folder.join("queue"), Options::default())?;
    Ok(Arc::new(store))
}

/// Appends `count` payloads of 100 bytes to a file, and flushes after every `size`.
fn append(folder: &Path, count: u64, size: usize) -> Result<()> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(folder.join("raw"))?;
    let payloads = vec![b'x'; 100 * size];
    for _ in 0..count / size as u64 {
        file.write_all(&payloads)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Does what another process of this bench asked for; `false` if none did.
pub(crate) fn is_asked(arguments: &[String]) -> Result<bool> {
    let Some([what, folder, rest @ ..]) = arguments
        .iter()
        .position(|argument| [WEIGH, PRODUCE, APPEND].contains(&argument.as_str()))
        .and_then(|at| arguments.get(at..))
    else {
        return Ok(false);
    };
    let (folder, count) = (Path::new(folder), rest.first().map(|count| count.parse()));
    let count: u64 = count.transpose()?.unwrap_or(0);
    match what.as_str() {
        WEIGH => weigh(folder)?,
        PRODUCE => produce(folder, count)?,
        _ => write(folder, count)?,
    }
    Ok(true)
}

fn ask(what: &str, folder: &Path, count: u64) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(what).arg(folder).arg(count.to_string());
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

/// What a child prints: a number a line.
fn numbers(child: &mut Child) -> Result<Vec<f64>> {
    let output = child.stdout.take().ok_or("a child without output")?;
    let lines = BufReader::new(output).lines();
    let numbers = lines.map(|line| Ok(line?.parse::<f64>()?));
    let numbers = numbers.collect::<Result<Vec<_>>>()?;
    child.wait()?;
    Ok(numbers)
}

/// How long a large backlog takes to open, and how much memory.
pub(crate) fn backlog(setting: &Setting) -> Result<()> {
    let folder = setting.fresh()?;
    let filled = store(&folder)?;
    preload(&filled, &TransactionManager::new(), setting.backlog_max)?;
    drop(filled);
    let found = numbers(&mut ask(WEIGH, &folder, 0)?)?;
    let [seconds, bytes] = found[..] else {
        return Err("a child that says nothing".into());
    };
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let count = setting.backlog_max as f64;
    println!(
        "file backlog of {count}: opened in {seconds:.2} s, {:.0} bytes of memory for each task",
        bytes / count
    );
    Ok(())
}

fn weigh(folder: &Path) -> Result<()> {
    let (before, start) = (resident()?, Instant::now());
    let opened = store(folder)?;
    println!("{}", start.elapsed().as_secs_f64());
    println!("{}", resident()? - before);
    drop(opened);
    Ok(())
}

/// How many bytes of memory this process has.
fn resident() -> Result<u64> {
    let counts = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = counts.split(' ').nth(1).ok_or("no pages")?.parse()?;
    Ok(pages * 4_096)
}

/// The time now, in milliseconds, alike in all processes.
fn now() -> Result<f64> {
    Ok(SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs_f64()
        * 1e3)
}

/// Commits now and then, and prints when each commit returned.
fn produce(folder: &Path, count: u64) -> Result<()> {
    let (queue, manager) = (
        Queue::new(store(folder)?, "default")?,
        TransactionManager::new(),
    );
    for _ in 0..count {
        std::thread::sleep(PAUSE);
        let mut txn = manager.begin()?;
        queue.enqueue(&mut txn, &Noop::new())?;
        txn.commit()?;
        println!("{}", now()?);
    }
    Ok(())
}

/// Appends now and then, and prints when each append returned.
fn write(folder: &Path, count: u64) -> Result<()> {
    for _ in 0..count {
        std::thread::sleep(PAUSE);
        let mut file = File::options().append(true).open(folder.join("raw"))?;
        file.write_all(b"x")?;
        println!("{}", now()?);
    }
    Ok(())
}

/// From the return of a commit in one process to the start of the task in another, beside the kernel's
/// word that a file was written to.
pub(crate) fn latency(setting: &Setting) -> Result<()> {
    let count = (setting.transactions / 20).max(5);
    print_latencies(
        "file commit-to-start across processes",
        &across(&setting.fresh()?, count)?,
    );
    print_latencies(
        "raw append to the kernel's word of it",
        &kernel(&setting.fresh()?, count)?,
    );
    Ok(())
}

fn across(folder: &Path, count: u64) -> Result<Vec<f64>> {
    let (started, starts) = unbounded();
    let mut registry = Registry::new();
    registry.register(move |_: Noop, _: &mut Context<'_>| -> Result<()> {
        Ok(started.send(now()?)?)
    })?;
    let running = Consumer::builder(store(folder)?, registry)
        .queue("default")
        .start()?;
    let committed = numbers(&mut ask(PRODUCE, folder, count)?)?;
    let latencies = after_each(&committed, &starts)?;
    running.stop();
    Ok(latencies)
}

fn kernel(folder: &Path, count: u64) -> Result<Vec<f64>> {
    let file = folder.join("raw");
    fs::write(&file, b"")?;
    let (told, words) = unbounded();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if let (Ok(event), Ok(now)) = (event, now())
            && event.kind.is_modify()
        {
            // Whoever measures may have heard enough.
            told.send(now).unwrap_or_default();
        }
    })?;
    watcher.watch(&file, RecursiveMode::NonRecursive)?;
    let appended = numbers(&mut ask(APPEND, folder, count)?)?;
    after_each(&appended, &words)
}

/// How long after each instant the next of `others` was, or before it: the kernel does not wait for a
/// call to return.
fn after_each(instants: &[f64], others: &Receiver<f64>) -> Result<Vec<f64>> {
    let other = || others.recv_timeout(Duration::from_secs(10));
    instants
        .iter()
        .map(|at| Ok((other()? - at).max(0.0)))
        .collect()
}

/// How much of a core a consumer takes that has nothing to do.
pub(crate) fn idle(setting: &Setting) -> Result<()> {
    let share = own::idle(store(&setting.fresh()?)?, setting.idle)?;
    println!("file idle consumer: {:.2} % of a core", share * 100.0);
    Ok(())
}
