//! Settings from a TOML file: some for the process, some for each queue, some for each consumer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::SettingsError;
use super::key::Key;
use super::said::{Layer, Place, Said};
use crate::store::url::advise;

/// The tables of a file.
const QUEUES: &str = "queues";
const CONSUMER: &str = "consumer";

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    /// For the process, and for all consumers that do not say otherwise.
    pub(super) top: Layer,
    pub(super) queues: BTreeMap<String, Layer>,
    pub(super) consumers: Vec<Layer>,
}

impl File {
    /// Reads the file that a setting names.
    pub(super) fn read(named: &Said) -> Result<Self, SettingsError> {
        let path = PathBuf::from(named.text()?);
        let text = std::fs::read_to_string(&path).map_err(|source| SettingsError::Unreadable {
            place: named.place.to_string(),
            path: path.clone(),
            source,
        })?;
        Self::parse(&path, &text)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let reader = Reader {
            path: Arc::from(path),
            text,
        };
        let table = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
            place: reader.place(error.span().unwrap_or_default()).to_string(),
            message: error.message().to_owned(),
        })?;
        reader.file(table.get_ref())
    }
}

struct Reader<'t> {
    path: Arc<Path>,
    text: &'t str,
}

impl Reader<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.as_bytes().iter().take(span.start);
        Place::File {
            path: Arc::clone(&self.path),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
        }
    }

    fn file(&self, table: &DeTable<'_>) -> Result<File, SettingsError> {
        let keys: Vec<Key> = Key::ALL
            .into_iter()
            .filter(|key| key.is_in_files())
            .collect();
        let mut file = File::default();
        for (name, value) in table {
            match (name.get_ref().as_ref(), value.get_ref()) {
                (QUEUES, DeValue::Table(queues)) => file.queues = self.queues(queues)?,
                (CONSUMER, DeValue::Table(table)) => file.consumers.push(self.consumer(table)?),
                (CONSUMER, DeValue::Array(tables)) => {
                    for table in tables {
                        file.consumers.push(self.consumer(self.table(table)?)?);
                    }
                }
                (CONSUMER | QUEUES, _) => return Err(self.no_table(value)),
                _ => self.entry(&mut file.top, &keys, &[QUEUES, CONSUMER], (name, value))?,
            }
        }
        Ok(file)
    }

    fn queues(&self, queues: &DeTable<'_>) -> Result<BTreeMap<String, Layer>, SettingsError> {
        let read = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let layer = self.layer(self.table(value)?, &Key::OF_QUEUES)?;
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            Ok((name.to_string(), layer))
        };
        queues.iter().map(read).collect()
    }

    fn consumer(&self, table: &DeTable<'_>) -> Result<Layer, SettingsError> {
        let keys = Key::ALL.into_iter().filter(|key| key.is_of_consumers());
        self.layer(table, &keys.collect::<Vec<_>>())
    }

    fn layer(&self, table: &DeTable<'_>, keys: &[Key]) -> Result<Layer, SettingsError> {
        let mut layer = Layer::default();
        for entry in table {
            self.entry(&mut layer, keys, &[], entry)?;
        }
        Ok(layer)
    }

    /// Takes one entry over. `tables` are further names that may be here, for the advice.
    fn entry(
        &self,
        layer: &mut Layer,
        keys: &[Key],
        tables: &[&str],
        (name, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>),
    ) -> Result<(), SettingsError> {
        let place = self.place(name.span());
        let written = name.get_ref().as_ref();
        let Some(key) = keys.iter().find(|key| key.name() == written) else {
            let known = keys
                .iter()
                .map(|key| key.name())
                .chain(tables.iter().copied());
            return Err(SettingsError::UnknownKey {
                place: place.to_string(),
                key: written.to_owned(),
                advice: advise(written, &known.collect::<Vec<_>>()),
            });
        };
        let values = match value.get_ref() {
            DeValue::Array(values) if key.is_list() => {
                values.iter().map(|value| text(value.get_ref())).collect()
            }
            value => text(value).map(|text| vec![text]),
        };
        let values = values.ok_or_else(|| SettingsError::Invalid {
            place: place.to_string(),
            key: key.name(),
            value: value.get_ref().type_str().to_owned(),
            expected: if key.is_list() {
                "text or an array of texts"
            } else {
                "a single value"
            },
        })?;
        layer.say(*key, values, place);
        Ok(())
    }

    fn table<'v, 'd>(
        &self,
        value: &'v Spanned<DeValue<'d>>,
    ) -> Result<&'v DeTable<'d>, SettingsError> {
        value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.no_table(value))
    }

    fn no_table(&self, value: &Spanned<DeValue<'_>>) -> SettingsError {
        SettingsError::Syntax {
            place: self.place(value.span()).to_string(),
            message: "a table is expected: `[[consumer]]`, `[queues.name]`".to_owned(),
        }
    }
}

/// Returns a single value as text.
fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
