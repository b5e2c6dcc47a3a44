//! Whom a shard knows already: consumers that have proved themselves, so that the next request of one allocates
//! nothing.

use super::{Consumers, Identity};
use crate::stdx::hash::{KeyedMap, keyed_map};
use std::collections::VecDeque;
use std::rc::Rc;

/// Of one shard, by the ids of consumers and of what they proved themselves with. Bounded in number and in bytes: whom
/// it has known longest it forgets first, and no more of them than it has to.
#[derive(Debug)]
pub struct Known {
    identities: KeyedMap<(u32, u32), Rc<Identity>>,
    order: VecDeque<(u32, u32)>,
    bytes: usize,
    /// Of the consumers that they were read from.
    fingerprint: u64,
}

impl Known {
    /// Stands for having proved nothing.
    pub const NO_CREDENTIAL: u32 = u32::MAX;

    /// `seed`: clients choose in which order they come.
    pub fn new(seed: u64) -> Self {
        Self { identities: keyed_map(seed), order: VecDeque::new(), bytes: 0, fingerprint: 0 }
    }

    /// Who that is, as `make` says if nobody has asked since consumers last changed.
    pub fn identity(
        &mut self,
        consumers: &Consumers,
        (consumer, credential): (u32, u32),
        make: impl FnOnce() -> Identity,
    ) -> Rc<Identity> {
        if self.fingerprint != consumers.fingerprint() {
            (self.bytes, self.fingerprint) = (0, consumers.fingerprint());
            self.identities.clear();
            self.order.clear();
        }
        if let Some(identity) = self.identities.get(&(consumer, credential)) {
            return identity.clone();
        }
        let identity = Rc::new(make());
        self.keep((consumer, credential), &identity);
        identity
    }

    fn keep(&mut self, key: (u32, u32), identity: &Rc<Identity>) {
        let bytes = ENTRY_BYTES + identity.bytes();
        while self.identities.len() >= KNOWN_MAX || self.bytes + bytes > KNOWN_BYTES_MAX {
            let oldest = self.order.pop_front();
            let Some(forgotten) = oldest.and_then(|oldest| self.identities.remove(&oldest)) else { return };
            self.bytes -= ENTRY_BYTES + forgotten.bytes();
        }
        self.bytes += bytes;
        self.order.push_back(key);
        self.identities.insert(key, identity.clone());
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new(0)
    }
}

const KNOWN_MAX: usize = 1 << 14;
/// Of one shard: as many as there may be, each with a handful of roles, or a thousand that have all that they may have.
const KNOWN_BYTES_MAX: usize = 16 << 20;
/// What an entry takes beside the identity: its key twice, a pointer, counts of references, the map's slack.
const ENTRY_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Declared;
    use std::cell::Cell;

    /// So many consumers with these roles ask one after the other, and then the last ones ask again.
    #[track_caller]
    fn check(roles: &[String], count: u32, again: u32) {
        let consumers = Consumers::new([], &[Declared { name: "ann", roles, ..Declared::default() }], None);
        let (ann, made, mut known) = (consumers.find("ann").expect("she is there"), Cell::new(0), Known::new(1));
        let mut ask = |consumer: u32| {
            known.identity(&consumers, (consumer, 1), || {
                made.set(made.get() + 1);
                ann.identity(None)
            });
            assert!(known.bytes <= KNOWN_BYTES_MAX && known.identities.len() <= KNOWN_MAX, "after {consumer}");
            assert_eq!(known.identities.len(), known.order.len());
        };
        (0..count).for_each(&mut ask);
        assert_eq!(made.get(), count);
        (count - again..count).for_each(&mut ask);
        assert_eq!(made.get(), count, "they are known");
        ask(0);
        assert_eq!(made.get(), count + 1, "the first one is not");
    }

    #[test]
    fn who_came_last_is_known_when_there_are_too_many() {
        check(&[], KNOWN_MAX as u32 + 1, KNOWN_MAX as u32);
    }

    #[test]
    fn who_has_much_takes_the_room_of_many() {
        let roles: Vec<String> = (0..128).map(|number| format!("{number:0128}")).collect();
        check(&roles, 2000, 800);
    }

    #[test]
    fn nobody_is_known_once_consumers_have_changed() {
        let consumers =
            |roles: &[String]| Consumers::new([], &[Declared { name: "ann", roles, ..Declared::default() }], None);
        let (mut known, old, new) = (Known::new(1), consumers(&[]), consumers(&["a".to_owned()]));
        for (consumers, roles) in [(&old, 0), (&new, 1), (&old, 0)] {
            let ann = consumers.find("ann").expect("she is there");
            let identity = known.identity(consumers, (0, 1), || ann.identity(None));
            assert_eq!((identity.roles.len(), known.order.len()), (roles, 1));
            assert_eq!(known.bytes, ENTRY_BYTES + identity.bytes());
        }
    }
}
