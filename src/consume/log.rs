//! The log of the `consume` command: to a file that can be opened anew, or to standard error.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::SettingsError;
use super::settings::Settings;

/// A log file that somebody may move away, and then has it opened anew.
pub(super) struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = Mutex::new(append(&path)?);
        Ok(Self { path, file })
    }

    /// Opens the file anew, by its name. If that fails, the log goes on where it went, and says so.
    pub(super) fn reopen(&self) {
        match append(&self.path) {
            Ok(file) => {
                *self.file.lock() = file;
                tracing::info!("the log goes on in a new file");
            }
            Err(error) => tracing::error!(%error, "the log file cannot be opened anew"),
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

impl Write for &LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.lock().flush()
    }
}

/// Begins to log as the settings say. An application that has its own subscriber keeps it, unless a log
/// file is asked for.
pub(super) fn begin(settings: &Settings) -> Result<Option<Arc<LogFile>>, SettingsError> {
    let log = tracing_subscriber::fmt().with_max_level(settings.log_level);
    let Some((path, place)) = &settings.logfile else {
        let terminal = io::stderr().is_terminal();
        let begun = log.with_writer(io::stderr).with_ansi(terminal).try_init();
        if begun.is_err() {
            tracing::debug!("the application's own log is kept");
        }
        return Ok(None);
    };
    let failed = |source| SettingsError::Log {
        place: place.to_string(),
        source,
    };
    let file = LogFile::open(path.clone()).map_err(|error| failed(error.into()))?;
    let file = Arc::new(file);
    let begun = log
        .with_writer(Arc::clone(&file))
        .with_ansi(false)
        .try_init();
    begun.map_err(failed)?;
    Ok(Some(file))
}
