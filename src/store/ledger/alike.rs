//! Options that many tasks have alike, so that these need not each have them somewhere else.

use std::sync::Arc;

use crate::task::Options;

/// How many options are remembered.
const ALIKE_MAX: usize = 16;

/// The options that came last, each of which any number of tasks may share: what is looked at with every one
/// of them is then in one place.
#[derive(Debug, Default)]
pub(in crate::store) struct Alike(Vec<Arc<Options>>);

impl Alike {
    /// Returns the same options, of the kind that others may have: a key is one's own.
    pub(in crate::store) fn share(&mut self, options: &Arc<Options>) -> Arc<Options> {
        if options.unique.is_some() || options.are_usual() {
            return Arc::clone(options);
        }
        // Those of one group come one after the other, and the latest is the last.
        if let Some(known) = self.0.iter().rev().find(|known| *known == options) {
            return Arc::clone(known);
        }
        if self.0.len() >= ALIKE_MAX {
            self.0.remove(0);
        }
        self.0.push(Arc::clone(options));
        Arc::clone(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Unique;

    fn of_priority(priority: u8) -> Arc<Options> {
        Arc::new(Options {
            priority,
            ..Options::default()
        })
    }

    #[test]
    fn tasks_with_the_same_options_share_them() {
        let mut alike = Alike::default();
        let first = alike.share(&of_priority(1));
        let other = alike.share(&of_priority(2));
        assert!(Arc::ptr_eq(&first, &alike.share(&of_priority(1))));
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn options_with_a_key_are_not_remembered() {
        let keyed = || {
            Arc::new(Options {
                unique: Some(Unique::new("key")),
                ..Options::default()
            })
        };
        let mut alike = Alike::default();
        let first = alike.share(&keyed());
        assert!(!Arc::ptr_eq(&first, &alike.share(&keyed())));
        assert!(alike.0.is_empty());
    }

    #[test]
    fn only_the_options_that_came_last_are_remembered() {
        let mut alike = Alike::default();
        for priority in 11..=u8::MAX {
            alike.share(&of_priority(priority));
        }
        assert_eq!(alike.0.len(), ALIKE_MAX);
        let latest = alike.share(&of_priority(u8::MAX));
        assert_eq!(Arc::strong_count(&latest), 2);
    }
}
