//! Groups of tasks, by their names.

use std::collections::{BTreeSet, HashMap};

use super::index::{Place, Sequence, Way, turn_set};
use crate::task::Options;

/// Where a group is among all.
type Slot = u32;

/// The groups that have a member. One is looked for several times while one of its tasks ends and the next goes on,
/// so where the latest is, is remembered.
#[derive(Debug, Default)]
pub(super) struct Groups {
    slots: HashMap<String, Slot>,
    all: Vec<Group>,
    vacant: Vec<Slot>,
    latest: Option<Slot>,
    latest_name: String,
}

impl Groups {
    pub(super) fn get(&self, name: &str) -> Option<&Group> {
        self.all.get(self.slot(name)? as usize)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Group> {
        self.all.iter().filter(|group| !group.is_empty())
    }

    /// Changes a group, which is empty if there is none.
    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Group)) {
        let slot = self.slot(name).unwrap_or_else(|| self.add(name));
        let Some(group) = self.all.get_mut(slot as usize) else {
            return;
        };
        change(group);
        if group.is_empty() {
            *group = Group::default();
            self.slots.remove(name);
            self.vacant.push(slot);
            self.latest = None;
        } else if self.latest != Some(slot) {
            self.latest = Some(slot);
            name.clone_into(&mut self.latest_name);
        }
    }

    fn slot(&self, name: &str) -> Option<Slot> {
        let latest = self.latest.filter(|_| self.latest_name == name);
        latest.or_else(|| self.slots.get(name).copied())
    }

    fn add(&mut self, name: &str) -> Slot {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.all.push(Group::default());
            // Four thousand million groups do not fit into a memory.
            Slot::try_from(self.all.len() - 1).unwrap_or(Slot::MAX)
        });
        self.slots.insert(name.to_owned(), slot);
        slot
    }
}

/// Of the same groups, wherever they are.
impl PartialEq for Groups {
    fn eq(&self, other: &Self) -> bool {
        self.slots.len() == other.slots.len()
            && self
                .slots
                .keys()
                .all(|name| self.get(name) == other.get(name))
    }
}

/// The tasks of a group that hold one of its places, or want one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Group {
    /// Those that are Ready or Claimed, in order: few, since their number is limited.
    pub(super) holders: Vec<Place>,
    /// Those that nothing but the group holds back, and that may be moved.
    pub(super) waiting: BTreeSet<Place>,
}

impl Group {
    /// Whether a task that is none of the waiting has to be one of them: the places are taken, or somebody
    /// is before it, or may be. It may hold the place `own`.
    pub(super) fn is_busy_for(&self, own: Option<Sequence>, options: &Options) -> bool {
        let others = self
            .holders
            .iter()
            .filter(|(_, holder)| Some(*holder) != own);
        let limit = options.places() as usize;
        others.take(limit).count() >= limit || !self.waiting.is_empty()
    }

    pub(super) fn turn(&mut self, role: Role, at: Place, way: Way) {
        match (role, self.holders.binary_search(&at)) {
            (Role::Holds, Err(position)) if way == Way::In => self.holders.insert(position, at),
            (Role::Holds, Ok(position)) if way == Way::Out => drop(self.holders.remove(position)),
            (Role::Waits, _) => turn_set(&mut self.waiting, at, way),
            _ => {}
        }
    }

    fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.waiting.is_empty()
    }
}

/// What a task is to its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    Holds,
    Waits,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(groups: &mut Groups, name: &str, sequence: Sequence) {
        groups.change(name, |group| {
            group.turn(Role::Holds, (0, sequence), Way::In);
        });
    }

    fn remove(groups: &mut Groups, name: &str, sequence: Sequence) {
        groups.change(name, |group| {
            group.turn(Role::Holds, (0, sequence), Way::Out);
        });
    }

    fn holders(groups: &Groups, name: &str) -> Option<Vec<Sequence>> {
        let holders = &groups.get(name)?.holders;
        Some(holders.iter().map(|(_, sequence)| *sequence).collect())
    }

    #[test]
    fn a_group_is_there_while_it_has_a_member() {
        let mut groups = Groups::default();
        add(&mut groups, "a", 1);
        add(&mut groups, "b", 2);
        add(&mut groups, "a", 3);
        assert_eq!(holders(&groups, "a"), Some(vec![1, 3]));
        remove(&mut groups, "b", 2);
        assert_eq!(holders(&groups, "b"), None);
        assert_eq!(groups.values().count(), 1);
    }

    #[test]
    fn a_group_is_not_taken_for_one_that_was_in_its_place() {
        let mut groups = Groups::default();
        add(&mut groups, "a", 1);
        remove(&mut groups, "a", 1);
        add(&mut groups, "b", 2);
        assert_eq!(holders(&groups, "a"), None);
        assert_eq!(holders(&groups, "b"), Some(vec![2]));
        assert_eq!(groups.all.len(), 1);
    }

    #[test]
    fn groups_are_compared_by_their_names() {
        let (mut groups, mut others) = (Groups::default(), Groups::default());
        add(&mut groups, "a", 1);
        add(&mut groups, "b", 2);
        add(&mut others, "b", 2);
        assert_ne!(groups, others);
        add(&mut others, "a", 1);
        assert_eq!(groups, others);
    }
}
