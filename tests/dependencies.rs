//! The dependencies: licences that may be shipped, crates that may not, and a reason for each.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{
    CargoOpt, DependencyKind, Metadata, MetadataCommand, Node, Package, PackageId,
};

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

fn metadata(features: CargoOpt) -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    command
        .features(features)
        .other_options(["--offline".to_owned()]);
    command.exec().unwrap()
}

fn votive(metadata: &Metadata) -> &Package {
    metadata.root_package().unwrap()
}

fn name<'a>(metadata: &'a Metadata, id: &PackageId) -> &'a str {
    metadata[id].name.as_str()
}

/// What `node` links into a program: neither for its tests only nor for its build only.
fn linked(node: &Node) -> impl Iterator<Item = &PackageId> {
    let is_linked = |kinds: &[cargo_metadata::DepKindInfo]| {
        kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
    };
    node.deps
        .iter()
        .filter(move |dep| is_linked(&dep.dep_kinds))
        .map(|dep| &dep.pkg)
}

/// The names of everything that a program with votive in it links.
fn shipped(metadata: &Metadata) -> BTreeSet<String> {
    let nodes: BTreeMap<_, _> = metadata
        .resolve
        .iter()
        .flat_map(|resolve| &resolve.nodes)
        .map(|node| (&node.id, node))
        .collect();
    let (mut seen, mut left) = (BTreeSet::new(), vec![&votive(metadata).id]);
    while let Some(id) = left.pop() {
        if seen.insert(id) {
            left.extend(linked(nodes[id]));
        }
    }
    seen.into_iter()
        .map(|id| name(metadata, id).to_owned())
        .collect()
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
    let metadata = metadata(CargoOpt::AllFeatures);
    let licence = |package: &Package| package.license.clone().unwrap_or_default();
    let bad = metadata
        .packages
        .iter()
        .filter(|package| !is_permitted(&licence(package)));
    let bad: Vec<_> = bad
        .map(|package| (&package.name, licence(package)))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn nobody_gets_a_banned_crate_by_default() {
    let shipped = shipped(&metadata(CargoOpt::SomeFeatures(Vec::new())));
    let bad: Vec<_> = BANNED
        .iter()
        .filter(|name| shipped.contains(**name))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn the_walk_finds_what_is_linked_and_leaves_out_what_only_tests_use() {
    let shipped = shipped(&metadata(CargoOpt::SomeFeatures(Vec::new())));
    assert!(shipped.contains("libsqlite3-sys"), "{shipped:?}");
    assert!(!shipped.contains("stateright"), "{shipped:?}");
}

#[test]
fn every_direct_dependency_has_its_line_of_reason() {
    let metadata = metadata(CargoOpt::AllFeatures);
    let direct = votive(&metadata)
        .dependencies
        .iter()
        .map(|dependency| dependency.name.clone());
    let direct: BTreeSet<_> = direct.filter(|name| name != "votive").collect();
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/adr/0002-dependencies.md");
    assert_eq!(
        with_reason(&std::fs::read_to_string(document).unwrap()),
        direct
    );
}

#[test]
fn rusqlite_may_be_any_version_whose_sqlite_we_tested() {
    let metadata = metadata(CargoOpt::AllFeatures);
    let rusqlite = votive(&metadata)
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
