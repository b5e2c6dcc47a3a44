//! What the operator writes of roles and scopes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::super::Invalid;
use crate::stdx::parsed::parsed;

/// Lets on requests of those who have what its rule asks for: 403 for others, and 401 for those whom no policy before
/// it has identified. One that does has to be there.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The roles that a request needs, by names of the identity or by what `roles` at the top of the file says of
    /// them. Default: none.
    pub roles: Option<NamesConfig>,
    /// The scopes that it needs; where roles are asked for too, it needs both. Default: none.
    pub scopes: Option<NamesConfig>,
    /// What requests of a method need instead: `DELETE: { roles: { any_of: [admin] } }`, or `GET: {}` for whoever is
    /// known. `HEAD` needs what `GET` does. A method that is written otherwise (`delete`) has to satisfy the rule of
    /// the one that it looks like and that of all others. A request that names one elsewhere (`X-HTTP-Method-Override`,
    /// `X-HTTP-Method`, `X-Method-Override`, `_method` in the query) has to satisfy the rules of both. Default: none.
    pub methods: BTreeMap<MethodName, RuleConfig>,
    /// Whether requests that it would refuse go on, and are only logged (`would_refuse`) and counted
    /// (`shardgate_policy_would_refuse_total`). Default: false.
    pub shadow: bool,
}

/// What requests of one method need.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RuleConfig {
    /// As above. Default: none.
    pub roles: Option<NamesConfig>,
    /// As above. Default: none.
    pub scopes: Option<NamesConfig>,
}

/// With both keys, both have to be satisfied.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct NamesConfig {
    /// Every one of these. Default: none.
    pub all_of: Option<Vec<String>>,
    /// At least one of these. Default: none.
    pub any_of: Option<Vec<String>>,
}

/// The name of a method, in capital letters.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MethodName(pub(super) Box<str>);

impl Config {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.methods.len() > METHODS_MAX {
            return Err(Invalid::new(format!("more than {METHODS_MAX} `methods`"), "leave some out"));
        }
        self.roles().try_for_each(|names| names.check(is_role, "a role"))?;
        self.scopes().try_for_each(|names| names.check(is_scope, "a scope"))
    }

    pub(super) fn roles(&self) -> impl Iterator<Item = &NamesConfig> {
        self.roles.iter().chain(self.methods.values().filter_map(|rule| rule.roles.as_ref()))
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = &NamesConfig> {
        self.scopes.iter().chain(self.methods.values().filter_map(|rule| rule.scopes.as_ref()))
    }
}

impl NamesConfig {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.all_of.iter().chain(&self.any_of).flatten().map(String::as_str)
    }

    fn check(&self, is_name: fn(&str) -> bool, what: &str) -> Result<(), Invalid> {
        let lists = || self.all_of.iter().chain(&self.any_of);
        if lists().next().is_none() || lists().any(Vec::is_empty) {
            let help = "name at least one in `all_of` or in `any_of`, or leave it out";
            return Err(Invalid::new(format!("a list without {what}"), help));
        }
        match self.names().find(|name| !is_name(name)) {
            Some(name) => {
                let help = "it is 1 to 128 bytes long, a scope without spaces, quotes and backslashes";
                Err(Invalid::new(format!("`{}` for {what}", name.escape_debug()), help))
            }
            None => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for MethodName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fits =
            |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_uppercase());
        parsed(deserializer, "a method in capital letters", |name| fits(name).then(|| Self(name.into())))
    }
}

/// Any text that can be read in a log.
pub fn is_role(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// RFC 6749 §3.3.
pub fn is_scope(name: &str) -> bool {
    is_role(name) && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

const METHODS_MAX: usize = 16;
/// Of a role, a scope or a method.
const NAME_BYTES_MAX: usize = 128;
