//! The committed document is the one that the committed reports make.
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use votive_report::{FOLDER, Made, Report, make};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(FOLDER)
}

fn made() -> Made {
    let read = |name| Report::read(&folder().join(name)).unwrap();
    make(&read("votive.json"), &read("peers.json")).unwrap()
}

const ADVICE: &str = "run `cargo run -p votive-report`";

#[test]
fn the_document_is_what_the_reports_make() {
    let committed = std::fs::read_to_string(folder().with_extension("md")).unwrap();
    let made = made().document;
    let differing = committed
        .lines()
        .zip(made.lines())
        .find(|(old, new)| old != new);
    assert_eq!(differing, None, "{ADVICE}");
    assert_eq!(committed.len(), made.len(), "{ADVICE}");
}

#[test]
fn the_plots_are_what_the_reports_make_and_none_is_left_over() {
    let made = made().plots;
    for (name, picture) in &made {
        let committed = std::fs::read_to_string(folder().join(name)).unwrap();
        assert!(committed == *picture, "{name} is another: {ADVICE}");
    }
    let files = std::fs::read_dir(folder()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let is_plot = |name: &String| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "svg")
    };
    let found: BTreeSet<String> = files.filter(is_plot).collect();
    assert_eq!(found, made.into_iter().map(|(name, _)| name).collect());
}
