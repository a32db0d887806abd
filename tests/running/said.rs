//! What settings come to, without a process: the banner of the consumers that they make.
#![cfg(test)]

use std::path::Path;

use clap::Parser;
use votive::Registry;
use votive::consume::{Args, Settings, SettingsError};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

pub(crate) fn settings(
    switches: &[&str],
    variables: &[(&str, &str)],
) -> Result<Settings, SettingsError> {
    let line = Line::parse_from(["application"].iter().chain(switches));
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Settings::read(&line.args, variables.iter().map(pair))
}

/// Returns what the consumers say of themselves, with a store in memory unless something else is said.
pub(crate) fn banners(switches: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let said =
        switches.contains(&"--url") || variables.iter().any(|(name, _)| name.ends_with("URL"));
    let memory: &[&str] = if said { &[] } else { &["--url", "memory://"] };
    let settings = settings(&[switches, memory].concat(), variables).unwrap();
    let opened = settings.open().unwrap();
    let consumers = opened.start(Registry::new(), |builder| builder).unwrap();
    let banners = consumers.running().iter().map(|it| it.banner().to_string());
    let banners = banners.collect();
    consumers.stop();
    banners
}

/// Returns the value of a row of the only banner.
pub(crate) fn row(row: &str, switches: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let banners = banners(switches, variables);
    assert_eq!(banners.len(), 1);
    let lines = banners[0].lines().map(str::trim);
    let values = lines.filter_map(|line| line.strip_prefix(row));
    values.map(|value| value.trim().to_owned()).collect()
}

/// Returns why the settings are refused.
pub(crate) fn refusal(switches: &[&str], variables: &[(&str, &str)]) -> String {
    settings(switches, variables).unwrap_err().to_string()
}

/// Writes a file of settings, and returns the switches that name it.
pub(crate) fn file(folder: &Path, text: &str) -> [String; 2] {
    let path = folder.join("votive.toml");
    std::fs::write(&path, text).unwrap();
    ["--config".to_owned(), path.display().to_string()]
}
