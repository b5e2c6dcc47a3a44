//! Policies that a consumer or a group has in the place of everybody's.

use std::sync::Arc;

use super::{Belonging, Hooks, Kind, Policy};

/// Those of one kind, the same for every chain.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// By id, ascending, as those of groups are.
    consumers: Box<[Override]>,
    groups: Box<[Override]>,
}

/// One of them, and whose it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Override {
    /// Stable over reloads.
    pub id: u32,
    pub name: String,
    pub policy: Arc<Policy>,
}

impl Overrides {
    pub fn new(mut consumers: Vec<Override>, mut groups: Vec<Override>) -> Self {
        consumers.sort_unstable_by_key(|it| it.id);
        groups.sort_unstable_by_key(|it| it.id);
        Self { consumers: consumers.into(), groups: groups.into() }
    }

    /// The consumer's own, or that of the first of its groups that has one.
    pub fn find(&self, belonging: &Belonging) -> Option<&Policy> {
        let find = |of: &'_ [Override], id: u32| of.binary_search_by_key(&id, |it| it.id).ok();
        if let Some(place) = find(&self.consumers, belonging.consumer) {
            return Some(&self.consumers[place].policy);
        }
        let place = belonging.groups.iter().find_map(|id| find(&self.groups, *id))?;
        Some(&self.groups[place].policy)
    }

    /// Those that one of them has.
    pub fn hooks(&self) -> Hooks {
        self.consumers.iter().chain(&self.groups).fold(Hooks::default(), |hooks, it| hooks.and(it.policy.hooks()))
    }

    pub fn consumers(&self) -> impl Iterator<Item = &str> {
        self.consumers.iter().map(|it| &*it.name)
    }

    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|it| &*it.name)
    }
}

/// All of a configuration, by kind.
pub type ByKind = Vec<(Kind, Arc<Overrides>)>;
