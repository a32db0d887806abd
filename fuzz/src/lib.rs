//! The loop around every fuzz target: mutates the seeds of a corpus, runs the check on each input, and
//! keeps the inputs that showed something new.
//!
//! ```text
//! TARGET [--seconds N] [--seed N]    fuzz for a while
//! TARGET FILE…                       run the check on these inputs only
//! ```

pub mod faulty;
mod mutate;

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// What an input showed: inputs with a new one are mutated further. Stands in for the coverage that
/// the stable compiler does not give.
pub type Signature = u64;

/// Makes a signature of anything.
pub fn signature(shown: impl Hash) -> Signature {
    let mut hasher = DefaultHasher::new();
    shown.hash(&mut hasher);
    hasher.finish()
}

struct Settings {
    seconds: u64,
    seed: u64,
    files: Vec<PathBuf>,
}

impl Settings {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            seconds: 30,
            seed: fastrand::u64(..),
            files: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let text = arguments.next().unwrap_or_default();
                text.parse()
                    .map_err(|_| format!("{argument} needs a number, not `{text}`"))
            };
            match argument.as_str() {
                "--seconds" => settings.seconds = number()?,
                "--seed" => settings.seed = number()?,
                _ => settings.files.push(argument.into()),
            }
        }
        Ok(settings)
    }
}

/// Runs `check` on inputs for as long as the command line says. A check fails by panicking.
///
/// The failing input is written to `artifacts/`.
pub fn run(target: &str, check: impl Fn(&[u8]) -> Signature) -> ExitCode {
    let result = Settings::parse(std::env::args().skip(1)).and_then(|settings| {
        if settings.files.is_empty() {
            fuzz(target, &settings, &check)
        } else {
            replay(&settings.files, &check)
        }
    });
    match result {
        Ok(summary) => {
            println!("{target}: {summary}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{target}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn replay(files: &[PathBuf], check: &impl Fn(&[u8]) -> Signature) -> Result<String, String> {
    for file in files {
        passes(&read(file)?, check).map_err(|()| format!("{} fails", file.display()))?;
    }
    Ok(format!("{} inputs pass", files.len()))
}

fn fuzz(
    target: &str,
    settings: &Settings,
    check: &impl Fn(&[u8]) -> Signature,
) -> Result<String, String> {
    println!(
        "{target}: {} s with --seed {}",
        settings.seconds, settings.seed
    );
    let mut pool = corpus(target)?;
    let seeds = pool.len();
    let (mut seen, mut count, mut rng) = (HashSet::new(), 0_u64, Rng::with_seed(settings.seed));
    #[expect(clippy::disallowed_methods, reason = "a fuzz target runs for a time")]
    let (started, limit) = (Instant::now(), Duration::from_secs(settings.seconds));
    while started.elapsed() < limit || count < seeds as u64 {
        let next = usize::try_from(count)
            .ok()
            .and_then(|index| pool.get(index).filter(|_| index < seeds));
        let input = next
            .cloned()
            .unwrap_or_else(|| mutate::mutant(&pool, &mut rng));
        let shown = passes(&input, check).map_err(|()| keep(target, &input))?;
        if seen.insert(shown) && count >= seeds as u64 {
            pool.push(input);
        }
        count += 1;
    }
    Ok(format!(
        "{count} inputs pass, which showed {} different things",
        seen.len()
    ))
}

fn passes(input: &[u8], check: &impl Fn(&[u8]) -> Signature) -> Result<Signature, ()> {
    panic::catch_unwind(AssertUnwindSafe(|| check(input))).map_err(drop)
}

fn folder(name: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(name)
        .join(target)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// The seeds of a target, in the order of their names. A target without any is a mistake.
fn corpus(target: &str) -> Result<Vec<Vec<u8>>, String> {
    let folder = folder("corpus", target);
    let failed = |error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(&folder).map_err(failed)?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    files.sort();
    if files.is_empty() {
        return Err(format!("{} has no seeds", folder.display()));
    }
    files.iter().map(|file| read(file)).collect()
}

/// Writes an input that fails to `artifacts/`, and says so.
fn keep(target: &str, input: &[u8]) -> String {
    let folder = folder("artifacts", target);
    let file = folder.join(format!("{:016x}", signature(input)));
    match fs::create_dir_all(&folder).and_then(|()| fs::write(&file, input)) {
        Ok(()) => format!("fails on {}", file.display()),
        Err(error) => format!("fails on {input:?}, which could not be kept: {error}"),
    }
}
