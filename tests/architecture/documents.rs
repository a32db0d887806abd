//! Documents: what they say of the code is so, and what they link to is there.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use votive::task::{Event, State};

use crate::source::{self, Source};

/// The groups of numbered rules, and the last number of each.
const RULES: [(&str, usize); 7] = [
    ("C", 13),
    ("A", 3),
    ("J", 3),
    ("S", 8),
    ("H", 3),
    ("T", 3),
    ("X", 16),
];

type Transitions = BTreeMap<(String, String), Vec<String>>;

fn document(path: &str) -> Source {
    source::read(&source::root().join(path))
}

/// The cells of every row of the tables of `text` that have `width` columns.
fn rows(text: &str, width: usize) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|');
        inner
            .split('|')
            .map(|cell| cell.replace('`', "").trim().to_owned())
            .collect()
    };
    let lines = text
        .lines()
        .filter(|line| line.trim_start().starts_with('|'));
    lines.map(cells).filter(|row| row.len() == width).collect()
}

/// The table of `docs/states.md`: from, event, to.
fn documented(text: &str) -> Transitions {
    let transition = |row: Vec<String>| {
        let [from, event, to] = <[String; 3]>::try_from(row).ok()?;
        State::from_name(&from)?;
        Some(((from, event), to.split(" or ").map(String::from).collect()))
    };
    rows(text, 3).into_iter().filter_map(transition).collect()
}

fn coded() -> Transitions {
    let pairs = State::ALL
        .iter()
        .flat_map(|from| Event::ALL.iter().map(move |event| (from, event)));
    let possible = pairs.filter(|(from, event)| !from.after(**event).is_empty());
    let row = |(from, event): (&State, &Event)| {
        let to = from.after(*event).iter().map(State::to_string).collect();
        ((from.to_string(), format!("{event:?}")), to)
    };
    possible.map(row).collect()
}

/// The arrows `from --> to` of a Mermaid state diagram.
fn arrows(text: &str) -> BTreeSet<(String, String)> {
    let arrow = |line: &str| {
        let (from, rest) = line.trim().split_once(" --> ")?;
        let to = rest.split(':').next()?.trim();
        Some((
            State::from_name(from)?.to_string(),
            State::from_name(to)?.to_string(),
        ))
    };
    text.lines().filter_map(arrow).collect()
}

fn rule_numbers() -> BTreeSet<String> {
    let group = |(letter, last)| (1..=last).map(move |number| format!("{letter}{number}"));
    RULES.into_iter().flat_map(group).collect()
}

/// The rules that `text` states: each has its number in bold at the start of an item.
fn stated_rules(text: &str) -> BTreeSet<String> {
    let number = |line: &str| Some(line.strip_prefix("- **")?.split_once("**")?.0.to_owned());
    text.lines().filter_map(number).collect()
}

/// The words of the names of all tests.
fn test_name_words(files: &[Source]) -> BTreeSet<String> {
    let names = files.iter().flat_map(|file| {
        let after_attribute = file.code.split("#[test]").skip(1);
        after_attribute.filter_map(|item| item.split_once("fn ")?.1.split('(').next())
    });
    names
        .flat_map(|name| name.split('_'))
        .map(str::to_uppercase)
        .collect()
}

/// Every relative link of `text`: `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// The anchors of the headings of `text`, as a forge makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        kept.chars()
            .filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter))
            .collect()
    };
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

fn is_broken(from: &Source, link: &str) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = Path::new(&from.path).parent().unwrap_or(Path::new(""));
    let target = match file {
        "" => source::root().join(&from.path),
        _ => source::root().join(folder).join(file),
    };
    let has_anchor = || anchors(&source::read(&target).text).contains(anchor);
    !target.exists() || (!anchor.is_empty() && !has_anchor())
}

#[test]
fn the_table_of_states_equals_the_code() {
    assert_eq!(documented(&document("docs/states.md").text), coded());
}

#[test]
fn the_diagram_of_states_equals_the_code() {
    let to_pairs = |((from, _), to): ((String, String), Vec<String>)| {
        to.into_iter()
            .map(move |to| (from.clone(), to))
            .collect::<Vec<_>>()
    };
    let coded: BTreeSet<_> = coded().into_iter().flat_map(to_pairs).collect();
    assert_eq!(arrows(&document("docs/states.md").text), coded);
}

#[test]
fn the_protocol_states_every_rule_once() {
    assert_eq!(
        stated_rules(&document("docs/protocol.md").text),
        rule_numbers()
    );
}

#[test]
fn every_rule_of_the_protocol_has_a_test_that_bears_its_number() {
    let words =
        test_name_words(&[source::files("src", "rs"), source::files("tests", "rs")].concat());
    let missing: Vec<_> = rule_numbers().difference(&words).cloned().collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}

#[test]
fn every_link_of_a_document_resolves() {
    let mut documents = source::files("docs", "md");
    let outside = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ];
    let present = outside
        .iter()
        .filter(|name| source::root().join(name).exists());
    documents.extend(present.map(|name| document(name)));
    let broken = documents.iter().flat_map(|from| {
        links(&from.text)
            .into_iter()
            .filter(|link| is_broken(from, link))
            .map(|link| (&from.path, link))
            .collect::<Vec<_>>()
    });
    let broken: Vec<_> = broken.collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn the_tables_of_sqlite_are_those_that_the_page_on_storage_lists() {
    let name = |text: &str| text.split_whitespace().next().unwrap_or("").to_owned();
    let is_ours = |name: &String| name.starts_with("votive_");
    let created = source::files("src/store/sqlite", "rs")
        .into_iter()
        .flat_map(|file| {
            let text = file.text.replace("IF NOT EXISTS ", "");
            text.split("CREATE TABLE ")
                .skip(1)
                .map(name)
                .collect::<Vec<_>>()
        });
    let page = rows(&document("docs/storage.md").text, 2);
    let listed = page.into_iter().map(|row| row[0].clone());
    let [listed, created]: [BTreeSet<_>; 2] = [
        listed.filter(is_ours).collect(),
        created.filter(is_ours).collect(),
    ];
    assert_eq!(listed, created);
}

#[test]
fn every_step_of_ci_can_be_run_by_hand() {
    let (run, recipes) = (document(".ci/run").text, document(".justfile").text);
    let steps = run
        .lines()
        .filter_map(|line| line.strip_prefix("step_")?.split_once("() {"));
    let steps: Vec<_> = steps.map(|(name, _)| name).collect();
    assert!(steps.len() > 5, "{steps:?}");
    for step in steps {
        assert!(
            recipes.contains(&format!(".ci/run {step}")),
            "no recipe runs `{step}`"
        );
    }
}

#[test]
fn a_wrong_row_of_the_table_of_states_is_seen() {
    let row = documented("| state | event | to |\n| `claimed` | Done | ready or dead |\n");
    let key = ("claimed".to_owned(), "Done".to_owned());
    assert_eq!(row.get(&key).unwrap(), &["ready", "dead"]);
    assert_ne!(coded().get(&key).unwrap(), row.get(&key).unwrap());
}

#[test]
fn a_broken_link_is_seen() {
    let from = Source::new(
        "docs/x.md",
        "[a](nowhere.md) [b](https://example.org) [c](#d)\n# D\n",
    );
    assert_eq!(links(&from.text), ["nowhere.md", "#d"]);
    assert!(is_broken(&from, "nowhere.md"));
    assert!(anchors(&from.text).contains("d"));
}
