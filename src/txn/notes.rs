//! What a transaction says about itself, for logs and participants.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};

use crate::txn::error::discard;

#[derive(Default)]
pub(super) struct Notes {
    pub(super) description: String,
    pub(super) user: String,
    pub(super) extension: BTreeMap<String, String>,
    data: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl Notes {
    pub(super) fn note(&mut self, text: &str) {
        if !self.description.is_empty() {
            self.description.push('\n');
        }
        self.description.push_str(text.trim());
    }

    pub(super) fn set_data<T: Any + Send>(&mut self, value: T) {
        self.data.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// Drops the values, each by itself: a panic of one does not keep the next.
    pub(super) fn discard(&mut self) {
        self.data.drain().for_each(|(_, value)| discard(value));
    }

    pub(super) fn data<T: Any>(&self) -> Option<&T> {
        self.data.get(&TypeId::of::<T>())?.downcast_ref()
    }
}
