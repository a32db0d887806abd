//! Settings from the environment: votive's own variables, and those of Huey for those who come from it.

use super::key::Key;
use super::said::{Layer, Place};
use crate::store::url::advise;

/// What the names of our variables begin with.
pub(super) const PREFIX: &str = "VOTIVE_";

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) own: Layer,
    /// Heard only where nobody else says anything.
    pub(super) huey: Layer,
    /// Names that look like ours and are not, for a warning: others may use the prefix too.
    pub(super) unknown: Vec<String>,
}

impl Variables {
    /// Sorts variables out. An empty one is as good as none.
    pub(super) fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut found = Self::default();
        for (name, value) in variables {
            if !value.is_empty() {
                found.take(name, value);
            }
        }
        found
    }

    fn take(&mut self, name: String, value: String) {
        let own = Key::ALL.iter().find(|key| key.variable() == name);
        let huey = Key::ALL.iter().find(|key| key.huey() == Some(&*name));
        match (own, huey) {
            (Some(key), _) => {
                self.own
                    .say(*key, values(*key, value), Place::Variable(name));
            }
            (None, Some(key)) => {
                self.huey.say(*key, vec![value], Place::Variable(name));
            }
            (None, None) if name.starts_with(PREFIX) => self.unknown.push(name),
            (None, None) => {}
        }
    }

    /// Returns a warning for each variable that may be misspelt: one of ours is much like it.
    pub(super) fn warnings(&self) -> Vec<String> {
        let known = Key::ALL.map(Key::name);
        let warn = |written: &String| {
            let name = written.strip_prefix(PREFIX)?.to_lowercase();
            let advice = advise(&name, &known);
            let (meant, _) = advice.strip_prefix("did you mean `")?.split_once('`')?;
            let meant = meant.to_uppercase();
            Some(format!(
                "the variable `{written}` says nothing: did you mean `{PREFIX}{meant}`?"
            ))
        };
        self.unknown.iter().filter_map(warn).collect()
    }
}

fn values(key: Key, value: String) -> Vec<String> {
    if key.is_list() {
        let parts = value.split(',').map(str::trim);
        parts
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    } else {
        vec![value]
    }
}
