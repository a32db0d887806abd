//! Sizes: a file has at most 500 lines, a function at most 70, and prose 120 columns; nobody is excepted.
#![cfg(test)]

use crate::source::{self, Source};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const PROSE_COLUMNS_MAX: usize = 120;

/// The name, line and length of every function of `code`; blank and comment lines do not count.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let starts = code
        .match_indices("fn ")
        .filter(|(at, _)| !code[..*at].ends_with(is_word));
    let described = starts.map(|(at, mark)| {
        let item = &code[at..at + source::item_length(&code[at..])];
        let name = item[mark.len()..]
            .split(|letter| !is_word(letter))
            .next()
            .unwrap_or("");
        let length = item.lines().filter(|line| !line.trim().is_empty()).count();
        (name, source::line_at(code, at), length)
    });
    described.filter(|(name, _, _)| !name.is_empty()).collect()
}

fn long_functions(file: &Source) -> Vec<String> {
    let too_long = |(_, _, length): &(&str, usize, usize)| *length > FUNCTION_LINES_MAX;
    let describe =
        |(name, line, length)| format!("{}:{line}: `{name}` has {length} lines", file.path);
    functions(&file.code)
        .into_iter()
        .filter(too_long)
        .map(describe)
        .collect()
}

/// The lines of prose that are too wide. A row of a table is one line however wide it is, and so is what is generated.
fn wide_prose(file: &Source) -> Vec<String> {
    let marks: &[&str] = match file.path.rsplit_once('.') {
        Some((_, "md")) => &[""],
        Some((_, "lua")) => &["--"],
        _ => &["//! ", "/// ", "// "],
    };
    let mut is_code = false;
    let mut is_wide = |line: &str| {
        is_code ^= line.starts_with("```");
        let prose = marks.iter().find_map(|mark| line.trim().strip_prefix(mark));
        let is_text = prose.is_some_and(|prose| !prose.starts_with('|') && prose.contains(' '));
        is_text && !is_code && line.chars().count() > PROSE_COLUMNS_MAX
    };
    let lines = file.text.lines().zip(1..);
    let wide = lines.filter(|(line, _)| is_wide(line));
    wide.map(|(_, number)| format!("{}:{number}", file.path))
        .collect()
}

#[test]
fn no_prose_is_wider_than_120_columns() {
    let mut files = source::rust_files();
    files.extend(source::files("src", "lua"));
    files.extend(source::files("docs", "md"));
    files.push(source::read(&source::root().join("README.md")));
    files.retain(|file| file.path != "docs/performance.md");
    let found: Vec<_> = files.iter().flat_map(wide_prose).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn wide_prose_is_found_in_comments_and_documents() {
    let wide = "word ".repeat(30);
    let found = |path: &str, text: &str| wide_prose(&Source::new(path, text)).len();
    assert_eq!(
        found("x.rs", &format!("/// {wide}\nlet text = \"{wide}\";")),
        1
    );
    assert_eq!(
        found("x.md", &format!("{wide}\n| {wide} |\n```\n{wide}\n```")),
        1
    );
    assert_eq!(found("x.lua", &format!("-- {wide}\nreturn 1 -- one")), 1);
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let files = source::rust_files();
    let long = files.iter().map(|file| (file.product_lines(), &file.path));
    let found: Vec<_> = long.filter(|(lines, _)| *lines > FILE_LINES_MAX).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn no_function_is_longer_than_70_lines() {
    let found: Vec<_> = source::rust_files()
        .iter()
        .flat_map(long_functions)
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_long_function_is_found() {
    let body = "    step();\n".repeat(FUNCTION_LINES_MAX - 1);
    let text = format!("fn short() {{}}\n\nfn long(a: [u8; 2]) {{\n{body}}}\n");
    let found = long_functions(&Source::new("x.rs", &text));
    assert_eq!(found, ["x.rs:3: `long` has 71 lines"]);
}

#[test]
fn a_signature_without_a_body_ends_at_its_semicolon() {
    let found = functions("trait T { fn one(&self) -> [u8; 4];\n fn two() {\n}\n}");
    assert_eq!(found, [("one", 1, 1), ("two", 2, 2)]);
}
