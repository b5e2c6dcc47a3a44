//! What somebody may do, in bits: each role and scope that an `authorize` of the configuration asks for has one.
//!
//! ```text
//!   Vocabulary: role admin -> 0111 (its own bit, those of the roles it includes and of its scopes)
//!               scope read -> 0100
//!   Identity { roles: [admin] } --once for each vocabulary--> Grants 0111 --rules of authorize--> yes or no
//! ```
//!
//! Names that no rule asks for and no role declares mean nothing here, however many a token brings.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use crate::stdx::hash::{FixedHash, FixedMap};

/// A set of roles and scopes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Grants([u64; WORDS]);

/// The roles and scopes of a configuration, by name.
#[derive(Debug, Default)]
pub struct Vocabulary {
    /// Another one for every other vocabulary.
    id: u64,
    roles: FixedMap<Box<str>, Meaning>,
    scopes: FixedMap<Box<str>, Grants>,
}

/// Of a role.
#[derive(Clone, Copy, Debug, Default)]
struct Meaning {
    /// What a rule asks for that names it.
    own: Grants,
    /// What somebody has who has it.
    whole: Grants,
}

/// What a role stands for beside itself.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Role {
    pub includes: Vec<String>,
    pub scopes: Vec<String>,
}

/// Why there is no vocabulary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unusable {
    /// More names are asked for than [`NAMES_MAX`].
    TooManyNames,
    /// This role includes itself, by whatever way.
    Cycle(String),
}

impl Grants {
    fn one(bit: usize) -> Self {
        let mut grants = Self::default();
        grants.0[bit / BITS] = 1 << (bit % BITS);
        grants
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    pub fn has_all(&self, others: &Self) -> bool {
        self.0.iter().zip(others.0).all(|(own, other)| own & other == other)
    }

    pub fn has_any(&self, others: &Self) -> bool {
        self.0.iter().zip(others.0).any(|(own, other)| own & other != 0)
    }
}

impl Vocabulary {
    /// Of what is asked for, and of the roles that are declared.
    pub fn new(
        roles: &BTreeSet<&str>,
        scopes: &BTreeSet<&str>,
        declared: &BTreeMap<String, Role>,
    ) -> Result<Self, Unusable> {
        if roles.len() + scopes.len() > NAMES_MAX {
            return Err(Unusable::TooManyNames);
        }
        let id = FixedHash.hash_one((roles, scopes, declared));
        let mut bits = (0..).map(Grants::one);
        let of_roles = roles.iter().zip(&mut bits).map(|(name, own)| (Box::from(*name), Meaning { own, whole: own }));
        let of_roles = of_roles.collect();
        let of_scopes = scopes.iter().zip(&mut bits).map(|(name, own)| (Box::from(*name), own)).collect();
        let mut vocabulary = Self { id, roles: of_roles, scopes: of_scopes };
        vocabulary.declare(declared)?;
        Ok(vocabulary)
    }

    /// Each role after those that it includes.
    fn declare(&mut self, declared: &BTreeMap<String, Role>) -> Result<(), Unusable> {
        let mut open: BTreeSet<&str> = declared.keys().map(String::as_str).collect();
        while let Some(first) = open.first() {
            let is_ready = |name: &&&str| declared[**name].includes.iter().all(|other| !open.contains(other.as_str()));
            let ready: Vec<&str> = open.iter().filter(is_ready).copied().collect();
            if ready.is_empty() {
                return Err(Unusable::Cycle((*first).to_owned()));
            }
            for name in ready {
                open.remove(name);
                let Role { includes, scopes } = &declared[name];
                let own = self.asked_role(name);
                let whole = includes.iter().fold(own, |sum, other| sum.and(self.role(other)));
                let whole = scopes.iter().fold(whole, |sum, scope| sum.and(self.scope(scope)));
                self.roles.insert(name.into(), Meaning { own, whole });
            }
        }
        Ok(())
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// All that comes with the role; nothing, if nobody asks for any of it.
    pub fn role(&self, name: &str) -> Grants {
        self.roles.get(name).copied().unwrap_or_default().whole
    }

    /// The role itself, without what comes with it.
    pub fn asked_role(&self, name: &str) -> Grants {
        self.roles.get(name).copied().unwrap_or_default().own
    }

    pub fn scope(&self, name: &str) -> Grants {
        self.scopes.get(name).copied().unwrap_or_default()
    }
}

/// Roles and scopes that are asked for: their bits fill a line of the cache.
pub const NAMES_MAX: usize = WORDS * BITS;
const WORDS: usize = 8;
const BITS: usize = u64::BITS as usize;

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(roles: &[(&str, &[&str], &[&str])]) -> BTreeMap<String, Role> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let role = |(name, includes, scopes): &(&str, &[&str], &[&str])| {
            ((*name).to_owned(), Role { includes: owned(includes), scopes: owned(scopes) })
        };
        roles.iter().map(role).collect()
    }

    #[track_caller]
    fn check(vocabulary: &Vocabulary, role: &str, roles: &[&str], scopes: &[&str]) {
        let got = vocabulary.role(role);
        for name in ["admin", "editor", "reader"] {
            assert_eq!(got.has_all(&vocabulary.asked_role(name)), roles.contains(&name), "{role} is {name}");
        }
        for name in ["read", "write"] {
            assert_eq!(got.has_all(&vocabulary.scope(name)), scopes.contains(&name), "{role} may {name}");
        }
    }

    #[test]
    fn a_role_stands_for_what_it_includes() {
        let declared = declared(&[
            ("root", &["admin", "nobody"], &[]),
            ("admin", &["editor"], &["write"]),
            ("editor", &["reader"], &["unasked"]),
            ("reader", &[], &["read"]),
        ]);
        let (roles, scopes) = (["admin", "editor", "reader"].into(), ["read", "write"].into());
        let vocabulary = Vocabulary::new(&roles, &scopes, &declared).unwrap();
        check(&vocabulary, "root", &["admin", "editor", "reader"], &["read", "write"]);
        check(&vocabulary, "admin", &["admin", "editor", "reader"], &["read", "write"]);
        check(&vocabulary, "editor", &["editor", "reader"], &["read"]);
        check(&vocabulary, "reader", &["reader"], &["read"]);
        for other in ["", "Admin", "admin ", "read", "nobody", "unasked"] {
            check(&vocabulary, other, &[], &[]);
        }
    }

    #[test]
    fn a_role_and_a_scope_of_one_name_are_two() {
        let vocabulary = Vocabulary::new(&["a"].into(), &["a"].into(), &BTreeMap::new()).unwrap();
        assert!(!vocabulary.role("a").has_any(&vocabulary.scope("a")));
    }

    #[test]
    fn what_has_no_end_or_no_bit_is_refused() {
        let cycle = declared(&[("a", &["b"], &[]), ("b", &["c"], &[]), ("c", &["b"], &[])]);
        let none = BTreeSet::new();
        assert_eq!(Vocabulary::new(&none, &none, &cycle).unwrap_err(), Unusable::Cycle("a".to_owned()));
        let own = declared(&[("a", &["a"], &[])]);
        assert_eq!(Vocabulary::new(&none, &none, &own).unwrap_err(), Unusable::Cycle("a".to_owned()));
        let names: Vec<String> = (0..=NAMES_MAX).map(|number| format!("{number:04}")).collect();
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(Vocabulary::new(&names, &none, &BTreeMap::new()).unwrap_err(), Unusable::TooManyNames);
        let most = names.iter().skip(1).copied().collect();
        let full = Vocabulary::new(&none, &most, &BTreeMap::new()).unwrap();
        assert!(most.iter().all(|name| full.scope(name) != Grants::default()));
    }
}
