//! The layer table: which module may import which.
#![cfg(test)]

use crate::source::{self, Source};

/// Modules, and what they may import beside themselves.
const LAYERS: &[(&str, &str)] = &[
    ("lib error", "*"),
    ("failpoint", ""),
    ("id time codec register", "base"),
    ("task", "base"),
    ("schedule", "time"),
    ("txn", "id time register"),
    ("store", "base task"),
    (
        "store::ledger store::rules store::notify store::line",
        "base task store",
    ),
    (
        "store::memory store::file",
        "base task store store::ledger store::notify store::line failpoint",
    ),
    (
        "store::sqlite store::postgres",
        "base task store store::rules store::notify store::line failpoint",
    ),
    ("store::* conformance", "base task store failpoint"),
    ("queue", "base task schedule txn store"),
    ("open", "base task txn store queue store::*"),
    ("resource", "base task txn store queue"),
    (
        "resource::rusqlite",
        "base task txn store queue store::sqlite failpoint",
    ),
    (
        "resource::postgres",
        "base task txn store queue store::postgres failpoint",
    ),
    (
        "resource::diesel",
        "base task txn store queue store::sqlite",
    ),
    (
        "resource::sqlx resource::seaorm",
        "base task txn store queue store::sqlite store::postgres",
    ),
    ("handler", "base task schedule txn queue"),
    (
        "consume testing",
        "base task txn store queue open resource handler consumer",
    ),
    (
        "consumer",
        "base task schedule txn store queue open resource handler",
    ),
];
const BASE: [&str; 4] = ["id", "time", "codec", "register"];

/// The row of `module`; one that names it goes before one with a `*`.
fn allowed(module: &str) -> Option<&'static str> {
    let row = |matches: &dyn Fn(&str) -> bool| {
        let names = |(row, _): &&(&str, &str)| row.split(' ').any(matches);
        LAYERS.iter().find(names).map(|(_, may)| *may)
    };
    row(&|name| name == module).or_else(|| row(&|name| covers(name, module)))
}

fn covers(word: &str, module: &str) -> bool {
    match word.strip_suffix('*') {
        Some(prefix) => module.starts_with(prefix),
        None => word == module || (word == "base" && BASE.contains(&module)),
    }
}

fn may_import(from: &str, to: &str) -> bool {
    from == to || allowed(from).is_some_and(|words| words.split(' ').any(|word| covers(word, to)))
}

/// The module path of a file below `src/`.
fn module_path(path: &str) -> Vec<&str> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    inner
        .split('/')
        .filter(|segment| *segment != "mod")
        .collect()
}

/// The row of the layer table that a module path belongs to.
fn unit(segments: &[&str], modules: &[String]) -> Option<String> {
    match segments {
        [outer @ ("store" | "resource"), inner, ..] => {
            let nested = format!("{outer}::{inner}");
            let is_own = nested != "store::url" && modules.contains(&nested);
            Some(if is_own { nested } else { (*outer).to_owned() })
        }
        [first, ..] => Some((*first).to_owned()),
        [] => None,
    }
}

/// The backends and the resources: what the table tells apart inside `store` and `resource`.
fn nested_modules(files: &[Source]) -> Vec<String> {
    let nested = files
        .iter()
        .filter_map(|file| match module_path(&file.path)[..] {
            ["store", backend] if file.path.ends_with("/mod.rs") => {
                Some(format!("store::{backend}"))
            }
            ["resource", database] => Some(format!("resource::{database}")),
            _ => None,
        });
    nested.collect()
}

/// Every path that `file` names, from the crate's root, with the line it is on.
fn imports<'a>(file: &'a Source, code: &'a str, children: &[String]) -> Vec<(usize, Vec<&'a str>)> {
    let own = module_path(&file.path);
    let mut found = Vec::new();
    for (start, word) in words(code) {
        let (base, tail) = match word {
            "crate" => (Vec::new(), &code[start + word.len()..]),
            "self" => (own.clone(), &code[start + word.len()..]),
            "super" => (parent(&own, &code[..start]), &code[start + word.len()..]),
            "use" if children.contains(&first_word(&code[start + 3..]).to_owned()) => {
                let child = code[start + 3..].trim_start();
                (
                    own.iter().copied().chain([first_word(child)]).collect(),
                    &child[first_word(child).len()..],
                )
            }
            _ => continue,
        };
        if tail.trim_start().starts_with("::") || word == "use" {
            let line = source::line_at(code, start);
            found.extend(expand(&base, tail).into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// The module that the last of a row of `super::` stands for.
fn parent<'a>(own: &[&'a str], before: &str) -> Vec<&'a str> {
    let earlier = before.split_whitespace().next_back().unwrap_or("");
    let climbs = 1 + earlier
        .rsplit("::")
        .skip(1)
        .take_while(|word| word.ends_with("super"))
        .count();
    own[..own.len().saturating_sub(climbs)].to_vec()
}

/// The words of `code` and where they start.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + code[rest..].find(is_word)?;
        let length = code[start..]
            .find(|letter| !is_word(letter))
            .unwrap_or(code.len() - start);
        rest = start + length;
        Some((start, &code[start..rest]))
    })
}

fn first_word(code: &str) -> &str {
    words(code)
        .next()
        .filter(|(start, _)| code[..*start].trim().is_empty())
        .map_or("", |(_, word)| word)
}

/// The paths of the use-tree whose first part is `base` and whose rest is `tail`.
fn expand<'a>(base: &[&'a str], tail: &'a str) -> Vec<Vec<&'a str>> {
    let Some(next) = tail.trim_start().strip_prefix("::").map(str::trim_start) else {
        return vec![base.to_vec()];
    };
    let step = |branch: &'a str| {
        let word = first_word(branch);
        let after = &branch.trim_start()[word.len()..];
        expand(&[base, &[word]].concat(), after)
    };
    if let Some(group) = next.strip_prefix('{') {
        return branches(group).into_iter().flat_map(step).collect();
    }
    match first_word(next) {
        "super" => Vec::new(),
        "" => vec![base.to_vec()],
        _ => step(next),
    }
}

/// The branches of a group whose opening brace was just read.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_usize, 0, Vec::new());
    for (offset, letter) in group.char_indices() {
        match letter {
            ',' if depth == 0 => {
                found.push(&group[start..offset]);
                start = offset + 1;
            }
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&group[start..offset]);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found.retain(|branch| !branch.trim().is_empty());
    found
}

/// What is wrong with the imports of `files`, a line each.
fn violations(files: &[Source]) -> Vec<String> {
    let nested = nested_modules(files);
    let modules: Vec<_> = files
        .iter()
        .map(|file| module_path(&file.path).join("::"))
        .collect();
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.in_folder("src/bin/")) {
        let own = module_path(&file.path);
        let Some(from) = unit(&own, &nested) else {
            continue;
        };
        if allowed(&from).is_none() {
            found.push(format!("{}: `{from}` is not in the layer table", file.path));
        }
        let prefix = format!("{}::", own.join("::"));
        let children: Vec<_> = modules
            .iter()
            .filter_map(|module| module.strip_prefix(&prefix).map(String::from))
            .collect();
        let code = file.product();
        for (line, path) in imports(file, &code, &children) {
            if let Some(fault) = fault(&from, &path, &nested, &modules) {
                found.push(format!("{}:{line}: {fault}", file.path));
            }
        }
    }
    found.dedup();
    found
}

fn fault(from: &str, path: &[&str], nested: &[String], modules: &[String]) -> Option<String> {
    let to = unit(path, nested)?;
    let is_module = modules.iter().any(|module| module == path[0]);
    match is_module {
        true if may_import(from, &to) => None,
        true => Some(format!(
            "`{from}` may not import `{to}` ({})",
            path.join("::")
        )),
        false if allowed(from) == Some("*") => None,
        false if path[0].starts_with(char::is_uppercase) => Some(format!(
            "`{}` hides its layer: import it from its own module",
            path.join("::")
        )),
        false => None,
    }
}

#[test]
fn every_import_is_allowed_by_the_layer_table() {
    let found = violations(&source::files("src", "rs"));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Checks one more file beside the modules that it could import.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut files: Vec<_> = [
        "id",
        "task/mod",
        "txn/mod",
        "store/mod",
        "queue/mod",
        "store/memory/mod",
        "store/sqlite/mod",
    ]
    .iter()
    .map(|name| Source::new(&format!("src/{name}.rs"), ""))
    .collect();
    files.retain(|file| file.path != path);
    files.push(Source::new(path, text));
    violations(&files)
}

#[test]
fn a_forbidden_import_is_found_with_its_file_and_line() {
    let found = check(
        "src/txn/plan.rs",
        "use std::fmt;\n\nuse crate::task::Record;\n",
    );
    assert_eq!(
        found,
        ["src/txn/plan.rs:3: `txn` may not import `task` (task::Record)"]
    );
}

#[test]
fn a_forbidden_import_is_found_in_every_guise() {
    let guises = [
        ("src/txn/plan.rs", "use crate::{id, task::{Record, State}};"),
        ("src/txn/plan.rs", "fn f() -> crate::queue::Queue { }"),
        ("src/txn/plan.rs", "use super::super::queue::Queue;"),
        ("src/id.rs", "use super::queue::Queue;"),
        (
            "src/id.rs",
            "macro_rules! m { () => { $crate::txn::Work } }",
        ),
        ("src/id.rs", "use crate::Task;"),
    ];
    for (path, guise) in guises {
        assert!(!check(path, guise).is_empty(), "{guise}");
    }
}

#[test]
fn a_contract_that_names_a_backend_is_found() {
    assert_eq!(
        check("src/store/mod.rs", "pub use memory::MemoryStore;").len(),
        1
    );
    assert_eq!(
        check("src/store/ext.rs", "use super::sqlite::SqliteStore;").len(),
        1
    );
}

#[test]
fn a_backend_that_names_another_is_found() {
    assert_eq!(
        check(
            "src/store/sqlite/stage.rs",
            "use crate::store::memory::MemoryStore;"
        )
        .len(),
        1
    );
    assert_eq!(
        check(
            "src/store/sqlite/stage.rs",
            "use crate::store::{Batch, sqlite::Row};"
        )
        .len(),
        0
    );
}

#[test]
fn a_module_that_the_table_lacks_is_found() {
    assert_eq!(check("src/helpers.rs", "").len(), 1);
}

#[test]
fn an_inline_test_may_import_what_it_likes() {
    let text = "use crate::id::TaskId;\n#[cfg(test)]\nmod tests { use crate::queue::Queue; }\n";
    assert!(check("src/txn/plan.rs", text).is_empty());
}
