//! Signals: what the operating system, and whoever runs the process, ask of it.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To stop: SIGTERM or SIGINT.
    Stop,
    /// To open the log file anew: SIGHUP.
    Reopen,
}

/// The signals that came and were not looked at yet. Several of one kind count as one.
pub(super) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Begins to listen; from now on no signal ends the process by itself.
    pub(super) fn listen() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let signals = [SIGTERM, SIGINT, SIGHUP];
        SignalDelivery::with_pipe(read, write, SignalOnly, signals).map(Self)
    }

    /// Waits for signals, at most so long.
    pub(super) fn wait(&mut self, longest: Option<Duration>) -> io::Result<Vec<Asked>> {
        let read = self.0.get_read_mut();
        read.set_read_timeout(longest)?;
        match read.read(&mut [0]) {
            Err(error) if !is_usual(&error) => Err(error),
            Ok(_) | Err(_) => Ok(self.pending()),
        }
    }

    /// Returns what came since the last look.
    pub(super) fn pending(&mut self) -> Vec<Asked> {
        let asked = |signal| match signal {
            SIGHUP => Asked::Reopen,
            _ => Asked::Stop,
        };
        self.0.pending().map(asked).collect()
    }
}

fn is_usual(error: &io::Error) -> bool {
    use ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
