//! `--kill`: runs the job as a child process that is killed at random points, again and again. A child
//! that gets to the end all the same has its work proved, and the next one starts afresh.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use votive::id::Incarnation;
use votive::txn::BoxError;

/// Kills `kills` children, and calls `finished` whenever one got to the end.
pub(crate) fn run(
    kills: u32,
    arguments: &[String],
    finished: impl Fn() -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let mut killed = 0;
    while killed < kills {
        let delay = Duration::from_millis(50 + Incarnation::random().to_u64() % 1_000);
        if run_once(arguments, delay)? {
            println!("  a child finished before it could be killed");
            finished()?;
        } else {
            killed += 1;
            println!("  killed {killed} of {kills}, after {delay:?}");
        }
    }
    Ok(())
}

/// Starts a child and kills it after `delay`. Returns whether it had ended by itself before.
fn run_once(arguments: &[String], delay: Duration) -> Result<bool, BoxError> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()?;
    wait(delay);
    if let Some(status) = child.try_wait()? {
        return if status.success() {
            Ok(true)
        } else {
            Err(format!("a child: {status}").into())
        };
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// Waits; nothing is ever sent.
fn wait(delay: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    let _timed_out = receiver.recv_timeout(delay);
}
