//! Applications that are killed: one that does it right, and one that does not and is found out.
#![cfg(test)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use votive::id::Incarnation;
use votive::testing::{CrashError, CrashReport, CrashTest, compare, settle};

use crate::shop::Shop;

const FOLDER: &str = "VOTIVE_SHOP_FOLDER";
const CARELESS: &str = "VOTIVE_SHOP_CARELESS";

/// How many orders a process places.
const COUNT: usize = 40;

/// What the child process does; nothing in the parent.
#[test]
fn a_child_process_places_orders() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let is_careless = std::env::var_os(CARELESS).is_some();
    let shop = Shop::open(Path::new(&folder)).unwrap();
    let run = Incarnation::random();
    for number in 0..COUNT {
        let name = format!("{run}-{number}");
        if is_careless {
            shop.place_carelessly(&name).unwrap();
        } else {
            shop.place(&name).unwrap();
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn kill_again_and_again(rounds: usize, is_careless: bool) -> Result<CrashReport, CrashError> {
    let folder = tempfile::tempdir().unwrap();
    let program = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["crash::a_child_process_places_orders", "--exact"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null());
        if is_careless {
            command.env(CARELESS, "1");
        }
        command
    };
    CrashTest::new().rounds(rounds).run(program, || {
        let shop = Shop::open(folder.path())?;
        settle(&shop.store, &shop.manager)?;
        Ok(compare(shop.placed()?, shop.mailed()?))
    })
}

#[test]
fn an_application_that_enqueues_in_its_transaction_survives() {
    let report = kill_again_and_again(20, false).unwrap();
    assert!(report.killed > 0, "{report:?}");
}

#[test]
fn an_application_that_enqueues_after_its_commit_is_found_out() {
    match kill_again_and_again(1_000, true).unwrap_err() {
        CrashError::Broken { complaints, .. } => {
            assert!(
                complaints[0].ends_with("was committed, but not enqueued"),
                "{complaints:?}"
            );
        }
        error => panic!("{error}"),
    }
}

#[test]
fn a_program_that_fails_by_itself_or_is_never_killed_is_not_taken_for_a_success() {
    let shell = |script: &'static str| {
        move || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        }
    };
    let fine = || Ok(Vec::new());
    let failed = CrashTest::new().run(shell("exit 3"), fine).unwrap_err();
    assert!(
        matches!(failed, CrashError::Failed { round: 0, .. }),
        "{failed}"
    );
    let never = CrashTest::new()
        .rounds(0)
        .run(shell("true"), fine)
        .unwrap_err();
    assert!(
        matches!(never, CrashError::NeverKilled { rounds: 0, .. }),
        "{never}"
    );
}
