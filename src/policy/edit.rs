//! Edits of headers, of a query and of bodies as an operator writes them, in the order in which Kong makes them.

use serde::de::{Deserialize, Deserializer};

use super::Invalid;
use crate::http::view::{ArgumentName, FieldName, FieldValue, Headers, RequestView};
use crate::stdx::json;
use crate::stdx::parsed::parsed;

/// `old:new`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Renamed<N> {
    pub from: N,
    pub to: N,
}

/// `name:value`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given<N, V> {
    pub name: N,
    pub value: V,
}

/// A value of a query's argument, percent-encoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArgumentValue(Box<[u8]>);

/// Every edit of one kind of thing, names and values of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edited<N, V> {
    pub remove: Vec<N>,
    pub rename: Vec<Renamed<N>>,
    pub replace: Vec<Given<N, V>>,
    pub add: Vec<Given<N, V>>,
    pub append: Vec<Given<N, V>>,
}

impl Edited<FieldName, FieldValue> {
    /// Headers that the gateway writes itself are not a policy's.
    pub fn check(&self) -> Result<(), Invalid> {
        let renamed = self.rename.iter().flat_map(|renamed| [&renamed.from, &renamed.to]);
        let given = self.replace.iter().chain(&self.add).chain(&self.append).map(|given| &given.name);
        match self.remove.iter().chain(renamed).chain(given).find(|name| name.is_the_gateways()) {
            Some(name) => {
                let what = format!("the header `{}`, which the gateway writes or goes by itself", name.text());
                Err(Invalid::new(what, "leave it out"))
            }
            None => Ok(()),
        }
    }

    pub fn apply(&self, headers: &mut Headers<'_>) {
        self.remove.iter().for_each(|name| headers.remove(name));
        self.rename.iter().for_each(|renamed| headers.rename(&renamed.from, &renamed.to));
        for Given { name, value } in &self.replace {
            if headers.has(name) {
                headers.set(name, value.bytes());
            }
        }
        for Given { name, value } in &self.add {
            if !headers.has(name) {
                headers.add(name, value.bytes());
            }
        }
        self.append.iter().for_each(|given| headers.add(&given.name, given.value.bytes()));
    }
}

impl Edited<ArgumentName, ArgumentValue> {
    pub fn apply(&self, request: &mut RequestView<'_>) {
        self.remove.iter().for_each(|name| request.remove_argument(name));
        self.rename.iter().for_each(|renamed| request.rename_argument(&renamed.from, &renamed.to));
        for Given { name, value } in &self.replace {
            if request.has_argument(name) {
                request.set_argument(name, &value.0);
            }
        }
        for Given { name, value } in &self.add {
            if !request.has_argument(name) {
                request.add_argument(name, &value.0);
            }
        }
        self.append.iter().for_each(|given| request.add_argument(&given.name, &given.value.0));
    }
}

impl<N, V> Edited<N, V> {
    pub fn is_empty(&self) -> bool {
        let Self { remove, rename, replace, add, append } = self;
        remove.is_empty() && rename.is_empty() && replace.is_empty() && add.is_empty() && append.is_empty()
    }
}

/// What stands on either side of a colon.
trait Side: Sized {
    fn read(text: &str) -> Option<Self>;
}

impl Side for FieldName {
    fn read(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl Side for FieldValue {
    fn read(text: &str) -> Option<Self> {
        Self::new(text).filter(|_| !text.contains(TEMPLATE))
    }
}

impl Side for ArgumentName {
    fn read(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl Side for ArgumentValue {
    fn read(text: &str) -> Option<Self> {
        (!text.contains(TEMPLATE)).then(|| Self(ArgumentName::encode(text)))
    }
}

impl Side for json::Path {
    fn read(text: &str) -> Option<Self> {
        Self::read(text)
    }
}

/// A string, or behind a `=` any value as JSON.
impl Side for json::Value {
    fn read(text: &str) -> Option<Self> {
        match text.strip_prefix('=') {
            Some(value) => Self::json(value),
            None => (!text.contains(TEMPLATE)).then(|| Self::string(text)),
        }
    }
}

impl<'de> Deserialize<'de> for json::Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a path like `a.b`, `a[0]` or `a[*].b`", Self::read)
    }
}

impl<'de, N: Side> Deserialize<'de> for Renamed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "`old:new`, two names", |text| {
            let (from, to) = text.split_once(':')?;
            Some(Self { from: N::read(from.trim())?, to: N::read(to.trim())? })
        })
    }
}

impl<'de, N: Side, V: Side> Deserialize<'de> for Given<N, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "`name:value`, without Kong's `$(...)`", |text| {
            let (name, value) = text.split_once(':')?;
            Some(Self { name: N::read(name.trim())?, value: V::read(value.trim())? })
        })
    }
}

/// How Kong's templates begin, which are not there: better refused than sent on as they are.
const TEMPLATE: &str = "$(";
