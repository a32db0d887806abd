//! The main job on real input: files become documents, each in one transaction with the task that
//! indexes it, and four workers build a full-text index, each task in one transaction with its own
//! completion. At the end the databases prove that nothing was lost and nothing doubled.
//!
//! `cargo run --example indexer -- --help` says what else it does.

mod application;
mod arguments;
mod indexing;
mod kill;
mod proof;
mod sections;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rusqlite::Connection;
use votive::consumer::{Consumer, Running};
use votive::handler::{Context, Registry};
use votive::queue;
use votive::txn::BoxError;

use application::{Application, Rejected};
use arguments::{Arguments, USAGE};
use indexing::Index;
use proof::Proof;

type Result<T> = std::result::Result<T, BoxError>;

/// Where the databases are.
const FOLDER: &str = "target/indexer";

fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    if let Some(words) = &arguments.search {
        return search(&Connection::open(folder.join("documents.db"))?, words);
    }
    if !arguments.child && folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    if let Some(kills) = arguments.kill {
        kill::run(kills, &arguments.of_child(), || afresh(&arguments, &folder))?;
    }
    job(&arguments, &folder)
}

/// Proves the work that is done, and removes it.
fn afresh(arguments: &Arguments, folder: &Path) -> Result<()> {
    let application = Application::open(folder, arguments.layout)?;
    prove(&Proof::read(
        &application.reader()?,
        &**application.queue.store(),
    )?)?;
    drop(application);
    Ok(fs::remove_dir_all(folder)?)
}

/// Does the whole job and proves it.
fn job(arguments: &Arguments, folder: &Path) -> Result<()> {
    let application = Application::open(folder, arguments.layout)?;
    // Whoever was killed before is gone: there is nobody to leave time to.
    queue::recover_older_than(
        application.queue.store(),
        &application.manager,
        Duration::ZERO,
    )?;
    let (indexed, done) = mpsc::channel();
    let running = consume(&application, indexed)?;
    let files = files(&arguments.path)?;
    let bar = progress(files.len(), arguments.child);
    let summary = produce(&application, &arguments.path, &files)?;
    let proof = finish(&application, &done, &bar)?;
    let stats = running.stop().stats;
    if arguments.child {
        return Ok(());
    }
    println!("{summary}");
    println!("{} conflicts between workers, all retried", stats.conflicts);
    let reader = application.reader()?;
    search(&reader, "transaction")?;
    println!("try: cargo run --example indexer -- --search \"savepoint rollback\"");
    prove(&proof)
}

fn prove(proof: &Proof) -> Result<()> {
    println!("{proof}");
    if proof.holds() {
        Ok(())
    } else {
        Err("the proof does not hold".into())
    }
}

/// Starts four workers.
fn consume(application: &Application, indexed: mpsc::Sender<()>) -> Result<Running> {
    let database = application.index.clone();
    let mut registry = Registry::new();
    registry.register(
        move |task: Index, context: &mut Context<'_>| -> Result<()> {
            indexing::index(&database, &task, context)?;
            // Whoever watches may have gone; the task does not depend on it.
            let _watched = indexed.send(());
            Ok(())
        },
    )?;
    let running = Consumer::builder(application.queue.store().clone(), registry)
        .manager(application.manager.clone())
        .name("indexer")
        .queue(application.queue.name())
        .concurrent_limit(4)
        .retry_max_count(100)
        // With `--kill` it is never the task's fault that its consumer dies.
        .reclaims_max(u32::MAX)
        .start()?;
    Ok(running)
}

/// Makes documents of the files that are not documents yet.
fn produce(application: &Application, root: &Path, files: &[PathBuf]) -> Result<String> {
    let reader = application.reader()?;
    let (mut kept, mut rolled_back, mut not_text, mut duplicates) = (0, 0, 0, 0);
    for file in files {
        let name = file
            .strip_prefix(root)
            .unwrap_or(file)
            .display()
            .to_string();
        if application::knows(&reader, &name)? {
            continue;
        }
        match application.take(file, &name)? {
            Ok(taken) => {
                kept += taken.kept;
                rolled_back += taken.rolled_back;
            }
            Err(Rejected::NotText) => not_text += 1,
            Err(Rejected::Duplicate) => duplicates += 1,
        }
    }
    Ok(format!(
        "{} files: {kept} sections kept, {rolled_back} rolled back; \
         {not_text} files aborted as not UTF-8, {duplicates} as duplicates",
        files.len(),
    ))
}

/// Waits until the last task is done, and reads the proof.
fn finish(
    application: &Application,
    done: &mpsc::Receiver<()>,
    bar: &ProgressBar,
) -> Result<Proof> {
    let reader = application.reader()?;
    loop {
        let proof = Proof::read(&reader, &**application.queue.store())?;
        bar.set_length(proof.committed.cast_unsigned());
        bar.set_position(proof.indexed.cast_unsigned());
        if proof.left == 0 {
            bar.finish_and_clear();
            return Ok(proof);
        }
        // A tick of a handler, or the next look: which of them does not matter.
        let _tick = done.recv_timeout(Duration::from_millis(100));
    }
}

fn progress(length: usize, hidden: bool) -> ProgressBar {
    let bar = if hidden {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(length as u64)
    };
    let style = ProgressStyle::with_template("indexing {bar:40} {pos}/{len} documents, {per_sec}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Lists the files below `root`, leaving out hidden folders and what builds leave behind.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let skipped = name.to_string_lossy().starts_with('.') || name == "target";
            match entry.file_type()? {
                kind if kind.is_dir() && !skipped => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Prints the best matches.
fn search(reader: &Connection, words: &str) -> Result<()> {
    println!("search for `{words}`:");
    let mut statement = reader.prepare(
        "SELECT path, heading, snippet(search, 2, '[', ']', '…', 8) FROM search
         WHERE search MATCH ?1 ORDER BY rank LIMIT 5",
    )?;
    let mut rows = statement.query([words])?;
    while let Some(row) = rows.next()? {
        let (path, heading, snippet): (String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        println!("  {path}: {heading}\n      {}", snippet.replace('\n', " "));
    }
    Ok(())
}
