//! What the page for those who come from other systems claims: each row names a test or a file that is there.
#![cfg(test)]

use std::collections::BTreeSet;

use crate::source;

/// What every row must have: what was there, what is here, and what shows it.
const COLUMNS: usize = 3;

/// The code in backticks of a cell.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The cells of a row of a table; none of any other line, of a heading or of the line below it.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<_> = inner.split('|').map(str::trim).collect();
    let is_heading = cells[0] == "there" || cells[0].starts_with("---");
    (!is_heading).then_some(cells)
}

/// The names of all functions of tests, of the suite for stores, and of the product's own tests.
fn functions() -> BTreeSet<String> {
    let files = [
        source::files("src", "rs"),
        source::files("tests", "rs"),
        source::files("crates", "rs"),
    ]
    .concat();
    let named = files.iter().flat_map(|file| {
        let after = file.code.split("fn ").skip(1);
        after.filter_map(|item| item.split(['(', '<']).next())
    });
    named.map(str::to_owned).collect()
}

fn is_there(name: &str, functions: &BTreeSet<String>) -> bool {
    let path = source::root().join(name);
    let is_file = name.contains('/') && (path.exists() || path.with_extension("rs").exists());
    is_file || functions.contains(name)
}

/// What is wrong with a row.
fn complaint(line: &str, functions: &BTreeSet<String>) -> Option<String> {
    let cells = cells(line)?;
    if cells.len() != COLUMNS || cells.iter().any(|cell| cell.is_empty()) {
        return Some(format!("not {COLUMNS} full cells: {line}"));
    }
    let shown = quoted(cells[2]);
    let missing = shown.iter().find(|name| !is_there(name, functions));
    match missing {
        Some(name) => Some(format!("there is no `{name}`: {line}")),
        None if shown.is_empty() => Some(format!("nothing shows it: {line}")),
        None => None,
    }
}

#[test]
fn every_row_is_full_and_names_what_shows_it() {
    let page = source::read(&source::root().join("docs/coming-from.md"));
    let functions = functions();
    let rows = page.text.lines().filter(|line| cells(line).is_some());
    assert!(rows.count() > 80);
    let lines = page.text.lines();
    let complaints: Vec<_> = lines
        .filter_map(|line| complaint(line, &functions))
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_row_that_is_empty_or_shown_by_nothing_is_seen() {
    let functions = BTreeSet::from(["a_test".to_owned()]);
    let is_fine = |line| complaint(line, &functions).is_none();
    assert!(is_fine("| a | b | `a_test`, `tests/architecture.rs` |"));
    assert!(is_fine("| there | here | shown by |") && is_fine("some text"));
    assert!(!is_fine("| a | b | `another_test` |"));
    assert!(!is_fine("| a |  | `a_test` |"));
    assert!(!is_fine("| a | b | it is |"));
}
