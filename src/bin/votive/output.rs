//! What goes to standard output: one report per command, as text for people or as JSON for programs.

use std::fmt::Display;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::exit::{Exit, Failure};

/// Prints a report: its `Display` for people, or one line of JSON for programs.
pub(crate) fn print(report: &(impl Serialize + Display), json: bool) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if json {
        serde_json::to_writer(&mut out, report)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        write!(out, "{report}")
    };
    written.and_then(|()| out.flush()).map_err(unwritten)
}

/// A reader that has seen enough, such as `head`, is no failure.
fn unwritten(error: io::Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::BrokenPipe => Exit::Ok,
        _ => Exit::Failed,
    };
    Failure::because("the result could not be written", error).exiting(exit)
}

/// Asks a person at a terminal; where there is none, only `--yes` will do.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let message = format!("{question} Nothing changed: add --yes to confirm");
        return Err(Failure::new(Exit::Usage, message));
    }
    let answer = ask(question).map_err(|error| Failure::because("nobody answered", error))?;
    match answer.trim() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "not confirmed; nothing changed")),
    }
}

fn ask(question: &str) -> io::Result<String> {
    let mut terminal = io::stderr();
    write!(terminal, "{question} [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}
