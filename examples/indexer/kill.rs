//! `--kill`: runs the job as a child process that is killed at random points, again and again, and
//! lets the last one finish. What it leaves behind must be what an undisturbed run leaves behind.

use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use votive::id::Incarnation;

/// Runs `kills` children that are killed, then returns; the caller finishes the job.
pub(crate) fn run(kills: u32, arguments: &[String]) -> Result<u32, Box<dyn Error + Send + Sync>> {
    let mut killed = 0;
    for round in 1..=kills {
        let delay = Duration::from_millis(20 + Incarnation::random().to_u64() % 400);
        let ended_early = run_once(arguments, delay)?;
        killed += u32::from(!ended_early);
        println!(
            "  round {round:>3}: {}",
            if ended_early { "finished" } else { "killed" }
        );
    }
    Ok(killed)
}

/// Starts a child and kills it after `delay`. Returns whether it had ended by itself before.
fn run_once(arguments: &[String], delay: Duration) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()?;
    wait(delay);
    let ended = child.try_wait()?;
    if let Some(status) = ended {
        return if status.success() {
            Ok(true)
        } else {
            Err(format!("a child {status}").into())
        };
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// Waits; nothing is ever sent.
fn wait(delay: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    assert!(
        receiver.recv_timeout(delay).is_err(),
        "nothing is ever sent"
    );
}
