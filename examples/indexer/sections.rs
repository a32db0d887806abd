//! Splits a document into sections, and says which of them are not worth indexing.

/// The longest line that a person would have written; longer ones are generated or minified.
const LINE_MAX: usize = 400;
/// A section ends at the next blank line after this many lines.
const LINES_WANTED: usize = 40;

/// A part of a document.
pub(crate) struct Section {
    /// Its first line, without marks of a heading.
    pub heading: String,
    /// All of its text.
    pub body: String,
}

/// Why a section is left out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// A line is too long to have been written by hand.
    LongLine,
    /// There is a control character in it.
    Control,
    /// There is no word in it.
    NoWord,
}

impl Section {
    fn new(lines: &[&str]) -> Self {
        let first = lines
            .iter()
            .map(|line| line.trim())
            .find(|line| !line.is_empty());
        let heading = first
            .unwrap_or_default()
            .trim_start_matches(['#', '/', '!', '-', '*', ' ']);
        Self {
            heading: heading.chars().take(80).collect(),
            body: lines.join("\n"),
        }
    }

    /// Says why the section is not worth indexing, if it is not.
    pub(crate) fn check(&self) -> Result<(), Bad> {
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
        if self.body.lines().any(|line| line.len() > LINE_MAX) {
            Err(Bad::LongLine)
        } else if self.body.contains(control) {
            Err(Bad::Control)
        } else if !self.body.contains(char::is_alphabetic) {
            Err(Bad::NoWord)
        } else {
            Ok(())
        }
    }
}

/// Splits a text at its headings, and where it has none, at blank lines.
pub(crate) fn split(text: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let ends = line.starts_with("# ") || line.starts_with("## ");
        let long_enough = lines.len() >= LINES_WANTED && line.trim().is_empty();
        if (ends || long_enough) && !lines.is_empty() {
            sections.push(Section::new(&lines));
            lines.clear();
        }
        lines.push(line);
    }
    if !lines.is_empty() {
        sections.push(Section::new(&lines));
    }
    sections
}
