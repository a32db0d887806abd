//! The `votive` command line: looks into stores, and puts right what people have to put right.
//!
//! Parse low, resolve high: `args` says only what was typed; what it means is worked out in `target`,
//! `selection` and `commands`. Everything is done through votive's public API.

mod application;
mod args;
mod commands;
mod exit;
mod output;
mod selection;
mod status;
mod table;
mod target;
mod view;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{Args, Global};
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    let args = Args::parse();
    listen(&args.global);
    let exit = match commands::run(&args) {
        Ok(exit) => exit,
        Err(failure) => report(&failure, args.global.json),
    };
    exit.into()
}

/// Sends the library's own log to standard error: warnings for people, nothing for programs, which
/// read errors there, and more for whoever asks.
fn listen(global: &Global) {
    let level = match (global.verbose, global.json) {
        (0, true) => LevelFilter::OFF,
        (0, false) => LevelFilter::WARN,
        (1, _) => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
}

/// Tells standard error what failed, with the whole chain of causes.
fn report(failure: &Failure, json: bool) -> Exit {
    if failure.exit == Exit::Ok {
        return Exit::Ok;
    }
    let text = if json {
        failure.to_json()
    } else {
        failure.to_text()
    };
    // If standard error is closed too there is nobody left to tell but the caller, by the exit code.
    match writeln!(io::stderr(), "{text}") {
        Ok(()) | Err(_) => failure.exit,
    }
}
