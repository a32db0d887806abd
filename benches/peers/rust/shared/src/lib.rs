//! What every Rust peer shares: its arguments come from the environment, its figure goes to standard output.

use std::env;
use std::error::Error;
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Result of a peer.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What is to be done.
#[derive(Debug)]
pub struct Asked {
    /// `W1` or `W3`.
    pub work: String,
    /// What else the command line says.
    pub words: Vec<String>,
    /// Tasks.
    pub count: u64,
    /// Where files may be written.
    pub folder: String,
    /// The server.
    pub url: String,
    time_max: Duration,
    stat: String,
}

impl Asked {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// If something is missing.
    pub fn read() -> Result<Self> {
        let mut words: Vec<String> = env::args().skip(1).collect();
        Ok(Self {
            work: words.remove(0),
            words,
            count: env::var("PEER_COUNT")?.parse()?,
            folder: env::var("PEER_FOLDER")?,
            url: env::var("PEER_URL")?,
            time_max: Duration::from_secs_f64(env::var("PEER_SECONDS")?.parse()?),
            stat: env::var("PEER_FLUSHES")?,
        })
    }

    /// The number that the command line ends with, or 1.
    #[must_use]
    pub fn size(&self) -> usize {
        let last = self.words.last();
        last.and_then(|word| word.parse().ok()).unwrap_or(1)
    }

    /// Flush requests of the block device until now.
    fn flushes(&self) -> Result<u64> {
        let stat = fs::read_to_string(&self.stat)?;
        Ok(stat
            .split_whitespace()
            .nth(15)
            .ok_or("no flushes")?
            .parse()?)
    }
}

/// Tasks that are done, from the first to the last.
#[derive(Debug)]
pub struct Meter {
    asked: Asked,
    begun: Mutex<Option<(Instant, u64)>>,
    done: Mutex<(u64, Option<Instant>)>,
}

impl Meter {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(asked: Asked) -> Self {
        Self {
            asked,
            begun: Mutex::new(None),
            done: Mutex::new((0, None)),
        }
    }

    /// What is to be done.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The clock starts, if it has not.
    ///
    /// # Panics
    /// If a thread panicked here, or flushes cannot be read.
    pub fn begin(&self) {
        let mut begun = self.begun.lock().expect("nobody panics");
        if begun.is_none() {
            let flushes = self.asked.flushes().expect("a block device");
            *begun = Some((Instant::now(), flushes));
        }
    }

    /// One task more is done.
    ///
    /// # Panics
    /// As [`begin`](Self::begin).
    pub fn tick(&self) {
        self.begin();
        let mut done = self.done.lock().expect("nobody panics");
        *done = (done.0 + 1, Some(Instant::now()));
    }

    /// Whether all are done, or the time is over.
    ///
    /// # Panics
    /// If a thread panicked here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let begun = *self.begun.lock().expect("nobody panics");
        let is_late = begun.is_some_and(|(at, _)| at.elapsed() > self.asked.time_max);
        is_late || self.done.lock().expect("nobody panics").0 >= self.asked.count
    }

    /// Waits until it is over, tells the figure, and ends the process.
    ///
    /// # Errors
    /// If nothing was done.
    pub async fn finish(&self) -> Result<()> {
        while !self.is_over() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let (begun, before) = self
            .begun
            .lock()
            .expect("nobody panics")
            .ok_or("nothing began")?;
        let (count, last) = *self.done.lock().expect("nobody panics");
        let seconds = last
            .ok_or("nothing was done")?
            .duration_since(begun)
            .as_secs_f64();
        let each = |n: u64| n as f64 / count as f64;
        let flushes = each(self.asked.flushes()? - before);
        println!(
            "{}",
            serde_json::json!({ "value": count as f64 / seconds, "flushes": flushes })
        );
        std::process::exit(0);
    }
}

/// 100 bytes.
#[must_use]
pub fn payload() -> String {
    "x".repeat(100)
}
