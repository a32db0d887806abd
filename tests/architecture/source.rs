//! Reads the repository's files, and tells code from comments, literals and inline tests.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

/// A file of this repository.
#[derive(Clone)]
pub(crate) struct Source {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// The same lines, with comments and literals blanked.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank_literals(text),
        }
    }

    /// The code without the items under `#[cfg(test)]`, which are blanked.
    pub(crate) fn product(&self) -> String {
        blank_tests(&self.code)
    }

    /// How many lines there are from the first to the last that is not an inline test.
    pub(crate) fn product_lines(&self) -> usize {
        let tests = blank_tests(&self.code);
        let in_test =
            |(code, kept): &(&str, &str)| !code.trim().is_empty() && kept.trim().is_empty();
        let lines = self.code.lines().zip(tests.lines());
        self.text.lines().count() - lines.filter(in_test).count()
    }

    pub(crate) fn in_folder(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with this extension below `folder`, in order.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root().join(folder), extension, &mut paths);
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Everything in Rust that people wrote here.
pub(crate) fn rust_files() -> Vec<Source> {
    ["src", "tests", "benches", "examples", "fuzz", "crates"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .collect()
}

pub(crate) fn read(path: &Path) -> Source {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let relative = path.strip_prefix(root()).unwrap_or(path);
    Source::new(&relative.to_string_lossy().replace('\\', "/"), &text)
}

fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            walk(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// The line, from 1, that the byte `offset` of `text` is in.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

/// The length of the comment or literal that `rest` begins with.
fn literal_length(rest: &str, after_word: bool) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if let Some(inner) = rest.strip_prefix('"') {
        return Some(1 + quoted_length(inner, '"'));
    }
    if !after_word && let Some(length) = raw_length(rest) {
        return Some(length);
    }
    character_length(rest)
}

/// The length up to and with the closing `quote` of what follows an opening one.
fn quoted_length(inner: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, letter) in inner.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return offset + 1,
            _ => {}
        }
    }
    inner.len()
}

fn raw_length(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body.trim_start_matches('#').strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let opened = rest.len() - inner.len();
    Some(
        inner
            .find(&close)
            .map_or(rest.len(), |end| opened + end + close.len()),
    )
}

/// A character literal, not a lifetime: `'a'`, `'\n'`, `'"'`.
fn character_length(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return Some(1 + quoted_length(inner, '\''));
    }
    let letter = inner.chars().next()?;
    inner.chars().nth(1).filter(|close| *close == '\'')?;
    Some(letter.len_utf8() + 2)
}

fn blank_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let after_word = code.ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let length = literal_length(rest, after_word);
        let (taken, left) = rest.split_at(length.unwrap_or(letter.len_utf8()));
        match length {
            Some(_) => code.push_str(&spaces(taken)),
            None => code.push_str(taken),
        }
        rest = left;
    }
    code
}

/// As many bytes of blanks, with the line ends kept.
fn spaces(text: &str) -> String {
    let blank = |byte| if byte == b'\n' { '\n' } else { ' ' };
    text.bytes().map(blank).collect()
}

fn blank_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let (before, item) = rest.split_at(start);
        let (test, after) = item.split_at(MARK.len() + item_length(&item[MARK.len()..]));
        kept.push_str(before);
        kept.push_str(&spaces(test));
        rest = after;
    }
    kept + rest
}

/// The length of the item that `rest` begins with: up to its `;`, or the end of its braces.
pub(crate) fn item_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    for (offset, letter) in rest.char_indices() {
        match letter {
            ';' if depth == 0 => return offset + 1,
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && letter == '}' {
                    return offset + 1;
                }
            }
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "a // b\n\"c \\\" d\" e 'f' '\\'' <'g> r#\"h \" i\"# /* j\n */ k";
    let words: Vec<_> = Source::new("x.rs", text)
        .code
        .split_whitespace()
        .map(String::from)
        .collect();
    assert_eq!(words, ["a", "e", "<'g>", "k"]);
}

#[test]
fn an_inline_test_ends_where_its_item_ends() {
    let text =
        "one;\n#[cfg(test)]\nmod tests {\n    two {}\n}\nthree;\n#[cfg(test)]\nmod four;\nfive;\n";
    let source = Source::new("x.rs", text);
    let words: Vec<_> = source
        .product()
        .split_whitespace()
        .map(String::from)
        .collect();
    assert_eq!(words, ["one;", "three;", "five;"]);
    assert_eq!(source.product_lines(), 3);
}
