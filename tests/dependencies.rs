//! The dependencies: licences that may be shipped, crates that may not, and a reason for each.
#![cfg(test)]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

use cargo_metadata::{CargoOpt, Metadata, MetadataCommand, Package};

/// Licences that ask no more than to be named.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that nobody gets who asks for no more than the default features.
const BANNED: &[&str] = &[
    "async-std",
    "cron",
    "native-tls",
    "openssl",
    "openssl-sys",
    "rouille",
    "smol",
    "tiny_http",
    "tokio",
];

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Everything that any build on this platform may take, with all features.
static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    let platform = output(Command::new("rustc").args(["--print", "host-tuple"]));
    let mut command = MetadataCommand::new();
    command.current_dir(ROOT).features(CargoOpt::AllFeatures);
    command.other_options(["--offline", "--filter-platform", platform.trim()].map(String::from));
    command.exec().unwrap()
});

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The packages of the dependency graph, as against those that are only in the lock file.
fn packages() -> impl Iterator<Item = &'static Package> {
    METADATA
        .resolve
        .iter()
        .flat_map(|resolve| &resolve.nodes)
        .map(|node| &METADATA[&node.id])
}

/// The names of all that a program links that asks for votive and its default features.
fn linked_by_default() -> BTreeSet<String> {
    let arguments = [
        "tree",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--package",
        "votive",
    ];
    let tree = output(Command::new("cargo").current_dir(ROOT).args(arguments));
    tree.lines()
        .filter_map(|line| line.split(' ').next())
        .map(String::from)
        .collect()
}

fn votive() -> &'static Package {
    METADATA.root_package().unwrap()
}

/// Whether one of the choices of an SPDX expression is on the list.
fn is_permitted(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let is_listed = |licence: &str| LICENCES.contains(&licence.trim());
    flat.split(" OR ")
        .any(|choice| choice.split(" AND ").all(is_listed))
        || flat
            .split(" AND ")
            .all(|part| part.split(" OR ").any(is_listed))
}

/// The crates that a table of the decision on dependencies gives a reason for.
fn with_reason(text: &str) -> BTreeSet<String> {
    let crate_name = |line: &str| {
        let (cell, reason) = line.strip_prefix("| `")?.split_once("` | ")?;
        (!reason.trim_matches([' ', '|']).is_empty()).then(|| cell.to_owned())
    };
    text.lines().filter_map(crate_name).collect()
}

#[test]
fn every_dependency_has_a_licence_that_may_be_shipped() {
    let licence = |package: &Package| package.license.clone().unwrap_or_default();
    let bad = packages().filter(|package| !is_permitted(&licence(package)));
    let bad: Vec<_> = bad
        .map(|package| (&package.name, licence(package)))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn nobody_gets_a_banned_crate_by_default() {
    let linked = linked_by_default();
    let bad: Vec<_> = BANNED
        .iter()
        .filter(|name| linked.contains(**name))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn the_list_of_what_is_linked_has_the_default_features_and_nothing_of_the_tests() {
    let linked = linked_by_default();
    assert!(linked.contains("libsqlite3-sys"), "{linked:?}");
    assert!(
        !linked.contains("stateright") && !linked.contains("clap"),
        "{linked:?}"
    );
}

#[test]
fn every_direct_dependency_has_its_line_of_reason() {
    let direct = votive()
        .dependencies
        .iter()
        .map(|dependency| dependency.name.clone());
    let direct: BTreeSet<_> = direct.filter(|name| name != "votive").collect();
    let document = std::fs::read_to_string(format!("{ROOT}/docs/adr/0002-dependencies.md"));
    assert_eq!(with_reason(&document.unwrap()), direct);
}

#[test]
fn rusqlite_may_be_any_version_whose_sqlite_we_tested() {
    let rusqlite = votive()
        .dependencies
        .iter()
        .filter(|dependency| dependency.name == "rusqlite");
    let ranges: BTreeSet<_> = rusqlite
        .map(|dependency| dependency.req.to_string())
        .collect();
    assert_eq!(ranges, BTreeSet::from([">=0.39, <0.42".to_owned()]));
}

#[test]
fn a_licence_with_conditions_is_refused() {
    for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "", "MPL-2.0"] {
        assert!(!is_permitted(bad), "{bad}");
    }
    for good in [
        "MIT/Apache-2.0",
        "GPL-2.0 OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
    ] {
        assert!(is_permitted(good), "{good}");
    }
}
