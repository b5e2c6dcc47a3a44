//! Ids that outlive a snapshot: counters, pools and buckets are keyed by them, so a name keeps its id over reloads.

use crate::stdx::hash::FixedMap;

/// The control thread keeps one and hands it to every compilation.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    pub listeners: Names,
    pub services: Names,
    pub routes: Names,
}

/// The names of one kind in the newest configuration; older ones are forgotten, so this never outgrows a file.
#[derive(Clone, Debug, Default)]
pub struct Names {
    ids: FixedMap<String, u32>,
    next: u32,
}

impl Names {
    /// The id of each name: the one it had, or one that no name had before.
    pub fn assign<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Vec<u32> {
        let mut kept = FixedMap::default();
        let mut assigned = Vec::new();
        for name in names {
            let id = self.ids.get(name).copied().unwrap_or_else(|| {
                let id = self.next;
                self.next = id.checked_add(1).expect("fewer than 2^32 names in one process");
                id
            });
            kept.insert(name.to_owned(), id);
            assigned.push(id);
        }
        self.ids = kept;
        assigned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_id_and_no_id_comes_back() {
        let mut names = Names::default();
        let mut check =
            |given: &[&str], want: &[u32]| assert_eq!(names.assign(given.iter().copied()), want, "{given:?}");
        check(&["a", "b"], &[0, 1]);
        check(&["b", "c"], &[1, 2]);
        check(&["c", "a", "b"], &[2, 3, 1]);
    }
}
