//! Ids that outlive a snapshot: counters, pools and buckets are keyed by them, so a name keeps its id over reloads.

use crate::stdx::hash::FixedMap;
use crate::stdx::ledger::Terms;

/// The control thread keeps one and hands it to every compilation.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    pub listeners: Names,
    pub services: Names,
    pub routes: Names,
    pub consumers: Names,
    pub groups: Names,
    pub keys: Names,
    pub limits: Limits,
}

/// Numbers of limits in the ledger: never given again, as a slot of the ledger means nothing without its limit.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// With the first terms under that number.
    numbers: FixedMap<String, (u16, Terms)>,
    last: u16,
}

impl Limits {
    /// The number of each limit, by its name: the one that it had, if what was counted under it can go on counting with
    /// these terms. None when there are no numbers left.
    pub fn assign(&mut self, limits: impl Iterator<Item = (String, Terms)>) -> Option<Vec<u16>> {
        let (mut kept, mut assigned) = (FixedMap::default(), Vec::new());
        for (name, terms) in limits {
            let known = self.numbers.get(&name).copied().filter(|(_, first)| terms.can_follow(*first));
            let (number, first) = match known {
                Some(known) => known,
                None => {
                    self.last = self.last.checked_add(1)?;
                    (self.last, terms)
                }
            };
            kept.insert(name, (number, first));
            assigned.push(number);
        }
        self.numbers = kept;
        Some(assigned)
    }
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
    use crate::stdx::ledger::Algorithm;
    use std::time::Duration;

    #[test]
    fn a_limit_keeps_its_number_while_its_words_have_room_for_its_terms() {
        let terms = |algorithm, count| Terms { algorithm, count, period: Duration::from_secs(1), burst: count };
        let mut limits = Limits::default();
        let mut check = |name: &str, terms: Terms, want: u16| {
            assert_eq!(limits.assign([(name.to_owned(), terms)].into_iter()), Some(vec![want]), "{name}, {terms:?}");
        };
        check("a", terms(Algorithm::TokenBucket, 100), 1);
        check("a", terms(Algorithm::TokenBucket, 1_000), 1);
        check("a", terms(Algorithm::TokenBucket, 1_000_000), 2);
        check("a", terms(Algorithm::SlidingWindow, 100), 3);
        check("b", terms(Algorithm::SlidingWindow, 100), 4);
        check("a", terms(Algorithm::SlidingWindow, 100), 5);
    }

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
