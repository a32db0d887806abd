//! The `consume` command: starts the consumers, says so, and does what signals ask until they say stop.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sd_notify::NotifyState;

use super::error::SettingsError;
use super::exit::Exit;
use super::log::{self, LogFile};
use super::opened::Consumers;
use super::settings::Settings;
use super::signals::{Asked, Signals};
use crate::consumer::Builder;
use crate::handler::Registry;

/// Consumes until a signal says to stop.
pub(super) fn serve(
    settings: &Settings,
    registry: Arc<Registry>,
    adjust: impl Fn(Builder) -> Builder,
) -> Result<Exit, SettingsError> {
    if let Some(place) = &settings.consume {
        say(&format!("not a consumer: {place} says so"));
        return Ok(Exit::Ok);
    }
    let mut signals = Signals::listen().map_err(SettingsError::Signals)?;
    let log = log::begin(settings)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let consumers = settings.open()?.start(registry, adjust)?;
    ready(&consumers);
    attend(&mut signals, &consumers, log.as_deref()).map_err(SettingsError::Signals)?;
    Ok(stop(signals, consumers, log.as_deref()))
}

/// Says that the consumers are there, to people and to the service manager.
fn ready(consumers: &Consumers) {
    let lines = consumers
        .running()
        .iter()
        .map(|running| running.banner().line());
    let lines: Vec<String> = lines.collect();
    say(&format!(
        "ready, process {}: {}",
        std::process::id(),
        lines.join("; ")
    ));
    tell(&[NotifyState::Ready, NotifyState::Status(&lines.join("; "))]);
}

/// Does what signals ask, and keeps the service manager's watchdog quiet, until a stop is asked for.
fn attend(signals: &mut Signals, consumers: &Consumers, log: Option<&LogFile>) -> io::Result<()> {
    let watchdog = sd_notify::watchdog_enabled().map(|timeout| timeout / 3);
    let pause = watchdog.map(|pause| pause.max(Duration::from_millis(1)));
    loop {
        for asked in signals.wait(pause)? {
            match (asked, log) {
                (Asked::Stop, _) => return Ok(()),
                (Asked::Reopen, Some(log)) => log.reopen(),
                (Asked::Reopen, None) => tracing::info!("there is no log file to open anew"),
            }
        }
        if watchdog.is_none() {
            continue;
        }
        if consumers.are_alive() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a part of a consumer has no thread; the watchdog is not told");
        }
    }
}

fn stop(signals: Signals, consumers: Consumers, log: Option<&LogFile>) -> Exit {
    say("stopping");
    tell(&[NotifyState::Stopping]);
    let (signals, hurried) = (Mutex::new(signals), AtomicBool::new(false));
    let stopped = consumers.stop_hurried_by(|| {
        for asked in signals.lock().pending() {
            match asked {
                Asked::Stop if !hurried.swap(true, Ordering::Relaxed) => say("stopping at once"),
                Asked::Stop => {}
                Asked::Reopen => log.into_iter().for_each(LogFile::reopen),
            }
        }
        hurried.load(Ordering::Relaxed)
    });
    let exit = Exit::of_stop(&stopped);
    say(if exit == Exit::Ok {
        "stopped"
    } else {
        "stopped, but left tasks behind"
    });
    exit
}

/// Tells the service manager, if there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// Tells whoever started the process, in one line on standard error.
pub(super) fn say(text: &str) {
    // If standard error is closed there is nobody to tell; the log and the exit code remain.
    match writeln!(io::stderr(), "votive: {text}") {
        Ok(()) | Err(_) => {}
    }
}

/// Returns an error and its causes as one text.
pub(super) fn explain(error: &SettingsError) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    let causes = causes.map(|cause| format!("\n  because: {cause}"));
    format!("{error}{}", causes.collect::<String>())
}
