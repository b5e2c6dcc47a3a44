//! Values of the file that are written in more than one way: how each is read, and what is said of what is none.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::model::{Path, Percent, Shards};
use crate::runtime::options::SHARDS_MAX;

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VisitPath)
    }
}

impl<'de> Deserialize<'de> for Shards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VisitShards)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VisitPercent)
    }
}

struct VisitPercent;

impl Visitor<'_> for VisitPercent {
    type Value = Percent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number from 0 to 100 in steps of 0.01")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Percent, E> {
        match u32::try_from(number) {
            Ok(percent @ 0..=100) => Ok(Percent(100 * percent)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Percent, E> {
        let unsigned = u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
        self.visit_u64(unsigned)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Percent, E> {
        let steps = (number * 100.0).round();
        // What is written with two decimals is that close to a step, and what is written with three is not.
        if (0.0..=10_000.0).contains(&steps) && (number * 100.0 - steps).abs() < 1e-6 {
            Ok(Percent(steps as u32))
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

struct VisitShards;

impl Visitor<'_> for VisitShards {
    type Value = Shards;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`auto` or a number from 1 to {SHARDS_MAX}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Shards, E> {
        if text == "auto" { Ok(Shards::Auto) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Shards, E> {
        match usize::try_from(number) {
            Ok(count @ 1..=SHARDS_MAX) => Ok(Shards::Count(count)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}

/// By hand, because an untagged enum's error would only say that no variant fits.
struct VisitPath;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PathInWords {
    Prefix(String),
    Exact(String),
    Regex(String),
}

impl<'de> Visitor<'de> for VisitPath {
    type Value = Path;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, `{ prefix: \"/path\" }`, `{ exact: \"/path\" }` or `{ regex: \"/path\" }`")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<Path, E> {
        Ok(Path::Prefix(path.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Path, A::Error> {
        Ok(match PathInWords::deserialize(MapAccessDeserializer::new(map))? {
            PathInWords::Prefix(path) => Path::Prefix(path),
            PathInWords::Exact(path) => Path::Exact(path),
            PathInWords::Regex(path) => Path::Regex(path),
        })
    }
}
