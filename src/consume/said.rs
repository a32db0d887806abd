//! What was said, and where: no setting is parted from its place, so that every complaint can name it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::error::SettingsError;
use super::key::Key;

/// Where a setting was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Switch(String),
    Variable(String),
    File { path: Arc<Path>, line: usize },
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "${name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Nowhere => f.write_str("by default"),
        }
    }
}

/// The values of one setting, as text, from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) key: Key,
    pub(super) values: Vec<String>,
    pub(super) place: Place,
}

impl Said {
    /// Reads the only value. `expected` says what it must be.
    pub(super) fn read<T>(
        &self,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        match self.values.as_slice() {
            [value] => parse(value).ok_or_else(|| self.invalid(value, expected)),
            values => Err(self.invalid(&values.join(","), expected)),
        }
    }

    /// Reads the only value, which may be any text but none.
    pub(super) fn text(&self) -> Result<String, SettingsError> {
        self.read("some text", |text| {
            (!text.is_empty()).then(|| text.to_owned())
        })
    }

    pub(super) fn invalid(&self, value: &str, expected: &'static str) -> SettingsError {
        SettingsError::Invalid {
            place: self.place.to_string(),
            key: self.key.name(),
            value: value.to_owned(),
            expected,
        }
    }
}

/// What one source says: a setting at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layer(BTreeMap<Key, Said>);

impl Layer {
    pub(super) fn say(&mut self, key: Key, values: Vec<String>, place: Place) {
        self.0.insert(key, Said { key, values, place });
    }

    pub(super) fn find(&self, key: Key) -> Option<&Said> {
        self.0.get(&key)
    }
}
